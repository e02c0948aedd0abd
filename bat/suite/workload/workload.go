// Package workload judges workloads: the recipes of instances, and that a node gives an instance what its recipe says and no more.
package workload

import "github.com/ciaocloud/ciao/bat"

// Suite lists the tests.
func Suite() bat.Suite {
	return bat.Suite{Name: "workload", Summary: "workloads: recipes of instances", Tests: []bat.Test{
		{
			Name:        "Private",
			Summary:     "A tenant creates, lists, shows, uses and deletes a workload of its own.",
			Description: "Creates one from a YAML file through the command line, reads it back by name and id, lists as another tenant, deletes it.",
			Expected:    "Every field is read back; the other tenant does not find it; it is gone after the delete.",
			Run:         private,
		},
		{
			Name:        "Public",
			Summary:     "An operator's public workload is every tenant's to use.",
			Description: "Creates a public workload from a YAML file, starts an instance of it as a tenant, deletes both.",
			Expected:    "Listed and usable for the tenant; the tenant cannot delete it; gone after the operator's delete.",
			Run:         public,
		},
		{
			Name:        "InUse",
			Summary:     "A workload in use cannot be deleted.",
			Description: "Deletes a workload that has an instance; deletes the instance; deletes the workload.",
			Expected:    "Refused as a conflict; accepted when the instance is gone.",
			Run:         inUse,
		},
		{
			Name:        "BadFiles",
			Summary:     "A bad workload file is refused with the position of its fault.",
			Description: "Creates workloads from files with an unknown key, a wrong type, an impossible value, a missing image, an unknown kind, and from no file.",
			Expected:    "Exit code 2 (3 for no file) and one sentence with line and column; nothing is created.",
			Run:         badFiles,
		},
		{
			Name:        "MissingImage",
			Summary:     "An image that cannot be had does not start, and the engine's words say why.",
			Description: "Creates instances of an image that is nowhere, once with pull never and once to be pulled.",
			Expected:    "Accepted; failed with a reason that names the image, or the engine's words while a registry that does not answer is asked again; deleting works.",
			Run:         missingImage,
		},
		{
			Name:        "Command",
			Summary:     "Command and environment are those of the workload.",
			Description: "Runs a container that checks its arguments, its variables, its host name and that it is not on the node's network.",
			Expected:    "All as in the workload; the host name is the instance's name.",
			Run:         command,
		},
		{
			Name:        "Node",
			Summary:     "A workload may want one node, by id or host name.",
			Description: "Starts instances that want a node that is there.",
			Expected:    "They run on that node, and the explanation says how it was chosen.",
			Run:         wantedNode,
		},
		{
			Name:        "NoSuchNode",
			Summary:     "A wanted node that is not there fails the instance, and says why.",
			Description: "Creates instances that want an unknown node id and an unknown host name.",
			Expected:    "Failed, with how many nodes were refused and for what.",
			Run:         noSuchNode,
		},
		{
			Name:        "TooMuchMemory",
			Summary:     "Memory beyond every node fails the instance at once, and says why.",
			Description: "Creates an instance that wants more memory than any node has.",
			Expected:    "Failed, with a reason that speaks of memory; the nodes' counts did not change.",
			Run:         tooMuchMemory,
		},
		{
			Name:        "Limits",
			Summary:     "Memory and number of processes are limited as the workload says.",
			Description: "In containers with 24 MiB and with 20 processes, uses less and more than that.",
			Expected:    "Less works, more does not.",
			Run:         limits,
		},
		{
			Name:        "Privileged",
			Summary:     "Privileged containers need the tenant's permission.",
			Description: "Creates an instance of a privileged workload without and with the permission, and after it was taken back.",
			Expected:    "Not permitted without; with it accepted; where the node's engine itself may not make such containers, its words are the reason.",
			Run:         privileged,
		},
	}}
}
