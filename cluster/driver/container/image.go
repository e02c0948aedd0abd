package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// pullSilence is how long a registry may say nothing at all before a pull is given up.
const pullSilence = 2 * time.Minute

// pulls makes concurrent pulls, or loads, of one image one. The zero value is ready.
type pulls struct {
	mu   sync.Mutex
	open map[string]*pull
}

type pull struct {
	mu        sync.Mutex
	listeners []func(message string)
	done      chan struct{}
	err       error // once done is closed
}

// fetch brings a missing image to the engine. A pull belongs to all who wait for it: it goes on when one of them gives up.
func (d *Driver) fetch(ctx context.Context, instance driver.Instance, progress func(step, message string)) error {
	reference, get := d.reference(instance), d.pull
	if instance.Image != nil {
		get = func(reference string, tell func(string)) error { return d.load(*instance.Image, reference, tell) }
	} else if instance.Spec.Pull == cluster.PullNever {
		return fmt.Errorf("the node's engine does not have it and the workload forbids to pull it (pull: never): %w", cluster.ErrNotFound)
	}
	running := d.pulls.join(reference, func(running *pull) {
		d.owned.Go(func() { d.pulls.finish(reference, running, get(reference, running.tell)) })
	})
	heard := make(chan string, 1)
	running.listen(func(message string) {
		select {
		case heard <- message:
		default: // the last message that fits is enough
		}
	})
	for {
		select {
		case message := <-heard:
			progress("pull", message)
		case <-running.done:
			return running.err
		case <-ctx.Done():
			return classify("pull", ctx.Err())
		}
	}
}

// join finds the pull of a reference or begins one.
func (p *pulls) join(reference string, begin func(*pull)) *pull {
	p.mu.Lock()
	defer p.mu.Unlock()
	if running, ok := p.open[reference]; ok {
		return running
	}
	if p.open == nil {
		p.open = map[string]*pull{}
	}
	running := &pull{done: make(chan struct{})}
	p.open[reference] = running
	begin(running)
	return running
}

func (p *pulls) finish(reference string, running *pull, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, reference)
	running.err = err
	close(running.done)
}

func (p *pull) listen(listener func(string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = append(p.listeners, listener)
}

func (p *pull) tell(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, listener := range p.listeners {
		listener(message)
	}
}

// pull fetches an image and gives up when nothing has been heard of it for pullSilence.
func (d *Driver) pull(reference string, tell func(string)) error {
	ctx, cancel := context.WithCancelCause(d.life)
	defer cancel(nil)
	silence := time.AfterFunc(pullSilence, func() {
		cancel(fmt.Errorf("the registry said nothing for %s: %w", pullSilence, cluster.ErrUnavailable))
	})
	defer silence.Stop()
	stream, err := d.engine.ImagePull(ctx, reference, image.PullOptions{})
	if err == nil {
		defer stream.Close()
		err = readPull(stream, func(message string) { silence.Reset(pullSilence); tell(message) })
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("pull: %w", cause)
	}
	if refused(err) && !full(err.Error()) {
		return fmt.Errorf("pull: %w: %w", cluster.ErrNotFound, err)
	}
	return classify("pull", err)
}

// readPull reads the engine's stream of JSON messages to its end, tells how far all layers together are, and returns the error that
// the stream may carry.
func readPull(stream io.Reader, tell func(string)) error {
	type layer struct{ Current, Total int64 }
	layers := map[string]layer{}
	decoder := json.NewDecoder(stream)
	for {
		var line struct {
			ID, Status, Error string
			ProgressDetail    layer
		}
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if line.Error != "" {
			return refusal(line.Error)
		}
		if line.Status == "Downloading" && line.ProgressDetail.Total > 0 {
			layers[line.ID] = line.ProgressDetail
		}
		var sum layer
		for _, l := range layers {
			sum.Current, sum.Total = sum.Current+l.Current, sum.Total+l.Total
		}
		if sum.Total == 0 {
			tell(strings.TrimSpace(line.ID + " " + line.Status))
			continue
		}
		tell(fmt.Sprintf("downloading, %d of %d MiB", sum.Current>>20, sum.Total>>20))
	}
}

// refusal is the engine's word that it cannot have an image.
type refusal string

func (r refusal) Error() string { return string(r) }

// refused tells a pull that the engine gave up, because the registry lacks the image or could not be asked, from one that broke
// with the engine itself: trying the first again would keep its user waiting for nothing.
func refused(err error) bool {
	if err == nil || strings.Contains(err.Error(), "context canceled") { // the engine is being stopped
		return false
	}
	var words refusal
	return errors.As(err, &words) || !client.IsErrConnectionFailed(err) &&
		(cerrdefs.IsInternal(err) || cerrdefs.IsNotFound(err) || cerrdefs.IsUnauthorized(err) || cerrdefs.IsPermissionDenied(err))
}
