// Package volume judges volumes: storage that outlives instances.
package volume

import (
	"time"

	"github.com/ciaocloud/ciao/bat"
)

// Suite lists the tests. Most are about containers, which are the quickest to look into.
func Suite() bat.Suite {
	return bat.Suite{Name: "volume", Summary: "volumes: storage that outlives instances", Tests: []bat.Test{
		{
			Name:        "Life",
			Summary:     "Volumes are created, listed, shown, counted and deleted.",
			Description: "Creates ten through the command line and lists, shows and deletes them; creates wrong ones.",
			Expected:    "All are available with the size that was asked for; usage is exact; wrong ones are refused with exit code 2 and leave nothing; after the delete nothing is listed or counted.",
			Run:         life,
		},
		{
			Name:        "Quota",
			Summary:     "What does not fit the quotas of volumes and of disk is refused whole.",
			Description: "Sets a quota of two volumes, then of their disk; creates volumes, copies and an instance with volumes of its own beyond that.",
			Expected:    "Exit code 6 each time; nothing more is counted or listed; what was deleted makes room.",
			Run:         quota,
		},
		{
			Name:        "Data",
			Summary:     "What one instance wrote, the next one reads, and a read-only one cannot change.",
			Description: "A container writes to a volume and is deleted; a second has the volume read only; a third writes again.",
			Expected:    "The volume is available after each delete, and stays on its node; the second reads and cannot write; the third reads and can.",
			Run:         data,
		},
		{
			Name:        "AttachDetach",
			Summary:     "A volume is given to a stopped instance and taken from it.",
			Description: "Attaches one to a stopped container, starts it, which writes; stops, detaches and gives it to another.",
			Expected:    "Attached with its target and instance; the container finds it after its start; after the detach it starts without; the other one reads what was written.",
			Run:         attachDetach,
		},
		{
			Name:        "RunningMachine",
			Summary:     "A virtual machine that runs is given a disk and relieved of it, and its guest sees it come and go.",
			Description: "Attaches a volume to a running machine, whose guest writes to it; detaches it; attaches it again, and stops the machine.",
			Expected:    "The guest finds the disk by its serial until it is detached, and then again with what it wrote; the stopped machine has it still; twice is refused with exit code 4. Skipped where no node runs virtual machines.",
			Timeout:     4 * time.Minute,
			Run:         runningMachine,
		},
		{
			Name:        "InUse",
			Summary:     "What an instance has is not attached twice, detached from under it, copied or deleted.",
			Description: "Tries all of that with a running and with a stopped instance; detaches what nothing has.",
			Expected:    "Exit code 4 and what to do first; a stopped instance keeps its volume; nothing changes.",
			Run:         inUse,
		},
		{
			Name:        "FromImage",
			Summary:     "A volume begins as a copy of an uploaded image.",
			Description: "Uploads a tar of 3.5 MiB and a disk; makes volumes with and without a size, too small ones, and one of a disk for a container.",
			Expected:    "The size is that of the image, rounded up to MiB, or what was asked for; too small is refused; a container reads the files; a disk is refused to it.",
			Run:         fromImage,
		},
		{
			Name:        "FromVolume",
			Summary:     "A volume begins as a copy of another one, and is its own from then on.",
			Description: "Copies a volume that was written to, with and without a size; a container reads both copies and changes one.",
			Expected:    "Same size, or what was asked for; same data; the original keeps its own.",
			Run:         fromVolume,
		},
		{
			Name:        "Tenants",
			Summary:     "A tenant's volumes are not there for another.",
			Description: "Another tenant lists, shows, attaches, detaches, copies and deletes one by its id, and starts an instance with it.",
			Expected:    "Not found each time; the volume stays as it is.",
			Run:         tenants,
		},
		{
			Name:        "Workload",
			Summary:     "Volumes of a workload are made with each of its instances; ephemeral ones go with it.",
			Description: "Starts two instances of a workload with an ephemeral and a lasting volume; deletes them.",
			Expected:    "Each has two of its own; afterwards the two lasting ones are available, the ephemeral ones gone, and the usage exact.",
			Run:         workload,
		},
		{
			Name:        "FailedStart",
			Summary:     "The volumes of an instance that never started are free again when it is deleted.",
			Description: "Starts an instance with a volume from an image that cannot be had, and deletes it; deletes one right after its creation.",
			Expected:    "The volume is available both times, and another instance uses it.",
			Run:         failedStart,
		},
	}}
}
