package launcher

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
)

// listen hears the guests of virtual machines while there is one that has not been heard, and has it judged.
func (l *Launcher) listen(ctx context.Context) {
	if len(l.unheard()) == 0 {
		return
	}
	limited, cancel := context.WithTimeout(ctx, l.config.Statistics)
	defer cancel()
	l.hear(limited, "")
	for _, o := range l.unheard() {
		o.box.put(mail{judge: true})
	}
}

// unheard are the owners of active virtual machines whose guests have not asked for their address.
func (l *Launcher) unheard() (owners []*owner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.owners {
		if o.reported.Kind == cluster.KindVM && o.reported.State == cluster.Active && !o.heard {
			owners = append(owners, o)
		}
	}
	return owners
}

// hear tells the owners of the guests that were heard since the last call, but for one, of which it is forgotten.
func (l *Launcher) hear(ctx context.Context, forget string) {
	listener, able := l.config.Network.(network.Listener)
	if !able {
		return
	}
	heard, err := listener.Heard(ctx)
	if err != nil {
		l.logger.Debug("guests are not heard", "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, o := range l.owners {
		if id != forget && slices.Contains(heard, id) {
			o.box.put(mail{heard: true})
		}
	}
}

// clock notes since when the instance has been active.
func (o *owner) clock() {
	switch {
	case o.machine.state() != cluster.Active:
		o.since = time.Time{}
	case o.since.IsZero():
		o.since = time.Now()
	}
}

// silence is what is to be said of a virtual machine whose guest should have been heard; empty when there is nothing.
func (o *owner) silence() string {
	_, able := o.launcher.config.Network.(network.Listener)
	grace := o.launcher.config.scaled(o.launcher.config.GuestGrace)
	if !able || o.record.Kind != cluster.KindVM || o.record.Heard || o.since.IsZero() || time.Since(o.since) < grace {
		return ""
	}
	return fmt.Sprintf("its guest has not asked for its address in the first %s: see with `ciao console %s` what it does, and with `ciao logs %s` what it did", grace, o.record.Name, o.record.Name)
}
