package controller

import (
	"context"
	"log/slog"
	"time"

	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// order is a frame to be sent.
type order struct {
	operand     ssntp.Operand
	destination string // node or CNCI; empty is whom the rule names
	body        any    // nil is an empty payload
}

func (r *reconciler) order(operand ssntp.Operand, destination string, body any) {
	o := order{operand, destination, body}
	if body == nil {
		if r.asked[o] {
			return // many instances of a node may ask for the same inventory
		}
		r.asked[o] = true
	}
	r.orders = append(r.orders, o)
}

// What keeps a Place well within a frame.
const (
	maxRequestsPerPlace   = 512
	maxLabelBytesPerPlace = 256 << 10
)

// orderPlaces packs requests into frames.
func (r *reconciler) orderPlaces(requests []payload.PlacementRequest) {
	for len(requests) > 0 {
		n := packed(requests)
		r.order(ssntp.Place, "", payload.Place{Requests: requests[:n:n]})
		requests = requests[n:]
	}
}

// packed is how many of the requests go into one frame.
func packed(requests []payload.PlacementRequest) int {
	labels := 0
	for n := range requests {
		for key, value := range requests[n].Labels {
			labels += len(key) + len(value)
		}
		if n == maxRequestsPerPlace || n > 0 && labels > maxLabelBytesPerPlace {
			return n
		}
	}
	return len(requests)
}

// sendTimeout bounds how long a full queue may hold the reconciler up.
const sendTimeout = time.Second

// send hands all orders to the link. What does not get through is sent again when its answer is overdue.
func (r *reconciler) send(ctx context.Context) {
	orders := r.orders
	r.orders = nil
	clear(r.asked)
	if len(orders) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	for _, o := range orders {
		err := r.transmit(ctx, o)
		r.c.counters.sent(o.operand, err)
		if err != nil {
			r.log.Warn("cannot send", slog.Any("operand", o.operand), slog.String("destination", o.destination), slog.Any("error", err))
		}
	}
}

func (r *reconciler) transmit(ctx context.Context, o order) (err error) {
	frame := ssntp.Frame{Operand: o.operand, Trace: traced(o.body)}
	if o.destination != "" {
		if frame.Destination, err = ssntp.ParseID(o.destination); err != nil {
			return err
		}
	}
	if o.body != nil {
		if frame.Payload, err = payload.Encode(o.body); err != nil {
			return err
		}
	}
	return r.link.Send(ctx, frame)
}
