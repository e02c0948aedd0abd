package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/ciaocloud/ciao/cluster"
)

// classify gives an error of the engine its class, unless it has one, and says what was being done; the engine's words are kept.
func classify(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, cluster.ErrUnavailable):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: the Docker Engine did not answer in time: %w: %w", doing, cluster.ErrUnavailable, err)
	case client.IsErrConnectionFailed(err):
		return fmt.Errorf("%s: the Docker Engine cannot be reached; is dockerd running? %w: %w", doing, cluster.ErrUnavailable, err)
	}
	if full(err.Error()) {
		return fmt.Errorf("%s: %w", doing, noRoom(cluster.ErrNoCapacity, err))
	}
	return fmt.Errorf("%s: %w: %w", doing, class(err), err)
}

// full recognises the kernel's word for a disk without room, which the engine passes on as its own trouble.
func full(words string) bool { return strings.Contains(words, "no space left on device") }

// noRoom is for a disk of the engine's without room. What is not there yet may go to another node; what is waits (ErrUnavailable) until there is some.
func noRoom(class, err error) error {
	return fmt.Errorf("%w: the Docker Engine's disk is full: free some space there: %w", class, err)
}

func class(err error) error {
	switch {
	case cerrdefs.IsNotFound(err):
		return cluster.ErrNotFound
	case cerrdefs.IsInvalidArgument(err):
		return cluster.ErrInvalid
	case cerrdefs.IsConflict(err), cerrdefs.IsAlreadyExists(err):
		return cluster.ErrConflict
	case cerrdefs.IsPermissionDenied(err), cerrdefs.IsUnauthorized(err), forbidden(err.Error()):
		return cluster.ErrPermission
	}
	return cluster.ErrUnavailable // broken connections and the engine's own trouble: trying again may help
}

// forbidden recognises what this machine will never let a container do, such as a capability that the machine itself lacks: the engine
// passes the kernel's word on as its own trouble.
func forbidden(words string) bool {
	return strings.Contains(words, "OCI runtime") && strings.Contains(words, "operation not permitted")
}
