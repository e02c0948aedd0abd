package drivertest

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// forever runs until it is asked to stop, and then ends at once.
const forever = "; trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"

// output runs a script to its end and returns what it printed.
func (s *suite) output(instance driver.Instance, script string) string {
	s.Helper()
	instance = shell(instance, script)
	s.create(instance)
	s.start(instance)
	s.becomes(instance, driver.Ended)
	return s.printed(instance)
}

func (s *suite) printed(instance driver.Instance) string {
	s.Helper()
	logger, ok := s.Driver.(driver.Logger)
	if !ok {
		s.Fatal("a driver that runs a shell must keep what it prints")
	}
	var text bytes.Buffer
	if err := logger.Logs(s.ctx, instance.ID, -1, false, &text); err != nil {
		s.Fatalf("logs: %v", err)
	}
	return text.String()
}

// disk writes a line at every start: a file written before a stop is there after the next start, and in the next generation.
func disk(s *suite) {
	if !s.Shell {
		return
	}
	instance := shell(s.instance(), "echo kept >>/file; wc -l </file"+forever)
	s.create(instance)
	want := ""
	for i := range 3 {
		if i == 2 {
			instance.Generation = 2
			s.create(instance)
		}
		want += fmt.Sprintf("%d\n", i+1)
		s.start(instance)
		s.eventually("output "+want, func() bool { return strings.ReplaceAll(s.printed(instance), " ", "") == want })
		s.stop(instance)
	}
}

func commandAndEnvironment(s *suite) {
	if !s.Shell {
		return
	}
	instance := s.instance()
	instance.Spec.Environment = map[string]string{"GREETING": "good  'morning'", "EMPTY": ""}
	got := s.output(instance, `echo "[$GREETING] [${EMPTY-unset}]"; hostname`)
	if want := "[good  'morning'] []\n" + instance.Name + "\n"; got != want {
		s.Errorf("printed %q, want %q", got, want)
	}
}

func logs(s *suite) {
	logger, ok := s.Driver.(driver.Logger)
	if !s.Shell || !ok {
		return
	}
	instance := shell(s.instance(), "echo one; echo two >&2; echo three; exit 0")
	s.create(instance)
	s.start(instance)
	s.becomes(instance, driver.Ended)
	for lines, want := range map[int]string{-1: "one\ntwo\nthree\n", 0: ""} {
		var text bytes.Buffer
		if err := logger.Logs(s.ctx, instance.ID, lines, false, &text); err != nil {
			s.Errorf("last %d lines: %v", lines, err)
		}
		if !sameLines(text.String(), want) {
			s.Errorf("last %d lines are %q, want %q", lines, text.String(), want)
		}
	}
	var last bytes.Buffer
	if err := logger.Logs(s.ctx, instance.ID, 1, false, &last); err != nil || strings.Count(last.String(), "\n") != 1 {
		s.Errorf("the last line is %q, %v", last.String(), err)
	}
	following := shell(s.instance(), "echo begun; sleep 1; echo ended")
	s.create(following)
	s.start(following)
	var text bytes.Buffer
	if err := logger.Logs(s.ctx, following.ID, -1, true, &text); err != nil {
		s.Errorf("follow: %v", err)
	}
	if text.String() != "begun\nended\n" {
		s.Errorf("followed %q", text.String())
	}
}

// sameLines compares output of two streams, whose order between them is the carrier's.
func sameLines(got, want string) bool {
	for line := range strings.Lines(want) {
		if !strings.Contains(got, line) {
			return false
		}
	}
	return len(got) == len(want)
}

// cgroup reads a limit from inside, under version 1 or 2.
func cgroup(v1, v2 string) string {
	return fmt.Sprintf("cat /sys/fs/cgroup/%s 2>/dev/null || cat /sys/fs/cgroup/%s\n", v2, v1)
}

func memory(s *suite) {
	if !s.Shell {
		return
	}
	instance := s.instance()
	instance.Spec.Requirements.MemoryMiB = 24
	got := s.output(instance, cgroup("memory/memory.limit_in_bytes", "memory.max"))
	if want := fmt.Sprintln(24 << 20); got != want {
		s.Errorf("the limit seen from inside is %q, want %q", got, want)
	}
	greedy := s.instance()
	greedy.Spec.Requirements.MemoryMiB = 24
	greedy = shell(greedy, "exec tail /dev/zero")
	s.create(greedy)
	s.start(greedy)
	status := s.becomes(greedy, driver.Ended)
	if !strings.Contains(status.Reason, "out of memory") || status.Interrupted {
		s.Errorf("after it took more memory than it may: %+v", status)
	}
}

func pids(s *suite) {
	if !s.Shell {
		return
	}
	instance := s.instance()
	instance.Spec.Requirements.Pids = 20
	got := s.output(instance, cgroup("pids/pids.max", "pids.max")+"(i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done) 2>&1 | head -c 4000")
	if !strings.HasPrefix(got, "20\n") || !strings.Contains(got, "fork") {
		s.Errorf("with 20 pids, a start of 60 processes printed %q", got)
	}
}

func cpu(s *suite) {
	if !s.Shell {
		return
	}
	instance := s.instance()
	instance.Spec.Requirements.VCPUs = 250
	got := strings.Fields(s.output(instance, "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us"))
	var quota, period int
	if len(got) == 2 {
		fmt.Sscan(got[0], &quota)
		fmt.Sscan(got[1], &period)
	}
	if quota == 0 || quota*4 != period {
		s.Errorf("quota and period seen from inside are %q, want a quarter of a processor", got)
	}
}

func statistics(s *suite) {
	sampler, ok := s.Driver.(driver.Sampler)
	if !ok {
		return
	}
	instance, stopped := s.instance(), s.instance()
	s.create(instance)
	s.start(instance)
	s.create(stopped)
	ids := []string{instance.ID, stopped.ID, "nobody"}
	s.eventually("a rate of processor time", func() bool {
		samples, err := sampler.Statistics(s.ctx, ids)
		if err != nil {
			s.Fatalf("statistics: %v", err)
		}
		if len(samples) != 1 || samples[0].Instance != instance.ID {
			s.Fatalf("sampled %+v, want the running instance only", samples)
		}
		if got := samples[0]; got.Pids < 1 || got.MemoryMiB < 0 {
			s.Fatalf("sampled %+v", got)
		}
		return samples[0].CPU >= 0
	})
	begun := time.Now()
	if _, err := sampler.Statistics(s.ctx, ids); err != nil {
		s.Errorf("statistics: %v", err)
	}
	s.Logf("a sample took %s", time.Since(begun))
}
