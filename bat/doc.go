// Package bat is the harness of the basic acceptance tests: it judges a live cluster from outside, over its command line, its HTTP
// interface and from within containers that it starts there.
//
// A Test is a value with its plan (what it does and what is expected) and a function; suites are literal lists of tests. A test gets
// a T, with which it makes throw-away tenants, starts instances, waits for what it wants to see and fails. What happens in a tenant's
// network is seen by probes: containers whose command checks and whose exit code the HTTP interface shows; nothing of the
// cluster's machines is looked into.
//
// What is guaranteed: users' instances are never touched, for everything is made in tenants named bat-RUN-…, by an operator who
// acts for them; what a test made is removed when it ends, however it ends, ^C included; every wait follows the cluster's stream
// of changes and has a deadline; a failure carries the cluster's events, instances and, where singlevm is at hand, the daemons' logs.
package bat
