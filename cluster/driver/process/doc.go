// Package process runs plain processes ("bare metal apps"): a command with control groups, namespaces and a user of its own, and a port in
// its tenant's network.
//
// How it works: an OCI runtime (runc) makes what the kernel has for it, a small init (tini) is process 1, reaps and passes signals on,
// and a shim (package shim) keeps the output and the exit code, and outlives the launcher. A process sees a root directory of its own,
// writable and kept over stops and generations: either what an archive holds, or, without an image, an empty one in which the programs of
// the node (/usr, what is needed of /etc, and what the operator names) can be read. Its network namespace lasts as long as the instance,
// and holds the instance's end of its port, configured before the first instruction. Namespace and control group bear one name, by which
// they are found whatever else was lost.
//
// What is guaranteed: at most one process runs for an instance, whatever the instruction at which the launcher was killed, and how it ended
// is known if its shim was not killed, too. What ends of shim, runtime and init, ends the others or is ended before the next start. It
// runs as root only if it is privileged. Nothing of the node's other instances, of its secrets or of its processes is in sight. A full disk
// loses output, not the process. Delete leaves no control group, namespace, mount or file.
//
// The boundary: a process that is not privileged has no capabilities and can gain none, no devices beyond /dev/null and its like, and files
// of the node only for reading. It shares the node's kernel, and no system calls are filtered: whom one would not give an account on the
// node, one gives a virtual machine. A privileged one is root, with the capabilities that the Docker Engine gives to containers.
package process
