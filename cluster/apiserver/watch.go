package apiserver

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/sse"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

// keepAlive is how often a silent stream says that it lives, so that a reader can tell silence from a lost connection.
const keepAlive = 10 * time.Second

type watch struct {
	ForTenant
	Type []string `query:"type" enum:"instance,node,cnci,event,progress" doc:"only these types of changes"`

	scope string
	err   error
}

// watchKey carries the server to the resolver, which the framework calls while it can still answer with an error.
type watchKey struct{}

// Resolve finds out whose changes are meant before the stream begins.
func (w *watch) Resolve(ctx huma.Context) []error {
	s, _ := ctx.Context().Value(watchKey{}).(*Server)
	w.scope, w.err = s.scope(ctx.Context(), w.Tenant)
	if w.err != nil {
		return []error{s.translate(ctx.Context(), w.err)}
	}
	return nil
}

func (s *Server) registerWatch(a huma.API) {
	op := operation("watch", http.MethodGet, "/watch", "Follow changes; begins with a resync, after which a list is current", "watch")
	op.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		next(huma.WithValue(ctx, watchKey{}, s))
	}}
	sse.Register(a, op, map[string]any{"change": api.Change{}, "alive": api.Alive{}}, s.watch)
}

func (s *Server) watch(ctx context.Context, in *watch, send sse.Sender) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	changes := s.config.UseCases.Watch(ctx, in.scope, s.watched(ctx, in.Type)...)
	names := s.workloadNames(in.scope)
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-alive.C:
			err = send.Data(api.Alive{})
		case change, open := <-changes:
			if !open {
				return
			}
			err = send.Data(s.changeOf(ctx, change, names))
		}
		if err != nil { // the reader is gone or too slow: it comes back and lists again
			return
		}
	}
}

// watched are the kinds that the caller asked for and may see: nodes are the operator's.
func (s *Server) watched(ctx context.Context, types []string) []controller.ChangeKind {
	if len(types) == 0 {
		types = []string{api.ChangeInstance, api.ChangeNode, api.ChangeCNCI, api.ChangeEvent, api.ChangeProgress}
	}
	kinds := []controller.ChangeKind{controller.ChangeResync}
	for _, name := range types {
		if name != api.ChangeNode || callerOf(ctx).admin {
			kinds = append(kinds, controller.ChangeKind(name))
		}
	}
	return kinds
}

func (s *Server) changeOf(ctx context.Context, change controller.Change, names func(context.Context, string) string) api.Change {
	out := api.Change{Type: string(change.Kind), ID: change.ID, Deleted: change.Deleted, Event: change.Event}
	if change.Instance != nil {
		instance := s.instanceOf(*change.Instance, names(ctx, change.Instance.Workload))
		out.Instance = &instance
	}
	if change.Node != nil {
		node := s.nodeOf(*change.Node)
		out.Node = &node
	}
	if change.CNCI != nil {
		cnci := cnciOf(*change.CNCI)
		out.CNCI = &cnci
	}
	if p := change.Progress; p != nil {
		out.Progress = &api.Progress{Step: p.Step, Percent: p.Percent, Message: p.Message}
	}
	return out
}
