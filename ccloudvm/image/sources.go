package image

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// hostSources are this machine's own apt sources for a Debian suite and its updates, as one-line entries. An empty result lets
// mmdebstrap use Debian's public mirrors.
func hostSources(suite string) []string {
	var all []string
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, path := range append([]string{"/etc/apt/sources.list"}, files...) {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		switch filepath.Ext(path) {
		case ".list":
			all = append(all, listEntries(b, suite)...)
		case ".sources":
			all = append(all, stanzas(b, suite)...)
		}
	}
	if !slices.ContainsFunc(all, func(e string) bool { return strings.Contains(e, " "+suite+" ") }) {
		return nil // only updates of it are no base
	}
	return all
}

// wanted are the suites that belong to one Debian release.
func wanted(name, suite string) bool {
	return name == suite || name == suite+"-updates" || name == suite+"-security"
}

// listEntries picks entries of sources.list(5)'s one-line style.
func listEntries(b []byte, suite string) (entries []string) {
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		if rest = strings.TrimSpace(rest); strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		f := strings.Fields(rest)
		if len(f) >= 3 && wanted(f[1], suite) && slices.Contains(f[2:], "main") {
			entries = append(entries, entryFor(f[0], f[1]))
		}
	}
	return entries
}

// stanzas picks entries of sources.list(5)'s deb822 style.
func stanzas(b []byte, suite string) (entries []string) {
	field := map[string]string{}
	flush := func() {
		enabled := !slices.Contains([]string{"no", "false"}, strings.ToLower(field["enabled"]))
		if enabled && slices.Contains(strings.Fields(field["types"]), "deb") && slices.Contains(strings.Fields(field["components"]), "main") {
			for _, uri := range strings.Fields(field["uris"]) {
				for _, name := range strings.Fields(field["suites"]) {
					if wanted(name, suite) {
						entries = append(entries, entryFor(uri, name))
					}
				}
			}
		}
		clear(field)
	}
	var last string
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
			field[last] += " " + strings.TrimSpace(line)
		default:
			name, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(name)
			field[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return entries
}

// entryFor names no key: mmdebstrap finds Debian's archive keys itself, and a path of this machine would mean nothing in the image.
func entryFor(uri, suite string) string { return "deb " + uri + " " + suite + " main" }

// aptProxy is this machine's proxy for apt, for the environment of a build, when the environment has none. It does not get
// into the image: guests have proxies of their own.
func aptProxy(ctx context.Context) []string {
	if os.Getenv("http_proxy") != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "apt-config", "shell", "proxy", "Acquire::http::Proxy").Output()
	if err != nil {
		return nil
	}
	value := strings.Trim(strings.TrimPrefix(strings.TrimSpace(string(out)), "proxy="), "'")
	if value == "" || value == "DIRECT" {
		return nil
	}
	return []string{"http_proxy=" + value}
}
