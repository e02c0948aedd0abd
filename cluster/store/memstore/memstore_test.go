package memstore_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
	"github.com/ciaocloud/ciao/cluster/store/storetest"
)

type shared struct{ *memstore.Memory }

func (s shared) Open(ctx context.Context, schema store.Schema, log *slog.Logger) (*store.DB, error) {
	return s.Memory.Open(ctx, schema, log)
}

func (s shared) Compact(context.Context) error {
	s.Memory.Compact()
	return nil
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Shared { return shared{memstore.New()} })
}
