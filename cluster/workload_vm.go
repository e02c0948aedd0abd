package cluster

import "regexp"

// Firmware is what starts a virtual machine's boot loader.
type Firmware string

// Firmwares of virtual machines.
const (
	BIOS Firmware = "bios" // the default
	UEFI Firmware = "uefi"
)

// Bounds of virtual machines.
const (
	MaxCloudInit     = 64 << 10 // bytes
	MaxSSHKeys       = 64
	maxSSHKey        = 8 << 10
	minVMMemoryMiB   = 64
	minUEFIMemoryMiB = 256 // with less, the firmware and a boot loader that fills the memory from its ends meet
	maxVMVCPUs       = 255 * VCPU
)

func (s WorkloadSpec) validateVM(problems *Problems) {
	switch {
	case s.Image == "" && len(s.Volumes) == 0:
		problems.Add("image", "a virtual machine needs the name of an image, such as tiny, or volumes, of which it boots from the first")
	case s.Image != "" && !validImage(s.Image):
		problems.Add("image", "%q is not the name of an image", s.Image)
	case s.BootsFromVolume() && s.Volumes[0].ReadOnly:
		problems.Add("volumes[0].read_only", "the virtual machine boots from this volume, which it must be able to write to")
	}
	if s.Pull != "" {
		problems.Add("pull", "is for containers; the image of a virtual machine is an uploaded one")
	}
	for path, there := range map[string]bool{
		"command": len(s.Command) > 0, "environment": len(s.Environment) > 0, "user": s.User != "", "directory": s.Directory != "",
	} {
		if there {
			problems.Add(path, "is for containers and processes; a virtual machine runs what its image does, and runcmd of cloud_init")
		}
	}
	if s.Privileged {
		problems.Add("privileged", "is for containers; a virtual machine is its own master")
	}
	if len(s.CloudInit) > MaxCloudInit {
		problems.Add("cloud_init", "must be at most %d bytes", MaxCloudInit)
	}
	problems.AddSSHKeys("ssh_keys", s.SSHKeys)
	switch r := s.Requirements; {
	case s.Firmware != BIOS && s.Firmware != UEFI:
		problems.Add("firmware", "%q is not a firmware; use bios or uefi", s.Firmware)
	case r.MemoryMiB < minVMMemoryMiB:
		problems.Add("requirements.memory_mib", "must be at least %d for a virtual machine", minVMMemoryMiB)
	case s.Firmware == UEFI && r.MemoryMiB < minUEFIMemoryMiB:
		problems.Add("requirements.memory_mib", "must be at least %d for a virtual machine with UEFI", minUEFIMemoryMiB)
	}
	if s.Requirements.VCPUs > maxVMVCPUs {
		problems.Add("requirements.vcpus", "must be at most %s for a virtual machine", maxVMVCPUs)
	}
}

// BootsFromVolume says that an instance has no disk of its own: its first volume is what it boots from.
func (s WorkloadSpec) BootsFromVolume() bool { return s.Kind == KindVM && s.Image == "" }

// withoutVM reports what only virtual machines have.
func (s WorkloadSpec) withoutVM(problems *Problems) {
	for path, there := range map[string]bool{
		"cloud_init": s.CloudInit != "", "ssh_keys": len(s.SSHKeys) > 0, "firmware": s.Firmware != "",
	} {
		if there {
			problems.Add(path, "is for virtual machines")
		}
	}
}

// LoginUser is whom the SSH keys let in, if the cloud-init of a virtual machine says so (user: NAME); otherwise it is the image's own affair, and
// empty.
func (s WorkloadSpec) LoginUser() string {
	found := loginUser.FindStringSubmatch(s.CloudInit)
	if found == nil {
		return ""
	}
	return found[1]
}

var loginUser = regexp.MustCompile(`(?m)^user: *["']?([a-z_][a-z0-9_-]*)["']?[ \r]*$`)

// AddSSHKeys reports the keys that are no lines of authorized_keys.
func (p *Problems) AddSSHKeys(path string, keys []string) {
	if len(keys) > MaxSSHKeys {
		p.Add(path, "must be at most %d keys", MaxSSHKeys)
	}
	for _, key := range keys {
		if len(key) > maxSSHKey || !sshKey.MatchString(key) {
			p.Add(path, "%.40q is not a public key; give a line of a file such as ~/.ssh/id_ed25519.pub", key)
		}
	}
}

var sshKey = regexp.MustCompile(`^(ssh-(rsa|ed25519)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) [A-Za-z0-9+/]+={0,3}( [[:print:]]*)?$`)
