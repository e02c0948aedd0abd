package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

// recordVersion is the format of Record. 1: the first one.
const recordVersion = 1

// Record is what was asked for and decided when an instance was made; start may change the machine's sizes.
type Record struct {
	Version       int              `json:"version"`
	Name          string           `json:"name"`
	Workload      string           `json:"workload"` // what create was asked for
	Spec          ccloudvm.Spec    `json:"spec"`
	Image         image.Image      `json:"image"`
	UUID          string           `json:"uuid"`
	Address       netip.Addr       `json:"address"`
	User          string           `json:"user"`     // the login in the guest
	HostKey       string           `json:"host_key"` // the guest's public SSH key, as in known_hosts
	Shares        []ccloudvm.Share `json:"shares"`
	SearchDomains []string         `json:"search_domains,omitempty"` // of the host's resolver, when the instance was made
	Accelerator   string           `json:"accelerator"`              // auto, kvm or tcg, as asked for
	Created       time.Time        `json:"created"`
	Complete      bool             `json:"complete"`          // the first boot went well to its end
	Failure       string           `json:"failure,omitempty"` // why a kept wreck is one
	Phases        []ccloudvm.Phase `json:"phases"`
}

// Run is what the supervisor notes about one run of QEMU.
type Run struct {
	ID          string           `json:"id"` // chosen by the command that started the supervisor
	Started     time.Time        `json:"started,omitzero"`
	Accelerator qemu.Accelerator `json:"accelerator"`
	Failure     string           `json:"failure,omitempty"` // QEMU did not start
	Broken      string           `json:"broken,omitempty"`  // the guest will not get ready
	Warning     string           `json:"warning,omitempty"` // such as: paused, the host's disk is full
	Finished    time.Time        `json:"finished,omitzero"` // the guest reported the end of its first boot
	Ended       time.Time        `json:"ended,omitzero"`    // QEMU is gone
	How         string           `json:"how,omitempty"`     // how it went
}

// sshPort is the port of the instance's address that leads to the guest's SSH server.
func (r *Record) sshPort() int {
	for _, p := range r.Spec.VM.Ports {
		if p.Guest == ccloudvm.SSHPort {
			return p.Host
		}
	}
	return ccloudvm.DefaultSSHHostPort
}

func (m *Manager) load(name string) (*Record, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	var r Record
	err := readJSON(m.Layout.file(name, recordFile), &r)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, m.notFound(name)
	case err != nil:
		return nil, &ccloudvm.Error{Class: ccloudvm.ErrState,
			Text: fmt.Sprintf("the record of %s cannot be read (%v): delete the instance", name, err), Cause: err}
	case r.Version > recordVersion:
		return nil, &ccloudvm.Error{Class: ccloudvm.ErrState,
			Text: fmt.Sprintf("%s was made by a newer ccloudvm (record version %d, this one knows %d)", name, r.Version, recordVersion)}
	}
	return &r, nil
}

func (m *Manager) save(r *Record) error {
	r.Version = recordVersion
	if err := writeJSON(m.Layout.file(r.Name, recordFile), r); err != nil {
		return hostError("the record of "+r.Name+" cannot be written", err)
	}
	return nil
}

func (l Layout) run(name string) (Run, error) {
	var run Run
	return run, readJSON(l.file(name, runFile), &run)
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// writeJSON replaces a file whole or not at all; what was acknowledged survives a crash of the machine.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}

func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
