package workload

import (
	"fmt"
	"strings"
	"text/template"
)

// ChannelPath is the virtio-serial port in the guest that the progress functions write to.
const ChannelPath = "/dev/virtio-ports/" + ChannelName

// ChannelName is the port's name.
const ChannelName = "org.ciao.progress"

// GetCommand is the program in the guest that fetches a file through the host's download cache: GetCommand URL PATH.
const GetCommand = "/usr/local/bin/ccloudvm-get"

// Functions are the functions of a cloud-config template; the first argument is always the workspace, written as a dot.
// What they return fits into a line of runcmd (an unquoted YAML scalar), also inside the double quotes of a shell word.
//
//	proxyVars .          no_proxy=… http_proxy=… …, those that are set: the beginning of a shell command
//	proxyEnv . N         the same as lines for /etc/environment, indented by N
//	download . URL PATH  a command that fetches URL through the host's cache into PATH
//	beginTask . TEXT     a command that tells the user that a task begins
//	endTaskOk .          … that it succeeded; endTaskFail: that it failed
//	endTaskCheck .       … what it came to, by the exit status of the command before
//	message . TEXT       a command that shows the user a line
func Functions() template.FuncMap {
	return template.FuncMap{
		"proxyVars":   proxyVars,
		"proxyEnv":    proxyEnv,
		"download":    download,
		"beginTask":   func(_ *Workspace, text string) string { return tell("task", text) },
		"endTaskOk":   func(*Workspace) string { return tell("ok", "") },
		"endTaskFail": func(*Workspace) string { return tell("fail", "") },
		"endTaskCheck": func(*Workspace) string {
			return "if [ $? -eq 0 ]; then " + tell("ok", "") + "; else " + tell("fail", "") + "; fi"
		},
		"message": func(_ *Workspace, text string) string { return tell("message", text) },
	}
}

// tell is a shell command that writes one line to the progress channel.
func tell(word, text string) string {
	return "echo " + strings.TrimRight(word+" "+Escape(text), " ") + " > " + ChannelPath
}

// Escape writes a text with characters that neither YAML nor a shell gives a meaning to, inside or outside of quotes: all others
// become %XX of their bytes, and so does a blank where it would be lost. Unescape (url.PathUnescape) reads it.
func Escape(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		safeBlank := c == ' ' && i > 0 && i < len(text)-1 && text[i-1] != ' '
		if isPlain(c) || safeBlank {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

func isPlain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._/+@=,-", c) >= 0
}

func download(_ *Workspace, from, to string) string {
	return GetCommand + " " + escapeWord(from) + " " + escapeWord(to)
}

// escapeWord is Escape for a single word of a command, whose reader undoes it.
func escapeWord(s string) string {
	return strings.ReplaceAll(Escape(s), " ", "%20")
}

// variables are the proxy variables that are set, in the order in which the guest gets them.
func (w *Workspace) variables() [][2]string {
	var vars [][2]string
	for _, v := range []struct{ name, value string }{{"no_proxy", w.NoProxy}, {"http_proxy", w.HTTPProxy}, {"https_proxy", w.HTTPSProxy}} {
		if v.value != "" {
			vars = append(vars, [2]string{v.name, v.value}, [2]string{strings.ToUpper(v.name), v.value})
		}
	}
	return vars
}

func proxyVars(w *Workspace) string {
	var words []string
	for _, v := range w.variables() {
		words = append(words, v[0]+"="+v[1])
	}
	return strings.Join(words, " ")
}

func proxyEnv(w *Workspace, indent int) string {
	var lines []string
	for _, v := range w.variables() {
		lines = append(lines, fmt.Sprintf("%s%s=%q", strings.Repeat(" ", max(0, min(indent, 80))), v[0], v[1]))
	}
	return strings.Join(lines, "\n")
}
