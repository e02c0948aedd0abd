// Package ciao_test holds the tree to its own rules.
package ciao_test

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/ciaocloud/ciao"

// rule is a row of the table in docs/architecture.md.
type rule struct {
	packages string
	imports  []string
}

// TestImportsGoDownOnly: a package imports what the table in docs/architecture.md lets it import, and nothing else of ours.
func TestImportsGoDownOnly(t *testing.T) {
	rules := importRules(t)
	for _, line := range goList(t, `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		fields := strings.Fields(line)
		importer := local(fields[0])
		if importer == "" || testSupport(importer) {
			continue
		}
		rule, found := ruleFor(rules, importer)
		if !found {
			t.Errorf("docs/architecture.md has no row for %s: add one", importer)
			continue
		}
		for _, path := range fields[1:] {
			if imported := local(path); imported != "" && !rule.allows(imported) {
				t.Errorf("%s imports %s, which its row (%s) in docs/architecture.md does not allow", importer, imported, rule.packages)
			}
		}
	}
}

// TestProgramsStayLight: what a program links is part of its promise.
func TestProgramsStayLight(t *testing.T) {
	for program, bans := range map[string][]string{
		"./ccloudvm/cmd/ccloudvm": {"go.etcd.io/", "github.com/docker/docker/", "google.golang.org/grpc", module + "/cluster"},
		"./bat/cmd/bat":           {"go.etcd.io/", "github.com/docker/docker/", "google.golang.org/grpc"},
	} {
		for _, path := range goList(t, "{{.ImportPath}}", "-deps", program) {
			for _, ban := range bans {
				if strings.HasPrefix(path, ban) {
					t.Errorf("%s links %s, which it must not", program, path)
				}
			}
		}
	}
}

var tableRow = regexp.MustCompile("^\\| `([^`|]+)` \\|(.*)\\|$")

func importRules(t *testing.T) []rule {
	t.Helper()
	file, err := os.Open("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var rules []rule
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if cells := tableRow.FindStringSubmatch(lines.Text()); cells != nil {
			rules = append(rules, rule{cells[1], strings.Fields(strings.ReplaceAll(cells[2], "`", ""))})
		}
	}
	if len(rules) < 10 {
		t.Fatalf("docs/architecture.md has only %d rows: is the table still there?", len(rules))
	}
	return rules
}

// ruleFor finds the row of a package: its own, or else the longest folder that it is in.
func ruleFor(rules []rule, path string) (rule, bool) {
	var best rule
	for _, r := range rules {
		if r.packages == path {
			return r, true
		}
		if matches(r.packages, path) && len(r.packages) > len(best.packages) {
			best = r
		}
	}
	return best, best.packages != ""
}

func (r rule) allows(path string) bool {
	for _, pattern := range r.imports {
		if matches(pattern, path) {
			return true
		}
	}
	return false
}

func matches(pattern, path string) bool {
	folder, below := strings.CutSuffix(pattern, "/…")
	return path == folder || below && strings.HasPrefix(path, folder+"/")
}

// testSupport packages serve the tests of others and may know what those know.
func testSupport(path string) bool {
	last := path[strings.LastIndex(path, "/")+1:]
	return strings.HasSuffix(last, "test") || path == "require"
}

// local is a package of this module without the module's name, or empty.
func local(path string) string {
	rest, found := strings.CutPrefix(path, module+"/")
	if !found {
		return ""
	}
	return rest
}

func goList(t *testing.T, format string, arguments ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-f", format}, arguments...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", arguments, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
