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
	if err := cloudInitResult(ctx, client, stretch(run.Accelerator, sshLimit)); err != nil {
		return err
	}
	return syncShares(ctx, client, c.record, c.phases.report)
}

// awaitResult waits for the file in which cloud-init leaves how it went when its last stage is over. Reading it is much cheaper than
// `cloud-init status`, which starts Python.
const awaitResult = "until [ -e /run/cloud-init/result.json ]; do sleep 0.2; done; cat /run/cloud-init/result.json"

// cloudInitResult tells how cloud-init went.
func cloudInitResult(ctx context.Context, client *guest.Client, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out bytes.Buffer
	err := client.Run(limited, guest.Command{Script: awaitResult, Stdout: &out})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		return timeoutError("cloud-init did not end within %v after the workload's commands", limit)
	case err != nil:
		return guestError(err, "cloud-init's result cannot be read: %v", err)
	}
	return judge(out.Bytes())
}

// judge reads cloud-init's result file.
func judge(result []byte) error {
	var r struct {
		V1 struct {
			Errors []string `json:"errors"`
		} `json:"v1"`
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return guestError(err, "cloud-init left a result that cannot be read: %v", err)
	}
	if len(r.V1.Errors) > 0 {
		return guestError(nil, "cloud-init failed: %s (look into the guest with --keep, and at `ccloudvm logs --cloud-init`)", strings.Join(r.V1.Errors, "; "))
	}
	return nil
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
