package guest

import (
	"bufio"
	"errors"
	"io"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ProgressPort is the virtio-serial port that a guest reports its set-up on: /dev/virtio-ports/org.ciao.progress.
const ProgressPort = "org.ciao.progress"

// Word is the first word of a progress line.
type Word string

// The words. Each report is one line: the word, in any case, then a blank and a text in which %XX stands for a byte. Lines that begin
// with no such word are noise and are skipped.
const (
	Task     Word = "task"     // a task begins
	OK       Word = "ok"       // the task succeeded
	Fail     Word = "fail"     // the task failed
	Message  Word = "message"  // a line for the user
	Finished Word = "finished" // set-up is over; nothing follows
)

// Report is one progress line.
type Report struct {
	Word Word
	Text string    // printable, at most MaxText bytes
	At   time.Time // when it was read
}

// MaxText bounds the text of a report; what is longer is cut.
const MaxText = 1024

// ReadProgress reads reports until Finished, which it also passes on, or the end of the stream, which gives [io.ErrUnexpectedEOF]:
// the guest went away before it was done. report is called from this goroutine. The caller closes r to end it early.
func ReadProgress(r io.Reader, report func(Report)) error {
	reader := bufio.NewReaderSize(r, 4*MaxText)
	for {
		line, err := reader.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		if rep, ok := ParseReport(string(line)); ok && (err == nil || cut) {
			rep.At = time.Now()
			report(rep)
			if rep.Word == Finished {
				return nil
			}
		}
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a line that is too long
			_, err = reader.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}

// ParseReport reads one line.
func ParseReport(line string) (Report, bool) {
	word, text, _ := strings.Cut(strings.Trim(line, " \t\r\n\x00"), " ")
	switch w := Word(strings.ToLower(word)); w {
	case Task, OK, Fail, Message, Finished:
		if plain, err := url.PathUnescape(text); err == nil {
			text = plain
		}
		return Report{Word: w, Text: printable(text)}, true
	}
	return Report{}, false
}

// printable makes a guest's text safe to show: no control characters that could drive the terminal, bounded, valid UTF-8.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	if len(s) <= MaxText {
		return s
	}
	cut := MaxText
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
