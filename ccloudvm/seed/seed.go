// Package seed makes cloud-init NoCloud seeds: small ISO 9660 images labelled "cidata" that tell a cloud image on its first boot who
// it is and what to install.
//
// A [Seed] is written whole or not at all ([Write]), readable by its owner only, because user data carries keys. [Validate] refuses
// broken cloud-config before a machine is booted with it, with line and column: inside the guest it would only be a machine that
// never gets ready.
//
// See https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html.
package seed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"github.com/kdomanski/iso9660"
)

// Label is the volume label by which cloud-init finds a NoCloud seed.
const Label = "cidata"

// maxUserData bounds user data; the largest that clouds accept is 16 KiB, a mebibyte leaves room for embedded files.
const maxUserData = 1 << 20

// Seed is what a machine is told.
type Seed struct {
	// InstanceID names the machine. cloud-init runs its once-per-instance modules again when it changes.
	InstanceID string
	Hostname   string

	// PublicKeys are lines of authorized_keys (sshd(8)) with which the image's own user can log in.
	PublicKeys []string

	// UserData is cloud-config (starting with "#cloud-config"), or any other form that cloud-init knows.
	UserData []byte

	// NetworkConfig is a version 2 network configuration, such as [DHCP] gives. Without one, cloud-init asks for an address on
	// the first network device.
	NetworkConfig []byte
}

// DHCP is a network configuration that asks for an address on the device with the given MAC address, called name in the guest. The
// device is named by its MAC address because that is the only match that every distribution's cloud-init renders.
func DHCP(name, mac string) []byte {
	return fmt.Appendf(nil, "version: 2\nethernets:\n  %s:\n    match: {macaddress: %q}\n    set-name: %[1]s\n    dhcp4: true\n", name, mac)
}

// Write makes the ISO at path, mode 0600, replacing what is there only when the new one is complete. It stages the files in a
// private directory below $TMPDIR.
func Write(path string, s Seed) error {
	if err := s.check(); err != nil {
		return err
	}
	var image bytes.Buffer
	if err := s.encode(&image); err != nil {
		return fmt.Errorf("making the seed %s: %w", path, err)
	}
	if err := replace(path, image.Bytes()); err != nil {
		return fmt.Errorf("writing the seed: %w", err)
	}
	return nil
}

func (s Seed) check() error {
	switch {
	case s.InstanceID == "":
		return errors.New("the seed has no instance id")
	case len(s.UserData) > maxUserData:
		return fmt.Errorf("user data has %d bytes, at most %d are allowed", len(s.UserData), maxUserData)
	case IsCloudConfig(s.UserData):
		return Validate(s.UserData)
	}
	return nil
}

func (s Seed) encode(w io.Writer) (err error) {
	iso, err := iso9660.NewWriter() // stages in a directory of mode 0700
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iso.Cleanup()) }()
	about := map[string]any{"instance-id": s.InstanceID, "local-hostname": s.Hostname}
	if len(s.PublicKeys) > 0 {
		about["public-keys"] = s.PublicKeys
	}
	meta, err := yaml.Marshal(about)
	if err != nil {
		return err
	}
	user := s.UserData
	if user == nil {
		user = []byte("#cloud-config\n{}\n")
	}
	files := map[string][]byte{"meta-data": meta, "user-data": user}
	if s.NetworkConfig != nil {
		files["network-config"] = s.NetworkConfig
	}
	for name, content := range files {
		if err := iso.AddFile(bytes.NewReader(content), name); err != nil {
			return err
		}
	}
	return iso.WriteTo(w, Label)
}

// replace writes a file beside path and renames it into place.
func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".seed-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
