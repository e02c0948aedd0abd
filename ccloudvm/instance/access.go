package instance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
)

// access is how to get into the guest of a record.
func (m *Manager) access(r *Record) (guest.Access, error) {
	user, err := guest.EnsureKey(m.Layout.KeyFile(), "ccloudvm")
	if err != nil {
		return guest.Access{}, hostError("the key of your instances cannot be read", err)
	}
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(r.HostKey))
	if err != nil {
		return guest.Access{}, &ccloudvm.Error{Class: ccloudvm.ErrState, Text: fmt.Sprintf("%s has no SSH identity yet: its creation was interrupted (delete it)", r.Name), Cause: err}
	}
	return guest.Access{Name: r.Name, Address: netip.AddrPortFrom(r.Address, uint16(r.sshPort())), User: r.User, Key: user.Signer, HostKey: host}, nil
}

// Enter connects to the guest of a running instance, waiting for as long as its boot may take.
func (m *Manager) Enter(ctx context.Context, name string) (*guest.Client, error) {
	r, err := m.load(name)
	if err != nil {
		return nil, err
	}
	if _, running := m.process(name); !running {
		return nil, &ccloudvm.Error{Class: ccloudvm.ErrState, Text: fmt.Sprintf("%s is not running: start it with `ccloudvm start %s`", name, name)}
	}
	run, _ := m.Layout.run(name)
	return m.dial(ctx, r, stretch(run.Accelerator, sshLimit))
}

func (m *Manager) dial(ctx context.Context, r *Record, limit time.Duration) (*guest.Client, error) {
	access, err := m.access(r)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := guest.Wait(limited, access)
	switch {
	case err == nil:
		return client, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, guest.ErrIdentity) || errors.Is(err, guest.ErrRefused):
		return nil, guestError(err, "%s cannot be entered: %v", r.Name, err)
	case limited.Err() != nil:
		return nil, &ccloudvm.Error{Class: ccloudvm.ErrTimeout, Cause: err, Text: fmt.Sprintf("%s did not let us in within %v: %v", r.Name, limit, err)}
	}
	return nil, guestError(err, "%s cannot be entered: %v", r.Name, err)
}

// enter proves that the instance can be used: SSH answers, cloud-init ended without errors, what is not mounted is copied.
func (c *creation) enter(ctx context.Context, run Run) error {
	client, err := c.dial(ctx, c.record, stretch(run.Accelerator, sshLimit))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := cloudInitStatus(ctx, client, stretch(run.Accelerator, sshLimit)); err != nil {
		return err
	}
	return syncShares(ctx, client, c.record, c.phases.report)
}

// cloudInitStatus asks cloud-init how it went. Status 2 is "done, with complaints" and status 1 failure (cloud-init 23.4 and later;
// before, 1 meant both, and the errors tell).
func cloudInitStatus(ctx context.Context, client *guest.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out, errs bytes.Buffer
	err := client.Run(ctx, guest.Command{Argv: []string{"cloud-init", "status", "--wait", "--format", "json"}, Stdout: &out, Stderr: &errs})
	var exit *guest.ExitError
	if err != nil && !errors.As(err, &exit) {
		return guestError(err, "cloud-init's status cannot be asked for: %v", err)
	}
	var status struct {
		Status string   `json:"status"`
		Detail string   `json:"detail"`
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(lastObject(out.Bytes()), &status) != nil {
		if exit == nil {
			return nil // an old cloud-init without JSON, and content
		}
		return guestError(err, "cloud-init failed: %s", strings.TrimSpace(out.String()+errs.String()))
	}
	if status.Status == "done" || (exit != nil && exit.Code == 2) {
		return nil
	}
	return guestError(nil, "cloud-init ended as %q: %s", status.Status, strings.Join(append([]string{status.Detail}, status.Errors...), "; "))
}

// lastObject cuts away the dots that --wait prints before the answer.
func lastObject(b []byte) []byte {
	return b[max(bytes.IndexByte(b, '{'), 0):]
}

// syncShares copies the shares that the guest does not mount.
func syncShares(ctx context.Context, client *guest.Client, r *Record, report Report) error {
	for _, s := range r.Shares {
		if s.Backend != ccloudvm.BackendSync {
			continue
		}
		report.say(PhaseNote, "copying %s into the guest", s.Path)
		parent := path.Dir(s.Path)
		prepare := guest.Command{Argv: []string{"sudo", "sh", "-c", `mkdir -p "$1" && chown "$2" "$1" "$3"`, "sh", s.Path, r.User, s.Path}}
		if err := client.Run(ctx, prepare); err != nil {
			return guestError(err, "%s cannot be made in the guest: %v", s.Path, err)
		}
		if err := client.Upload(ctx, s.Path, parent, guest.CopyOptions{Recursive: true}); err != nil {
			return guestError(err, "%s cannot be copied into the guest: %v", s.Path, err)
		}
	}
	return nil
}
