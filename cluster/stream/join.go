package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ciaocloud/ciao/cluster"
)

// Join carries messages between the two other ends until the node has said how it ended, or one of them leaves, and closes both
// connections. A user whose node leaves is told so; one who reads nothing for Patience has left. The error says who left early; nil is a stream that came to its end.
func Join(ctx context.Context, user, node Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	user, node = patient{user}, patient{node}
	var carrying sync.WaitGroup
	carrying.Go(func() {
		if err := toNode(ctx, user, node); err != nil {
			cancel(err)
		}
	})
	err := toUser(ctx, node, user)
	var closing sync.WaitGroup
	closing.Go(user.Close)
	closing.Go(node.Close)
	closing.Wait()
	cancel(nil)
	carrying.Wait()
	return err
}

var errNodeLeft = errors.New("the node left")

// toNode returns why the user left. That the node did is for toUser to find.
func toNode(ctx context.Context, user, node Conn) error {
	for {
		m, err := user.Read(ctx)
		if err != nil {
			return fmt.Errorf("the user left: %w", err)
		}
		if node.Write(ctx, m) != nil {
			return nil
		}
	}
}

func toUser(ctx context.Context, node, user Conn) error {
	for {
		m, err := node.Read(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return errors.Join(errNodeLeft, err, lost(ctx, user))
		}
		if err := user.Write(ctx, m); err != nil {
			return fmt.Errorf("the user left: %w", err)
		}
		if m.Channel == Ended {
			return nil
		}
	}
}

// lost tells the user that the node is gone.
func lost(ctx context.Context, user Conn) error {
	err := fmt.Errorf("%w: the connection to the instance's node broke; `ciao show instance` says how the instance is", cluster.ErrUnavailable)
	last, err := resultOf(0, err).message()
	if err != nil {
		return err
	}
	return user.Write(ctx, last)
}
