package instance

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/workload"
)

// Caller is who calls and from where; its values go into templates.
type Caller struct {
	User          string
	UID, GID      int
	Home          string
	Getenv        func(string) string
	WorkDir       string // for finding the checkout
	Program       string // path of the running program; for finding the checkout
	SearchDomains []string
}

// CallerOfProcess describes the user of this process.
func CallerOfProcess() Caller {
	c := Caller{UID: os.Getuid(), GID: os.Getgid(), Getenv: os.Getenv, SearchDomains: searchDomains("/etc/resolv.conf")}
	if u, err := user.Current(); err == nil {
		c.User, c.Home = u.Username, u.HomeDir
	}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		c.Home = home
	}
	c.WorkDir, _ = os.Getwd()
	c.Program, _ = os.Executable()
	return c
}

// The login in the guest for callers whose own name or id means something else there.
const (
	fallbackUser = "dev"
	fallbackUID  = 1000
)

var loginPattern = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)

// login is the user made in the guest: the caller's own name and id, so that files of a share belong to the same user on both sides.
// Root and system users exist there already and get the fallback.
func (c Caller) login() (name string, uid, gid int) {
	if c.UID < fallbackUID {
		return fallbackUser, fallbackUID, fallbackUID
	}
	name = c.User
	if !loginPattern.MatchString(name) {
		name = fallbackUser
	}
	return name, c.UID, c.GID
}

// workspace is what templates may know before the machine is chosen.
func (c Caller) workspace(ctx context.Context) workload.Workspace {
	ws := workload.Workspace{Home: c.Home, GoPath: c.goPath(), Checkout: c.checkout()}
	ws.User, ws.UID, ws.GID = c.login()
	ws.GitUserName, ws.GitEmail = c.git(ctx, "user.name"), c.git(ctx, "user.email")
	return ws
}

// goPath is the caller's GOPATH, without asking a Go toolchain: most users' machines have none.
func (c Caller) goPath() string {
	if list := filepath.SplitList(c.Getenv("GOPATH")); len(list) > 0 && filepath.IsAbs(list[0]) {
		return list[0]
	}
	dir := filepath.Join(c.Home, "go")
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return dir
	}
	return ""
}

// module is the first line of the go.mod that marks a checkout of ciao.
const module = "module github.com/ciaocloud/ciao"

// checkout is the ciao source tree around the working directory, or around the program.
func (c Caller) checkout() string {
	for _, from := range []string{c.WorkDir, filepath.Dir(c.Program)} {
		for dir := from; filepath.IsAbs(dir) && dir != "/"; dir = filepath.Dir(dir) {
			if firstLine(filepath.Join(dir, "go.mod")) == module {
				return dir
			}
		}
	}
	return ""
}

func firstLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	return strings.TrimSpace(line)
}

// git is a value of the caller's git configuration, or "".
func (c Caller) git(ctx context.Context, key string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "config", "--global", "--get", key)
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	// The value becomes text in YAML and in commands.
	return strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune("\"\\`$'", r) {
			return -1
		}
		return r
	}, strings.TrimSpace(string(out)))
}

// searchDomains are the host's DNS search domains.
func searchDomains(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var domains []string
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 1 && (fields[0] == "search" || fields[0] == "domain") {
			domains = fields[1:]
		}
	}
	return domains
}
