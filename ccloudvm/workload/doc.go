// Package workload turns a workload file into the machine to boot and the cloud-config to boot it with.
//
// A workload file holds two YAML documents, both Go templates (text/template): a spec (package ccloudvm's Spec) and a cloud-config.
// A workload may inherit from another one, any number deep. How a workload is made, in order:
//
//	find      by name: the user's directories, then the embedded workloads; or by path; or by URL
//	expand    the spec document with the Workspace, no functions
//	parse     strictly: unknown keys, wrong types, double keys are refused, all of them at once
//	inherit   what the child says wins; lists are keyed (mount by tag, port by guest port, drive by path)
//	check     the merged spec, all problems at once
//	render    each cloud-config with the Workspace and the functions of Functions, then merged: lists are the parent's items followed
//	          by the child's, maps are merged one level deep, what else the child says wins, and a top-level null is dropped
//
// Guaranteed: a problem is reported with the file, line and column it was written at, templates or not; input is bounded (see the
// constants in limits.go); nothing here starts a program, and only Finder does I/O.
package workload
