// Package blob keeps the contents of images in a directory: each under the digest of its bytes, complete and never changed.
//
// An upload is a file of its own that grows from its end only, under the id of its image, so that one that was cut goes on where it
// broke off, whoever died. Complete looks at all of it, and one rename makes it a blob.
//
// What is guaranteed: what [Store.Open] opens is whole and was checked: it has the digest that it is named by, it is what its format
// says, it is not cut off, and a disk names no other files. Nothing of a content is executed, or given to another program, to find that
// out. A disk that is full fails the call with cluster.ErrNoCapacity, loses nothing that was there, and gets back what the call wrote.
//
// On disk, below the directory:
//
//	blobs/HEX      contents, mode 0400
//	uploads/ID     uploads under way, mode 0600
package blob
