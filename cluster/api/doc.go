// Package api is the language of ciao's HTTP interface: the types of requests and answers, and its errors. Server and client share
// it and nothing else.
//
// Resources are under /v1, JSON over HTTPS on port 8889. The caller is who its client certificate says: Organization holds the
// ids of the tenants that it may act for, or admin. A request acts for the tenant of its query parameter tenant; a certificate of
// one tenant need not name it, and an operator who names none sees all tenants. What is not the caller's to see is not found.
//
// Lists are {"items": […], "next": …}. Errors are problem details (RFC 9457) whose code is the class of the error. Changes are
// followed by server-sent events (WHATWG HTML, section 9.2) at /v1/watch.
package api

// Version is the prefix of every path.
const Version = "/v1"

// Admin is the Organization of an operator's certificate.
const Admin = "admin"

// List is the answer to a listing; Next is empty on the last page.
type List[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next"`
}
