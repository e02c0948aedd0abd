package apiserver

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

// useProblems gives the framework's own errors (bad JSON, unknown keys, values out of range) the form of ours. The framework has
// one constructor for the whole process, so it is set once.
var useProblems = sync.OnceFunc(func() {
	huma.NewError = func(status int, message string, causes ...error) huma.StatusError {
		return frameworkProblem(status, message, causes)
	}
})

func frameworkProblem(status int, message string, causes []error) *api.Problem {
	problem := &api.Problem{Title: http.StatusText(status), Status: status, Code: api.CodeOf(status), Detail: message}
	for _, cause := range causes {
		var detail *huma.ErrorDetail
		if errors.As(cause, &detail) {
			problem.Errors = append(problem.Errors, api.ProblemDetail{Path: detail.Location, Problem: detail.Message})
			problem.Detail += "; " + detail.Location + ": " + detail.Message
		} else if cause != nil {
			problem.Detail += "; " + cause.Error()
		}
	}
	return problem
}

// translate is the border's one translation of an error.
func (s *Server) translate(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) {
		err = cluster.ErrUnavailable
	}
	problem := api.ProblemOf(err)
	if errors.Is(err, controller.ErrChanged) {
		problem.Status, problem.Title = http.StatusPreconditionFailed, http.StatusText(http.StatusPreconditionFailed)
	}
	if problem.Code == "internal" {
		s.logger.ErrorContext(ctx, "request failed", "caller", callerOf(ctx).name, "error", err)
	}
	return problem
}

// body is an answer with a body.
type body[T any] struct{ Body T }

// empty is an answer without one.
type empty struct{}

// handle registers an operation whose errors are translated.
func handle[I, O any](s *Server, a huma.API, operation huma.Operation, do func(context.Context, *I) (O, error)) {
	operation.Errors = append(operation.Errors, http.StatusUnauthorized, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(a, operation, func(ctx context.Context, input *I) (*body[O], error) {
		answer, err := do(ctx, input)
		if err != nil {
			return nil, s.translate(ctx, err)
		}
		return &body[O]{answer}, nil
	})
}

// handleEmpty registers an operation whose answer has no body.
func handleEmpty[I any](s *Server, a huma.API, operation huma.Operation, do func(context.Context, *I) error) {
	operation.DefaultStatus = http.StatusNoContent
	operation.Errors = append(operation.Errors, http.StatusUnauthorized, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(a, operation, func(ctx context.Context, input *I) (*empty, error) {
		if err := do(ctx, input); err != nil {
			return nil, s.translate(ctx, err)
		}
		return nil, nil
	})
}

// operation declares one operation.
func operation(id, method, path, summary, tag string) huma.Operation {
	status := http.StatusOK
	if method == http.MethodPost {
		status = http.StatusCreated
	}
	return huma.Operation{OperationID: id, Method: method, Path: api.Version + path, Summary: summary, Tags: []string{tag}, DefaultStatus: status}
}

// ForTenant is the part of an input that says whose things it is about.
type ForTenant struct {
	Tenant string `query:"tenant" maxLength:"64" doc:"id or name of the tenant; needed only by who may act for several"`
}

// Page is the part of an input that bounds a list.
type Page struct {
	After string `query:"after" maxLength:"64" doc:"next of the page before"`
	Limit int    `query:"limit" minimum:"0" maximum:"10000" doc:"most items of a page; 0 is all"`
}

// Named is the part of an input that names one thing.
type Named struct {
	Ref string `path:"ref" maxLength:"64" doc:"id or name"`
}
