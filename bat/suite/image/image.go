// Package image judges images: their upload, whose they are, and that every node can start from them.
package image

import "github.com/ciaocloud/ciao/bat"

// Suite lists the tests.
func Suite() bat.Suite {
	return bat.Suite{Name: "image", Summary: "images: uploads, whose they are, and what starts from them", Tests: []bat.Test{
		{
			Name:        "Life",
			Summary:     "An image is uploaded, listed, shown, counted and deleted.",
			Description: "Uploads a disk of 10 MiB of random bytes through the command line with its digest; lists, shows, downloads it; uploads a second with a quota of one; deletes it.",
			Expected:    "The list grows by one; size, format, digest and disk size are right; the download is what was uploaded; the second is refused; after the delete it is not found and nothing is counted.",
			Run:         life,
		},
		{
			Name:        "Visibility",
			Summary:     "A private image is its tenant's, a public one everybody's, an internal one the operator's.",
			Description: "Uploads one of each; two tenants list, show and delete them; a user asks for a public one.",
			Expected:    "The other tenant finds the public one alone, and cannot delete it; a user makes private ones only; the operator sees all.",
			Run:         visibility,
		},
		{
			Name:        "Resume",
			Summary:     "An upload that was cut goes on where it broke off.",
			Description: "Uploads the first part, asks for the rest at a wrong offset, then gives the command line the file.",
			Expected:    "The image says how much is there; the wrong offset is a conflict that names the right one; afterwards it is active with the file's digest.",
			Run:         resume,
		},
		{
			Name:        "Refusals",
			Summary:     "A content that is not what it should be is refused with one sentence, and a right one taken afterwards.",
			Description: "Uploads a file of another digest, one that was damaged on its way, qcow2 disks that were cut off and that are an overlay of another file, a compressed file, and what is no disk.",
			Expected:    "Exit code 2 and what is wrong; nothing active; the image says why; a right content for the same image is taken.",
			Run:         refusals,
		},
		{
			Name:        "InUse",
			Summary:     "An image in use cannot be deleted.",
			Description: "Deletes an image that a workload names, then one that a volume is to begin as; deletes what uses it, and the image.",
			Expected:    "Refused as a conflict that names the user; accepted when there is none.",
			Run:         inUse,
		},
		{
			Name:        "Nodes",
			Summary:     "A container starts from an uploaded file system on every node.",
			Description: "Uploads a file system of one static program (bat's own) and runs it on up to two nodes at the same time.",
			Expected:    "The program ends with exit code 0 on each; the instances know the image.",
			Run:         nodes,
		},
	}}
}
