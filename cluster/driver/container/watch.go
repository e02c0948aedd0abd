package container

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
)

// Delays between attempts to reach an engine that is away.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// Watch follows the engine's stream of events. A slow receiver loses nothing: ids wait, each once.
func (d *Driver) Watch(ctx context.Context) <-chan string {
	changed, out := make(chan string), make(chan string)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.life, cancel)
	var follower sync.WaitGroup
	follower.Go(func() { d.follow(ctx, changed) })
	d.owned.Go(func() {
		defer close(out)
		defer follower.Wait()
		defer cancel()
		defer stop()
		relay(ctx, changed, out)
	})
	return out
}

// relay hands ids on in the order of their first mention, and keeps taking them while the receiver is busy.
func relay(ctx context.Context, in <-chan string, out chan<- string) {
	var waiting []string
	known := map[string]bool{}
	for {
		var (
			next string
			to   chan<- string
		)
		if len(waiting) > 0 {
			next, to = waiting[0], out
		}
		select {
		case id := <-in:
			if !known[id] {
				known[id] = true
				waiting = append(waiting, id)
			}
		case to <- next:
			delete(known, next)
			waiting = waiting[1:]
		case <-ctx.Done():
			return
		}
	}
}

// follow keeps a stream open until ctx ends.
func (d *Driver) follow(ctx context.Context, changed chan<- string) {
	retry := firstRetry
	for ctx.Err() == nil {
		worked, err := d.stream(ctx, changed)
		if worked {
			retry = firstRetry
			send(ctx, changed, "") // the engine may have gone: that is found out now, and not when something is wanted of it
		}
		d.log.Debug("the engine's stream of events ended", "error", err, "retry", retry)
		if pause(ctx, retry) != nil {
			return
		}
		retry = min(2*retry, lastRetry)
	}
}

// stream sends the ids of one stream of events, first the empty one that makes up for what was missed before it.
func (d *Driver) stream(ctx context.Context, changed chan<- string) (worked bool, err error) {
	if err := d.ready(ctx); err != nil {
		return false, err
	}
	filter := d.mine()
	filter.Add("type", string(events.ContainerEventType))
	for _, action := range []events.Action{events.ActionCreate, events.ActionStart, events.ActionKill, events.ActionDie, events.ActionOOM, events.ActionDestroy} {
		filter.Add("event", string(action))
	}
	ctx, cancel := context.WithCancel(ctx) // ends the client's goroutine
	defer cancel()
	since := time.Now() // the engine answers before it subscribes: it keeps what falls between
	messages, errs := d.engine.Events(ctx, events.ListOptions{Since: stamp(since), Filters: filter})
	select {
	case err := <-errs:
		return false, err
	default:
	}
	if !send(ctx, changed, "") {
		return true, ctx.Err()
	}
	for {
		select {
		case message := <-messages:
			id := message.Actor.Attributes[LabelInstance]
			d.seen.event(id, message)
			if message.Action != events.ActionKill && !send(ctx, changed, id) {
				return true, ctx.Err()
			}
		case err := <-errs:
			if ctx.Err() == nil {
				d.seen.breakAt(time.Now())
			}
			return true, err
		}
	}
}

func send(ctx context.Context, changed chan<- string, id string) bool {
	select {
	case changed <- id:
		return true
	case <-ctx.Done():
		return false
	}
}

// stamp is a time as the engine's interface takes it: seconds and nanoseconds.
func stamp(at time.Time) string {
	return fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond())
}
