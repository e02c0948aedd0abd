package machinetest

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// processes are the command lines of the processes that a cluster could leave behind or end: its own, its carriers' and its engine's. Left
// out are: those that have ended and wait for their parent; this test and what started it or was started by it, for it is not what is
// looked at; and all others, for people and their services use the machine meanwhile. (A tenant's process is in the section of control
// groups, whatever it is called, and a container in that of the engine.)
func processes(context.Context) ([]string, error) {
	all, err := Processes()
	if err != nil {
		return nil, err
	}
	mine := family(all, os.Getpid())
	var told []string
	for _, p := range all {
		if !mine[p.PID] && p.judged() {
			p.Args[0] = filepath.Base(p.Args[0]) // by which path it was started means nothing
			told = append(told, p.Command())
		}
	}
	return told, nil
}

// judged says whether a process is of a program that a cluster is made of, that it starts, or on which it runs.
func (p Process) judged() bool {
	if len(p.Args) == 0 {
		return false
	}
	name := filepath.Base(p.Args[0])
	return slices.ContainsFunc([]string{
		"ciao", "singlevm", "bat", "ccloudvm", "qemu-", "dnsmasq", "setpriv", "mmdebstrap", "dockerd", "docker-proxy", "containerd-shim",
	}, func(program string) bool { return strings.HasPrefix(name, program) })
}

// family is a process with its ancestors and descendants.
func family(all []Process, pid int) map[int]bool {
	parents := make(map[int]int)
	for _, p := range all {
		parents[p.PID] = p.Parent
	}
	mine := make(map[int]bool)
	for up := pid; up > 1; up = parents[up] {
		mine[up] = true
	}
	for _, p := range all {
		for up := p.PID; up > 1; up = parents[up] {
			if up == pid {
				mine[p.PID] = true
			}
		}
	}
	return mine
}

// files lists everything below directories.
func files(roots ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) {
		var told []string
		for _, root := range roots {
			err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				told = append(told, path)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		return told, nil
	}
}

// namespaces are the named ones. Their directory stays when the last goes, whoever makes them; ip-netns(8) leaves it, too.
func namespaces(context.Context) ([]string, error) { return filepath.Glob("/run/netns/*") }

// temporary are files of ours in the places for temporary files: others' come and go.
func temporary(context.Context) ([]string, error) {
	return filepath.Glob("/tmp/*ciao*")
}

// transient are groups that systemd and the engine make and drop by themselves.
var transient = regexp.MustCompile(`/(session-\w+\.scope|user@?\d+\.\w+|user-\d+\.slice|user-runtime-dir@.*|run-.*\.(scope|service)|systemd-\w+\.service|[^/]*\.(mount|socket|timer))(/|$)`)

// cgroups are all control groups. Docker's own parent group stays once it was made, which the first container of anybody does. A machine that is
// itself a container may see the groups of its host, where others come and go: of those it is told which have a process of this machine, for of
// others' processes the kernel tells it nothing, or 0. (GroupsOf finds what a cluster left there.)
func cgroups(context.Context) ([]string, error) {
	own, err := os.ReadFile("/proc/1/cgroup")
	if err != nil {
		return nil, err
	}
	all, err := groups()
	if !contained(string(own)) {
		return all, err
	}
	return slices.DeleteFunc(all, func(path string) bool {
		processes, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		return err != nil || !slices.ContainsFunc(lines(string(processes)), func(pid string) bool { return pid != "0" })
	}), err
}

// contained says whether the first process is in a control group of another machine (cgroups(7), /proc/[pid]/cgroup): systemd puts itself into
// init.scope at most.
func contained(own string) bool {
	return slices.ContainsFunc(lines(own), func(line string) bool {
		group := line[strings.LastIndex(line, ":")+1:]
		return group != "/" && group != "/init.scope"
	})
}

// GroupsOf are the control groups with one of these words in their names.
func GroupsOf(words []string) ([]string, error) {
	all, err := groups()
	return slices.DeleteFunc(all, func(path string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(path, word) })
	}), err
}

func groups() ([]string, error) {
	var told []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() || transient.MatchString(path) {
			return nil // it goes just now
		}
		if filepath.Base(path) != "docker" && filepath.Base(path) != "system.slice" {
			told = append(told, path)
		}
		return nil
	})
	return told, err
}

// mounts of this process's namespace: what is mounted where, and how far it spreads.
func mounts(context.Context) ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var told []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		spread, source := "private", ""
		for i, field := range fields[6:] {
			if strings.HasPrefix(field, "shared:") {
				spread = "shared"
			}
			if field == "-" && len(fields) > 6+i+2 {
				source = strings.Join(fields[6+i+1:6+i+3], " ")
			}
		}
		told = append(told, fields[4]+" of "+source+" "+fields[3]+" "+spread)
	}
	return without(told, "/var/lib/docker/overlay2 of"), nil // the engine binds it to itself when it first starts a container
}

// units are those of ours: others' state is the system's own.
func units(ctx context.Context) ([]string, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil, nil
	}
	return command("systemctl", "list-units", "--all", "--plain", "--no-legend", "*ciao*")(ctx)
}
