package cli

import (
	"context"
	"errors"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
)

// The exit codes. They are stable.
const (
	exitOK          = 0
	exitUnexpected  = 1   // none of the classes below
	exitInvalid     = 2   // a wrong argument, workload or cloud-config
	exitNotFound    = 3   // no such instance, workload or image
	exitExists      = 4   // the name is taken
	exitState       = 5   // not possible in the instance's state
	exitHost        = 6   // this machine lacks something
	exitTimeout     = 7   // a deadline passed
	exitGuest       = 8   // the guest failed: a panic, cloud-init, a task of the workload
	exitInterrupted = 130 // by Ctrl-C or SIGTERM
	exitConnection  = 255 // run, connect: the connection was lost (as ssh says it)
)

// exitCode is the code of a failure's class.
func exitCode(err error) int {
	var remote *guest.ExitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &remote):
		return remote.Code
	case errors.Is(err, guest.ErrLost):
		return exitConnection
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	for _, class := range []struct {
		err  error
		code int
	}{
		{ccloudvm.ErrNotFound, exitNotFound},
		{ccloudvm.ErrExists, exitExists},
		{ccloudvm.ErrState, exitState},
		{ccloudvm.ErrHost, exitHost},
		{ccloudvm.ErrTimeout, exitTimeout},
		{ccloudvm.ErrGuest, exitGuest},
		{ccloudvm.ErrInvalid, exitInvalid},
	} {
		if errors.Is(err, class.err) {
			return class.code
		}
	}
	return exitUnexpected
}

// exitHelp explains the codes to the user.
const exitHelp = `Exit codes: 0 done; 1 unexpected failure; 2 wrong argument, workload or cloud-config; 3 no such instance, workload or image;
4 the name is taken; 5 not possible in the instance's state; 6 this machine lacks something; 7 a deadline passed; 8 the guest failed;
130 interrupted. run and connect end with the exit code of the command in the guest, or 255 when the connection was lost.`
