// Package instance judges the life of instances: created, found, stopped, started, ended, deleted.
package instance

import (
	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
)

// SuiteOf lists the tests that are the same for every kind of instances, for a kind other than containers.
func SuiteOf(kind cluster.Kind) bat.Suite {
	suite := bat.Suite{Name: string(kind), Summary: "the same life, of instances of kind " + string(kind)}
	for _, test := range Suite().Tests {
		if test.Name == "AllWorkloads" || test.Name == "BadInput" {
			continue // they are about all kinds, and about none
		}
		test.Kind = kind
		suite.Tests = append(suite.Tests, test)
	}
	return suite
}

// Suite lists the tests.
func Suite() bat.Suite {
	return bat.Suite{Name: "instance", Summary: "the life of instances", Tests: []bat.Test{
		{
			Name:        "AllWorkloads",
			Summary:     "Every public workload can be started.",
			Description: "Creates one instance of each public workload; deletes all.",
			Expected:    "Each becomes active.",
			Alone:       true,
			Run:         allWorkloads,
		},
		{
			Name:        "Fields",
			Summary:     "An instance is listed and shown with all that is known of it.",
			Description: "Creates three labelled instances through the command line; lists them, with filters, and shows one by name and by id, as table, JSON, YAML and through a template.",
			Expected:    "Workload, node, tenant, MAC, address, subnet, labels, times and amounts are there and the same everywhere; MAC and address are unique.",
			Run:         fields,
		},
		{
			Name:        "Twenty",
			Summary:     "Many instances come from one request.",
			Description: "Creates twenty (four virtual machines) by one request and waits; deletes all by one request.",
			Expected:    "Names STEM-1 to STEM-20, as many addresses and MACs, all active exactly once; nothing left.",
			Run:         twenty,
		},
		{
			Name:        "StopStart",
			Summary:     "An instance keeps its identity over stop and start.",
			Description: "Stops an instance, starts it, restarts it; looks at it after each step.",
			Expected:    "Id, name, MAC, address and subnet are the same each time; the generation counts its starts.",
			Run:         stopStart,
		},
		{
			Name:        "DeleteStopped",
			Summary:     "A stopped instance can be deleted.",
			Description: "Stops and deletes an instance, then asks for it.",
			Expected:    "Not found, and its name and address can be used again.",
			Run:         deleteStopped,
		},
		{
			Name:        "DeleteAll",
			Summary:     "All instances of a tenant, and nobody else's, go by one command.",
			Description: "Creates three active and one stopped instance, and one of another tenant; deletes all of the first through the command line.",
			Expected:    "None is left of the first tenant; the other's runs on.",
			Run:         deleteAll,
		},
		{
			Name:        "NameTaken",
			Summary:     "A name is one instance's at a time, in each tenant.",
			Description: "Creates an instance with a name that is taken, alone and as one of many; and in another tenant.",
			Expected:    "Refused with exit code 4 and nothing created; accepted in the other tenant.",
			Run:         nameTaken,
		},
		{
			Name:        "ExitCode",
			Summary:     "An instance that ends by itself says how.",
			Description: "Runs instances that end with 0 and with 7 (a virtual machine shuts down or panics), one that cannot start, and starts an ended one again.",
			Expected:    "Exited with the code (1 after a panic); failed with the words of who refused it; the second start is a new generation.",
			Run:         exitCode,
		},
		{
			Name:        "Wait",
			Summary:     "The command line waits for what was asked, and says when it does not come.",
			Description: "Creates, stops, starts and deletes with --wait; waits for an instance that fails; waits for too short a time.",
			Expected:    "Exit code 0 when it is done, another when it cannot come, 9 when the time is over.",
			Run:         wait,
		},
		{
			Name:        "Events",
			Summary:     "What happens to an instance can be read afterwards.",
			Description: "Creates an instance and one that fails; reads the events of the tenant and of the failed instance; reads another tenant's.",
			Expected:    "Both are told, with severity, time and a sentence; the other tenant reads none of it.",
			Run:         events,
		},
		{
			Name:        "Counts",
			Summary:     "A node's counts rise and fall with its instances.",
			Description: "Notes a node's counts, starts three instances there, stops one, deletes all.",
			Expected:    "Instances and running are three more, then running two more, then as before.",
			Alone:       true,
			Run:         counts,
		},
		{
			Name:        "LogsAndExec",
			Summary:     "What an instance prints can be read, and commands can be executed in it.",
			Description: "Reads the log of an instance that prints and ends, whole and in part, and follows one; executes commands in an active one, with input and on a terminal that changes its size, and leaves one by Ctrl-C; tries both on a stopped one, and as another tenant. Of a virtual machine the log is its console, and no command can be executed.",
			Expected:    "Lines, outputs and exit codes are those of the instance and of the commands; what Ctrl-C was pressed at ends; a stopped instance has a log and executes nothing; another tenant's is not found.",
			Run:         logsAndExec,
		},
		{
			Name:        "BadInput",
			Summary:     "Wrong use of the command line is refused with one sentence and the right exit code.",
			Description: "Names unknown workloads, instances, tenants and commands, wrong counts, labels, names, templates and states, and an unreachable controller.",
			Expected:    "2 for wrong use, 3 for what is not there, 8 for a controller that does not answer; standard output stays empty.",
			Run:         badInput,
		},
	}}
}
