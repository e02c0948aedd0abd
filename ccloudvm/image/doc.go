// Package image provides the disks that machines boot from.
//
// A [Store] is a directory, shared by all processes of a user, that holds
//
//   - downloads, each under its digest. A download is resumed where it broke off, checked against the distribution's published
//     digest before anybody sees it, and made once however many callers want it;
//   - images built on this machine from Debian packages, each under the digest of its [Recipe]. A built image needs no download
//     site, carries the packages a workload wants, and boots its kernel directly;
//   - nothing else: an image in the store is complete and never changes.
//
// [Store.Ensure] gets an image of the [Catalogue] by the way that works. [Overlay] makes a machine's own writable disk on top of
// one. [Inspect] refuses disk images that name other files, because a foreign image could name any file of the host.
//
// On disk, below [Store.Dir]:
//
//	blobs/sha512-HEX         verified downloads, mode 0444
//	built/DIGEST/            disk.qcow2, kernel, initrd, image.json
//	index/HEX.json           which blob an URL gave
//	partial/                 downloads and builds under way
//	locks/                   flock(2) files
package image
