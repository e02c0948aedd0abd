package guest_test

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestReadProgress(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		want         []guest.Report
		err          error
	}{
		{"a set-up", "task Install Go\nok\nTASK Install Docker\r\nFAIL\nmessage 100%25 done\nfinished\nok\n", []guest.Report{
			{Word: guest.Task, Text: "Install Go"}, {Word: guest.OK}, {Word: guest.Task, Text: "Install Docker"}, {Word: guest.Fail},
			{Word: guest.Message, Text: "100% done"}, {Word: guest.Finished}}, nil},
		{"noise", "\x00\x00\nhello\ntasks 1\n\nok\nfinished\n", []guest.Report{{Word: guest.OK}, {Word: guest.Finished}}, nil},
		{"terminal codes", "message \x1b[31mred\x07 %1b[2J\u202e\nfinished\n", []guest.Report{{Word: guest.Message, Text: "[31mred [2J"}, {Word: guest.Finished}}, nil},
		{"gone early", "task a\n", []guest.Report{{Word: guest.Task, Text: "a"}}, io.ErrUnexpectedEOF},
		{"cut in a line", "task a\nfinis", []guest.Report{{Word: guest.Task, Text: "a"}}, io.ErrUnexpectedEOF},
		{"cut before the newline", "finished", nil, io.ErrUnexpectedEOF},
		{"huge line", "message " + strings.Repeat("x", 1<<20) + "\nfinished\n", []guest.Report{
			{Word: guest.Message, Text: strings.Repeat("x", guest.MaxText)}, {Word: guest.Finished}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []guest.Report
			err := guest.ReadProgress(strings.NewReader(c.stream), func(r guest.Report) { got = append(got, r) })
			if !errors.Is(err, c.err) {
				t.Errorf("ReadProgress = %v, want %v", err, c.err)
			}
			if d := cmp.Diff(c.want, got, cmpopts.IgnoreFields(guest.Report{}, "At")); d != "" {
				t.Errorf("reports (-want +got):\n%s", d)
			}
		})
	}
}

func TestFollowProgress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "progress")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.WriteString(c, "task a\nok\nfinished\n")
			c.Close()
		}
	}()
	var n int
	if err := guest.FollowProgress(t.Context(), path, func(guest.Report) { n++ }); err != nil || n != 3 {
		t.Errorf("FollowProgress = %v with %d reports, want 3", err, n)
	}
}

func FuzzParseReport(f *testing.F) {
	for _, s := range []string{"task a", "OK", "message %41%zz", "finished 1", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, ok := guest.ParseReport(line)
		if !ok && r != (guest.Report{}) {
			t.Errorf("refused line gave %+v", r)
		}
		if len(r.Text) > guest.MaxText || !utf8.ValidString(r.Text) || strings.ContainsAny(r.Text, "\n\r\x1b\x00") {
			t.Errorf("unsafe text %q", r.Text)
		}
	})
}
