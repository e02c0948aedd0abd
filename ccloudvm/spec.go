package ccloudvm

// Spec is the first document of a workload file: which image to boot and which machine to boot it on.
// A zero field means "not said here": the parent's value, or the default, holds.
type Spec struct {
	// BaseImage names an image of the catalogue (debian-12). It can be built on this machine when the download site is out of reach.
	BaseImage string `json:"base_image,omitempty"`
	// BaseImageURL is where the disk image is downloaded from (http, https or file); it wins over BaseImage.
	BaseImageURL string `json:"base_image_url,omitempty"`
	// BaseImageDigest is the expected digest of the download, "sha256:HEX" or "sha512:HEX".
	BaseImageDigest string `json:"base_image_digest,omitempty"`
	// BaseImageName is what people call the image ("Debian 12").
	BaseImageName string `json:"base_image_name,omitempty"`
	// Workload is the display name.
	Workload string `json:"workload,omitempty"`
	// Inherits refers to the parent workload: a name, a path or a URL.
	Inherits string `json:"inherits,omitempty"`
	// NeedsNestedVM asks for virtualisation inside the guest. Once an ancestor asks, all children have it.
	NeedsNestedVM bool `json:"needs_nested_vm,omitempty"`
	// BIOS is a firmware file to boot with instead of QEMU's own: a path or a file, http or https URI.
	BIOS string `json:"bios,omitempty"`
	// Packages are distribution packages the workload needs. They are baked into an image that is built here, and installed by
	// cloud-init into one that is downloaded.
	Packages []string `json:"packages,omitempty"`
	// Images are images for programs in the guest that run machines themselves. They are made on the host and shown to the guest, read-only,
	// as the mount [ImageTag] says.
	Images []string `json:"images,omitempty"`
	// VM is the machine.
	VM VM `json:"vm"`
}

// VM is the machine a workload runs on.
type VM struct {
	MemMiB   int     `json:"mem_mib,omitempty"`
	CPUs     int     `json:"cpus,omitempty"`
	DiskGiB  int     `json:"disk_gib,omitempty"`
	Ports    []Port  `json:"ports,omitempty"`
	Mounts   []Mount `json:"mounts,omitempty"`
	Drives   []Drive `json:"drives,omitempty"`
	QEMUPort int     `json:"qemuport,omitempty"` // TCP port on the host's loopback with the guest's second serial line; 0: none
	HostIP   string  `json:"host_ip,omitempty"`  // address on the host that ports are bound to; empty: an own 127.x.y.z
}

// Port forwards a TCP port of the instance's host address to a port of the guest.
type Port struct {
	Host  int `json:"host"`
	Guest int `json:"guest"`
}

// Mount shares a directory of the host with the guest, at the same path.
type Mount struct {
	// Tag names the share inside the guest.
	Tag string `json:"tag"`
	// SecurityModel is how the owner and mode of files are kept by 9p: none, mapped-xattr, mapped-file or passthrough (needs root).
	// Empty: none, the one that works for an ordinary user and keeps files readable on the host.
	SecurityModel string `json:"security_model,omitempty"`
	// Path is the directory, absolute, on the host and in the guest.
	Path string `json:"path"`
	// ReadOnly keeps the guest from changing it.
	ReadOnly bool `json:"read_only,omitempty"`
}

// ImageTiny is the image that a workload's images may name.
const ImageTiny = "tiny"

// ImageTag is the tag of the mount with an image of [Spec.Images].
func ImageTag(name string) string { return "image-" + name }

// Drive attaches a file or block device of the host to the guest as a further disk.
type Drive struct {
	Path    string `json:"path"`
	Format  string `json:"format"`            // raw, qcow2, …
	Options string `json:"options,omitempty"` // further options of QEMU's -drive, comma-separated
}

// SSHPort is the guest's port that every instance forwards, and DefaultSSHHostPort where it is found on the instance's address
// unless the workload says otherwise. Port 22 itself is not for ordinary users to bind.
const (
	SSHPort            = 22
	DefaultSSHHostPort = 10022
)

// The machine a workload gets when no document of its chain says otherwise.
const (
	DefaultMemMiB  = 1024
	DefaultCPUs    = 1
	DefaultDiskGiB = 60
)
