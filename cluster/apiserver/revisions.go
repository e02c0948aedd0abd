package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// tagged is an answer that says which revision of a thing it shows.
type tagged[T any] struct {
	ETag string `header:"ETag" doc:"of this revision, for If-Match"`
	Body T
}

// handleTagged registers an operation on a thing that is protected against lost updates (RFC 9110, section 13.1.1).
func handleTagged[I, O any](s *Server, a huma.API, operation huma.Operation, do func(context.Context, *I) (O, store.Revision, error)) {
	operation.Errors = append(operation.Errors, http.StatusUnauthorized, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(a, operation, func(ctx context.Context, input *I) (*tagged[O], error) {
		answer, revision, err := do(ctx, input)
		if err != nil {
			return nil, s.translate(ctx, err)
		}
		return &tagged[O]{entityTag(revision), answer}, nil
	})
}

// entityTag is the revision in the form of a strong ETag.
func entityTag(revision store.Revision) string {
	return `"` + strconv.FormatInt(int64(revision), 10) + `"`
}

// Matching is the part of an input that guards against lost updates.
type Matching struct {
	IfMatch string `header:"If-Match" maxLength:"64" doc:"ETag of what was read; the change is made only if it is still that"`
}

// revision is 0 when any will do.
func (m Matching) revision() (store.Revision, error) {
	if m.IfMatch == "" || m.IfMatch == "*" {
		return 0, nil
	}
	revision, err := strconv.ParseInt(strings.Trim(m.IfMatch, `"`), 10, 64)
	if err != nil || revision <= 0 || entityTag(store.Revision(revision)) != m.IfMatch {
		return 0, fmt.Errorf("%w: If-Match must be the ETag of an earlier answer, quotes included, or *", cluster.ErrInvalid)
	}
	return store.Revision(revision), nil
}

// changeable is the revision that an operator, and nobody else, wants to change.
func (m Matching) changeable(ctx context.Context) (store.Revision, error) {
	if err := operator(ctx); err != nil {
		return 0, err
	}
	return m.revision()
}
