package api

import (
	"cmp"
	"errors"
	"net/http"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
)

// Problem is an error as the API answers it (RFC 9457, problem details). It is an error of the class that its code names.
type Problem struct {
	Type   string          `json:"type,omitempty" doc:"always about:blank: the code says more"`
	Title  string          `json:"title" doc:"the text of the status"`
	Status int             `json:"status"`
	Detail string          `json:"detail" doc:"one sentence that says what to do next"`
	Code   string          `json:"code" doc:"class of the error" enum:"invalid,not-found,exists,conflict,not-permitted,over-quota,no-capacity,too-large,unavailable,timeout,internal"`
	Errors []ProblemDetail `json:"errors,omitempty" doc:"the fields that are wrong"`
}

// ProblemDetail is one wrong field.
type ProblemDetail struct {
	Path    string `json:"path"`
	Problem string `json:"problem"`
}

func (p *Problem) Error() string { return cmp.Or(p.Detail, p.Title) }

// Unwrap gives the class of package cluster.
func (p *Problem) Unwrap() error {
	for _, class := range classes {
		if class.code == p.Code {
			return class.err
		}
	}
	return nil
}

// class is the one translation of an error at this border.
type class struct {
	err    error
	code   string
	status int
}

// classes in the order in which they are looked for: an error may be of several, the first one counts.
var classes = []class{
	{cluster.ErrOverQuota, "over-quota", http.StatusForbidden},
	{cluster.ErrPermission, "not-permitted", http.StatusForbidden},
	{cluster.ErrNotFound, "not-found", http.StatusNotFound},
	{cluster.ErrExists, "exists", http.StatusConflict},
	{cluster.ErrTooLarge, "too-large", http.StatusRequestEntityTooLarge},
	{cluster.ErrInvalid, "invalid", http.StatusUnprocessableEntity},
	{cluster.ErrNoCapacity, "no-capacity", http.StatusServiceUnavailable},
	{cluster.ErrConflict, "conflict", http.StatusConflict},
	{cluster.ErrTimeout, "timeout", http.StatusGatewayTimeout},
	{cluster.ErrUnavailable, "unavailable", http.StatusServiceUnavailable},
}

// ProblemOf translates an error for the wire. An error without a class is the server's own fault: its text is not told.
func ProblemOf(err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	for _, class := range classes {
		if errors.Is(err, class.err) {
			// The code has the class: a sentence need not begin with it.
			detail := strings.TrimPrefix(err.Error(), class.err.Error()+": ")
			return &Problem{Title: http.StatusText(class.status), Status: class.status, Code: class.code, Detail: detail, Errors: details(err)}
		}
	}
	return &Problem{Title: http.StatusText(http.StatusInternalServerError), Status: http.StatusInternalServerError, Code: "internal",
		Detail: "the controller failed to answer; its log says why (`singlevm logs controller`, or the journal)"}
}

// CodeOf is the code for a status that did not come from an error of ours.
func CodeOf(status int) string {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType, http.StatusNotAcceptable, http.StatusMethodNotAllowed:
		return "invalid"
	case http.StatusUnauthorized, http.StatusForbidden:
		return "not-permitted"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return "unavailable"
	}
	for _, class := range classes {
		if class.status == status {
			return class.code
		}
	}
	return "internal"
}

func details(err error) []ProblemDetail {
	var problems cluster.Problems
	if !errors.As(err, &problems) {
		return nil
	}
	out := make([]ProblemDetail, len(problems))
	for i, p := range problems {
		out[i] = ProblemDetail{Path: p.Path, Problem: p.Problem}
	}
	return out
}

// GetStatus is the HTTP status, for the server's framework.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is the media type of problem details.
func (p *Problem) ContentType(string) string { return "application/problem+json" }
