package instance

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

func TestDerive(t *testing.T) {
	done := &Record{Name: "vm", Complete: true}
	undone := &Record{Name: "vm"}
	started := Run{Started: time.Unix(1, 0)}
	tests := []struct {
		name   string
		facts  facts
		want   ccloudvm.State
		reason string // part of it
	}{
		{"being made", facts{record: undone, beingMade: true, alive: true, supervised: true}, ccloudvm.StateCreating, ""},
		{"its maker was killed", facts{record: undone, alive: true, supervised: true}, ccloudvm.StateFailed, "interrupted"},
		{"kept wreck", facts{record: &Record{Failure: "no"}, alive: true}, ccloudvm.StateFailed, "no"},
		{"running", facts{record: done, alive: true, supervised: true, status: qemu.Running}, ccloudvm.StateRunning, ""},
		{"no supervisor", facts{record: done, alive: true, status: qemu.Running}, ccloudvm.StateRunning, "ccloudvm start"},
		{"silent", facts{record: done, alive: true, supervised: true, statusErr: errors.New("x")}, ccloudvm.StateUnresponsive, "ccloudvm quit"},
		{"disk full", facts{record: done, alive: true, supervised: true, status: qemu.IOError, run: Run{Warning: "full"}}, ccloudvm.StateUnresponsive, "full"},
		{"panicked", facts{record: done, alive: true, supervised: true, status: qemu.Panicked}, ccloudvm.StateFailed, "panicked"},
		{"off, not yet gone", facts{record: done, alive: true, status: qemu.Off}, ccloudvm.StateStopped, "shut down"},
		{"stopped", facts{record: done, run: Run{Started: time.Unix(1, 0), Ended: time.Unix(2, 0), How: "the guest shut down"}}, ccloudvm.StateStopped, "the guest shut down"},
		{"both killed", facts{record: done, run: started}, ccloudvm.StateFailed, "killed"},
		{"did not start", facts{record: done, run: Run{Failure: "no such CPU"}}, ccloudvm.StateStopped, "no such CPU"},
		{"never started", facts{record: done}, ccloudvm.StateStopped, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, reason := derive(tt.facts)
			if state != tt.want || !strings.Contains(reason, tt.reason) || (tt.reason == "") != (reason == "") {
				t.Errorf("derive = %s, %q; want %s, %q", state, reason, tt.want, tt.reason)
			}
		})
	}
}

func TestChooseName(t *testing.T) {
	taken := []string{"ciao", "debian-12", "debian-12-2"}
	tests := []struct {
		asked, ref, want string
		class            error
	}{
		{"", "ciao", "ciao-2", nil},
		{"", "debian-12", "debian-12-3", nil},
		{"", "./work/My_box.yaml", "My-box", nil},
		{"", "https://example.com/ünï.yml", "n", nil},
		{"", "./-.yaml", "vm", nil},
		{"mine", "ciao", "mine", nil},
		{"ciao", "debian-12", "", ccloudvm.ErrExists},
		{"-x", "ciao", "", ccloudvm.ErrInvalid},
		{"a.b", "ciao", "", ccloudvm.ErrInvalid},
		{"../x", "ciao", "", ccloudvm.ErrInvalid},
		{strings.Repeat("x", 64), "ciao", "", ccloudvm.ErrInvalid},
	}
	for _, tt := range tests {
		got, err := chooseName(tt.asked, tt.ref, taken)
		if got != tt.want || !errors.Is(err, tt.class) {
			t.Errorf("chooseName(%q, %q) = %q, %v; want %q, %v", tt.asked, tt.ref, got, err, tt.want, tt.class)
		}
	}
}

func TestChooseAddress(t *testing.T) {
	for uid, want := range map[int]string{0: "127.255.0.1", 33: "127.255.33.1", 1000: "127.3.232.1", 65534: "127.255.254.1", 131071: "127.255.255.1"} {
		got, err := chooseAddress(uid, nil, nil)
		if err != nil || got.String() != want {
			t.Errorf("the first address of user %d is %v, %v; want %s", uid, got, err, want)
		}
	}
	const uid = 54321
	first, err := chooseAddress(uid, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newListener(t, first)
	if err != nil {
		t.Fatal(err)
	}
	port := ccloudvm.Port{Host: int(l.Port()), Guest: 22}
	second, err := chooseAddress(uid, nil, []ccloudvm.Port{port})
	if err != nil || second != first.Next() {
		t.Errorf("with the first one's port in use: %v, %v; want %v", second, err, first.Next())
	}
	third, err := chooseAddress(uid, []netip.Addr{first, second}, []ccloudvm.Port{port})
	if err != nil || third != second.Next() {
		t.Errorf("with two taken: %v, %v; want %v", third, err, second.Next())
	}
	var all []netip.Addr
	for n := range 254 {
		a := first.As4()
		a[3] = byte(n + 1)
		all = append(all, netip.AddrFrom4(a))
	}
	if _, err := chooseAddress(uid, all, nil); !errors.Is(err, ccloudvm.ErrHost) {
		t.Errorf("with all taken: %v", err)
	}
	if err := checkAddress(first, []ccloudvm.Port{port}); !errors.Is(err, ccloudvm.ErrHost) || !strings.Contains(err.Error(), "--hostip") {
		t.Errorf("an address in use: %v", err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := acquire(path, "ccloudvm create (process 1)")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := acquire(path, ""); !errors.Is(err, errLocked) || !strings.Contains(err.Error(), "ccloudvm create (process 1)") {
		t.Errorf("a second holder got %v", err)
	}
	if !held(path) {
		t.Error("the lock does not look held")
	}
	first.releaseAndRemove()
	if held(path) {
		t.Error("the removed lock looks held")
	}
	second, err := await(t.Context(), path, "", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer second.release()
	if !held(path) {
		t.Error("the lock made anew does not look held")
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	tl := tail{path: path}
	write := func(text string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		var all string
		for _, line := range tl.lines() {
			all += string(line)
		}
		return all
	}
	var got []string
	got = append(got, read()) // not there yet
	write("a\nb")
	got = append(got, read(), read())
	write("c\n")
	got = append(got, read())
	if err := os.WriteFile(path, []byte("new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got = append(got, read())
	if diff := cmp.Diff([]string{"", "a\n", "", "bc\n", "new\n"}, got); diff != "" {
		t.Errorf("what was read (-want +got):\n%s", diff)
	}
}

func TestJudge(t *testing.T) {
	for result, want := range map[string]string{
		`{"v1": {"datasource": "DataSourceNoCloud", "errors": []}}`: "",
		`{"v1": {"errors": ["('scripts_user', RuntimeError())"]}}`:  "scripts_user",
		`not JSON`: "cannot be read",
	} {
		err := judge([]byte(result))
		if (err == nil) != (want == "") || (err != nil && (!errors.Is(err, ccloudvm.ErrGuest) || !strings.Contains(err.Error(), want))) {
			t.Errorf("judge(%s) = %v; want %q", result, err, want)
		}
	}
}
