package apiserver

import (
	"context"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Snapshot begins to read the whole store, and returns what writes it as a backup; that lives no longer than the context.
type Snapshot func(context.Context) (write func(io.Writer) error, err error)

// backupType is the media type of a backup: lines of JSON.
const backupType = "application/x-ndjson"

func (s *Server) registerStore(a huma.API) {
	handleEmpty(s, a, operation("settle-store", http.MethodPost, "/store/settle",
		"End the care for what a restored store does not know: nodes delete it (operator)", "store"), s.settleStore)
	op := operation("get-snapshot", http.MethodGet, "/store/snapshot", "Back the whole store up (operator)", "store")
	op.Description = "A backup holds all that the cluster knows, of every tenant. Its last line has a checksum: an answer without it broke off."
	op.Errors = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable}
	op.Responses = map[string]*huma.Response{"200": {
		Description: "the backup", Content: map[string]*huma.MediaType{backupType: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	huma.Register(a, op, s.snapshot)
}

func (s *Server) settleStore(ctx context.Context, _ *struct{}) error {
	if err := operator(ctx); err != nil {
		return err
	}
	return s.config.UseCases.SettleStore(ctx)
}

func (s *Server) snapshot(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	if err := operator(ctx); err != nil {
		return nil, s.translate(ctx, err)
	}
	write, err := s.config.Snapshot(ctx)
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	s.logger.Info("the store is backed up", "caller", callerOf(ctx).name)
	return &huma.StreamResponse{Body: func(out huma.Context) {
		out.SetHeader("Content-Type", backupType)
		out.SetHeader("Cache-Control", "no-store")
		if err := write(out.BodyWriter()); err != nil {
			s.logger.Warn("a backup broke off", "caller", callerOf(ctx).name, "error", err)
			panic(http.ErrAbortHandler) // the way to end an answer so that the caller sees it is not whole
		}
	}}, nil
}
