package machinetest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/driver/container"
)

// KillEngine kills the Docker Engine and returns the function that starts it again as whoever owns it would: systemd does it by itself,
// elsewhere the same command is run. The function waits until the engine answers. It is refused while containers of others run: they
// would end with it.
func KillEngine(t testing.TB) (restart func()) {
	t.Helper()
	if others := foreign(t); others != "" {
		t.Fatalf("this test kills the Docker Engine, and others use it: stop %s first, or leave out this lane (docs/testing.md)", others)
	}
	found := Find(t, isEngine)
	engines := slices.DeleteFunc(slices.Clone(found), func(p Process) bool { // a child looks like the engine until it has become something else
		return slices.ContainsFunc(found, func(other Process) bool { return other.PID == p.Parent })
	})
	if len(engines) != 1 {
		t.Fatalf("there are %d processes dockerd, not one", len(engines))
	}
	engine := engines[0]
	Kill(t, engine)
	return func() {
		t.Helper()
		_, err := os.Stat("/run/systemd/system")
		Eventually(t, "the engine answers", time.Minute, func() bool {
			// It does not start while the process in its pid file is there, be it another or one that nobody has waited for yet.
			if err != nil && len(Find(t, isEngine)) == 0 {
				forgetDead(t, "/var/run/docker.pid")
				forgetDead(t, "/var/run/docker/containerd/containerd.pid") // of the containerd that dies with it
				startEngine(t, engine.Args)
				<-time.After(100 * time.Millisecond)
			}
			return engineAnswers()
		})
	}
}

// foreign names the running containers that no cluster of ours made. An engine that does not answer has none.
func foreign(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("docker", "ps", "--format", `{{.Names}} {{.Label "`+container.LabelCluster+`"}}`).Output()
	if err != nil {
		return ""
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) == 1 {
			names = append(names, words[0])
		}
	}
	return strings.Join(names, " ")
}

// forgetDead removes a pid file whose process is dead and was waited for by nobody, which it never is in a container whose first process
// is no init.
func forgetDead(t testing.TB, pidFile string) {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat")
	if err != nil || !strings.HasPrefix(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " Z") { // proc_pid_stat(5)
		return
	}
	if err := os.Remove(pidFile); err != nil {
		t.Errorf("remove the pid file of a dead engine: %v", err)
	}
}

func isEngine(p Process) bool { return Words("dockerd")(p) }

// startEngine starts dockerd apart from this process, for it runs on when the tests are over.
func startEngine(t testing.TB, args []string) {
	t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		path = "/usr/sbin/dockerd"
	}
	log, err := os.OpenFile("/var/log/dockerd.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("open the engine's log: %v", err)
	}
	defer log.Close()
	// The shell ends at once: the engine is nobody's child, and so not part of this test.
	command := exec.Command("/bin/sh", append([]string{"-c", `"$@" & `, "sh", path}, args[1:]...)...)
	command.Dir, command.Stdout, command.Stderr = "/", log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Run(); err != nil {
		t.Fatalf("start the engine: %v", err)
	}
}

func engineAnswers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "version").Run() == nil
}
