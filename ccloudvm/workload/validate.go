package workload

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// The sizes a machine may have anywhere; what this host can bear is checked where it is started.
const (
	minMemMiB  = 128
	maxMemMiB  = 16 << 20
	maxCPUs    = 255
	maxDiskGiB = 64 << 10
)

var (
	digestPattern  = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	tagPattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,30}$`)
	formatPattern  = regexp.MustCompile(`^[a-z0-9]+$`)
)

// SecurityModels are the ways in which 9p can keep owners and modes.
var SecurityModels = []string{"none", "mapped-xattr", "mapped-file", "mapped", "passthrough"}

// Check reports everything in a complete spec that no host could do, with the place where it was written if origins knows it.
func Check(spec ccloudvm.Spec, origins map[string]Position) error {
	c := checker{origins: origins}
	c.image(spec)
	c.machine(spec.VM)
	c.ports(spec.VM.Ports)
	c.mounts(spec.VM.Mounts)
	c.drives(spec.VM.Drives)
	return c.problems.err()
}

// checkLists checks the lists of one file, before they are merged with those of its ancestors.
func checkLists(spec ccloudvm.Spec, origins map[string]Position) Problems {
	c := checker{origins: origins}
	for i, name := range spec.Packages {
		c.packageName(i, name)
	}
	for i, name := range spec.Images {
		if name != ccloudvm.ImageTiny {
			c.fail(fmt.Sprintf("images[%d]", i), "must be %s, and is %q", ccloudvm.ImageTiny, name)
		}
	}
	c.ports(spec.VM.Ports)
	c.mounts(spec.VM.Mounts)
	c.drives(spec.VM.Drives)
	once(&c, "vm.ports", spec.VM.Ports, func(p ccloudvm.Port) string { return fmt.Sprintf("guest port %d", p.Guest) })
	once(&c, "vm.mounts", spec.VM.Mounts, func(m ccloudvm.Mount) string { return "tag " + m.Tag })
	once(&c, "vm.drives", spec.VM.Drives, func(d ccloudvm.Drive) string { return "drive " + d.Path })
	return c.problems
}

// once refuses two items of a list with one key, of which a merge would keep only the last.
func once[T any](c *checker, path string, items []T, key func(T) string) {
	seen := map[string]bool{}
	for i, item := range items {
		if seen[key(item)] {
			c.fail(fmt.Sprintf("%s[%d]", path, i), "%s is listed twice", key(item))
		}
		seen[key(item)] = true
	}
}

func (c *checker) packageName(i int, name string) {
	if !packagePattern.MatchString(name) {
		c.fail(fmt.Sprintf("packages[%d]", i), "%q is not the name of a package", name)
	}
}

type checker struct {
	origins  map[string]Position
	problems Problems
}

func (c *checker) fail(path, format string, args ...any) {
	c.problems.add(c.origins[path], path, format, args...)
}

func (c *checker) image(spec ccloudvm.Spec) {
	for _, location := range []struct{ field, value string }{{"base_image_url", spec.BaseImageURL}, {"bios", spec.BIOS}} {
		scheme, _, ok := strings.Cut(location.value, "://")
		if ok && !slices.Contains([]string{"http", "https", "file"}, scheme) {
			c.fail(location.field, "must be an http, https or file URL, and not %s", scheme)
		}
	}
	if spec.BaseImageDigest != "" && !digestPattern.MatchString(spec.BaseImageDigest) {
		c.fail("base_image_digest", "must be sha256: or sha512: followed by the digest in lower-case hexadecimal")
	}
	for i, name := range spec.Packages {
		c.packageName(i, name)
	}
}

func (c *checker) machine(vm ccloudvm.VM) {
	c.size("vm.mem_mib", vm.MemMiB, minMemMiB, maxMemMiB, "MiB")
	c.size("vm.cpus", vm.CPUs, 1, maxCPUs, "CPUs")
	c.size("vm.disk_gib", vm.DiskGiB, 1, maxDiskGiB, "GiB")
	if vm.QEMUPort != 0 {
		c.port("vm.qemuport", vm.QEMUPort)
	}
	if vm.HostIP == "" {
		return
	}
	if addr, err := netip.ParseAddr(vm.HostIP); err != nil || !addr.Is4() || addr.IsUnspecified() || addr.IsMulticast() {
		c.fail("vm.host_ip", "must be an IPv4 address of this host, such as 127.1.2.3, and is %q", vm.HostIP)
	}
}

func (c *checker) size(path string, value, low, high int, unit string) {
	if value < low || value > high {
		c.fail(path, "must be from %d to %d %s, and is %d", low, high, unit, value)
	}
}

func (c *checker) port(path string, value int) {
	if value < 1 || value > 65535 {
		c.fail(path, "must be a port from 1 to 65535, and is %d", value)
	}
}

func (c *checker) ports(ports []ccloudvm.Port) {
	hosts := map[int]bool{}
	for i, p := range ports {
		path := fmt.Sprintf("vm.ports[%d]", i)
		c.port(path+".host", p.Host)
		c.port(path+".guest", p.Guest)
		if hosts[p.Host] {
			c.fail(path+".host", "port %d of the host is forwarded twice", p.Host)
		}
		hosts[p.Host] = true
	}
}

func (c *checker) mounts(mounts []ccloudvm.Mount) {
	paths := map[string]bool{}
	for i, m := range mounts {
		path := fmt.Sprintf("vm.mounts[%d]", i)
		if !tagPattern.MatchString(m.Tag) {
			c.fail(path+".tag", "must be 1 to 31 letters, digits, dots, dashes or underscores, and is %q", m.Tag)
		}
		if m.SecurityModel != "" && !slices.Contains(SecurityModels, m.SecurityModel) {
			c.fail(path+".security_model", "must be one of %s, and is %q", strings.Join(SecurityModels, ", "), m.SecurityModel)
		}
		c.path(path+".path", m.Path)
		if paths[m.Path] {
			c.fail(path+".path", "%s is mounted twice", m.Path)
		}
		paths[m.Path] = true
	}
}

// path accepts absolute paths that can be written into fstab and a shell without quotes.
func (c *checker) path(field, value string) {
	switch {
	case !filepath.IsAbs(value):
		c.fail(field, "must be an absolute path, and is %q", value)
	case filepath.Clean(value) != value || value == "/":
		c.fail(field, "must be a plain path below /, without a slash at its end and without . or .. in it, and is %q", value)
	case strings.ContainsFunc(value, unsafeInShell):
		c.fail(field, "%q holds a blank, a quote or another character that a mount point in the guest cannot have", value)
	}
}

func (c *checker) drives(drives []ccloudvm.Drive) {
	for i, d := range drives {
		path := fmt.Sprintf("vm.drives[%d]", i)
		if !filepath.IsAbs(d.Path) {
			c.fail(path+".path", "must be the absolute path of a disk image or a device, and is %q", d.Path)
		}
		if !formatPattern.MatchString(d.Format) {
			c.fail(path+".format", "must be a disk format such as raw or qcow2, and is %q", d.Format)
		}
		if strings.ContainsAny(d.Options, "\n\r\x00") {
			c.fail(path+".options", "must be one line")
		}
	}
}
