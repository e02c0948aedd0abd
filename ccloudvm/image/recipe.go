package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Recipe says what an image is built from. Equal recipes give one image.
type Recipe struct {
	Suite    string   `json:"suite"`              // Debian suite, such as "bookworm"
	Packages []string `json:"packages,omitempty"` // beyond the base's own
	// Boots gives the disk a boot loader for BIOS and for UEFI, and a root file system that grows with the disk, for whoever does not give
	// the kernel from outside.
	Boots bool `json:"boots,omitempty"`
}

// recipeVersion changes whenever the scripts below make something else of the same recipe.
const recipeVersion = 1

// base are the packages of every built image: a system that cloud-init can set up and that SSH can enter.
func base() []string {
	return []string{
		"systemd-sysv", "systemd-resolved", "dbus", "udev", "kmod", "libpam-systemd",
		"linux-image-amd64", // the generic kernel: has 9p and virtiofs
		"cloud-init", "openssh-server", "sudo", "ca-certificates", "e2fsprogs", "iproute2", "netbase", "lz4",
		"bash-completion", "curl", "less", "procps",
	}
}

var (
	suiteName   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`) // Debian Policy 5.6.1
)

// check refuses what would be more than names in the arguments of another program.
func (r Recipe) check() error {
	if !suiteName.MatchString(r.Suite) {
		return fmt.Errorf("%q is not the name of a Debian suite", r.Suite)
	}
	var errs []error
	for i, p := range r.Packages {
		if !packageName.MatchString(p) {
			errs = append(errs, fmt.Errorf("packages[%d]: %q is not the name of a Debian package", i, p))
		}
	}
	return errors.Join(errs...)
}

// normal returns the recipe with its packages sorted, each once.
func (r Recipe) normal() Recipe {
	r.Packages = slices.Compact(slices.Sorted(slices.Values(r.Packages)))
	return r
}

// Digest names everything that decides what is built, but for the versions of the packages: those are what the archive has on
// that day.
func (r Recipe) Digest() string {
	b, err := json.Marshal(struct {
		Version  int
		Recipe   Recipe
		Base     []string
		Excluded []string
		Scripts  []string
		Append   string
	}{recipeVersion, r.normal(), r.base(), excluded(), r.scripts(), builtAppend})
	if err != nil { // strings always encode
		panic(err)
	}
	sum := sha256.Sum256(b)
	return "recipe:" + hex.EncodeToString(sum[:16])
}

// builtAppend is the kernel command line of a built image. noinit_itable: the disk is new and sparse, so there is nothing in its
// inode tables to be cleared in the background.
const builtAppend = "root=/dev/vda rw rootfstype=ext4 rootflags=noinit_itable console=ttyS0 quiet nowatchdog mitigations=off net.ifnames=0 " +
	"ds=nocloud systemd.show_status=false fsck.mode=skip"

// prepareScript runs before the kernel is installed ($1 is the new root): the initramfs gets only what a virtual machine needs to
// mount its root, which halves the time to user space under emulation.
const prepareScript = `set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
printf 'MODULES=list\nCOMPRESS=lz4\nBUSYBOX=n\nFSTYPE=ext4\n' > "$1/etc/initramfs-tools/conf.d/ccloudvm"
printf '%s\n' virtio_pci virtio_blk ext4 > "$1/usr/share/initramfs-tools/modules.d/ccloudvm"
`

// configureScript runs when all packages are installed.
const configureScript = `set -eu
echo 'I: configuring the system' >&2
cd "$1"
# cloud-init looks for its seed in one place, and waits for nobody else.
cat > etc/cloud/cloud.cfg.d/90_ccloudvm.cfg <<'END'
datasource_list: [NoCloud, None]
manage_etc_hosts: true
apt: {preserve_sources_list: true}
growpart: {mode: 'off'}
ssh_genkeytypes: []
# The modules that a virtual machine can use. Those left out (for boot loaders, for other systems, for printing keys) cost seconds
# under emulation.
cloud_init_modules: [seed_random, bootcmd, write-files, resizefs, disk_setup, mounts, set_hostname, update_hostname, update_etc_hosts, ca-certs, rsyslog, users-groups, ssh]
cloud_config_modules: [ssh-import-id, locale, set-passwords, apt-configure, ntp, timezone, runcmd]
cloud_final_modules: [package-update-upgrade-install, write-files-deferred, scripts-vendor, scripts-per-once, scripts-per-boot, scripts-per-instance, scripts-user, phone-home, final-message, power-state-change]
END
echo 'policy: enabled' > etc/cloud/ds-identify.cfg
echo 'LABEL=root / ext4 defaults,noinit_itable 0 0' > etc/fstab
echo localhost > etc/hostname
ln -sf ../run/systemd/resolve/stub-resolv.conf etc/resolv.conf
# The kernel is booted from outside, so it must stay the one whose modules are here.
chroot . apt-mark hold linux-image-amd64 $(ls boot | sed -n 's/^vmlinuz-/linux-image-/p') > /dev/null
# Work that a machine of a day does not need, or that would run in the middle of its set-up.
for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer logrotate.timer motd-news.timer \
    systemd-pstore.service systemd-machine-id-commit.service getty@tty1.service \
    systemd-network-generator.service modprobe@drm.service; do
  ln -sf /dev/null "etc/systemd/system/$unit"
done
# The profiles that AppArmor's package brings along are of programs that nobody confines here, and compiling them takes as long as
# all else until the network is up. What confines by AppArmor, the Docker Engine above all, loads its own; aa-enforce brings one back.
if [ -d etc/apparmor.d ]; then
  mkdir -p etc/apparmor.d/disable
  for profile in etc/apparmor.d/*; do
    if [ -f "$profile" ]; then ln -sf "/$profile" etc/apparmor.d/disable/; fi
  done
fi
# The kernel patches its scheduler when the first control group gets a share of processor time. An emulating QEMU before 8.1 may keep
# the translation of the half-patched code if another processor runs it just then, which stops the machine for good. A limit that
# limits nothing has it patched before anything else runs, and not when the first container starts.
mkdir -p etc/systemd/system/user.slice.d
printf '[Slice]\nCPUQuota=100000%%\n' > etc/systemd/system/user.slice.d/ccloudvm.conf
mkdir -p etc/systemd/system/systemd-networkd-wait-online.service.d
cat > etc/systemd/system/systemd-networkd-wait-online.service.d/ccloudvm.conf <<'END'
[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --ipv4 --timeout=20
END
# An address by DHCP, also where cloud-init is not told or does not run.
# A link that the kernel makes up (bridge, macvlan, veth) has a kind and belongs to whoever made it.
printf '[Match]\nType=ether\nKind=!*\n[Network]\nDHCP=ipv4\n' > etc/systemd/network/90-ccloudvm.network
chroot . systemctl --quiet enable systemd-networkd systemd-resolved ssh
mkdir -p etc/ssh/sshd_config.d
printf 'PasswordAuthentication no\nUseDNS no\nAcceptEnv LANG LC_* COLORTERM\n' > etc/ssh/sshd_config.d/90-ccloudvm.conf
echo 'LANG=C.UTF-8' > etc/default/locale
# What must not be the same in every machine, and what only the build needed.
rm -rf etc/ssh/ssh_host_* var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*.deb var/cache/debconf/*-old \
    var/lib/dpkg/*-old var/log/*.log var/log/apt usr/sbin/policy-rc.d etc/apt/apt.conf.d/99mmdebstrap etc/dpkg/dpkg.cfg.d/99mmdebstrap \
    var/lib/dbus/machine-id
: > etc/machine-id
if [ -e sbin/start-stop-daemon.REAL ]; then mv sbin/start-stop-daemon.REAL sbin/start-stop-daemon; fi
`

// bootPackages are what a disk that boots by itself is made by; they stay in it.
func bootPackages() []string {
	return []string{"mtools", "syslinux", "syslinux-common", "systemd-boot-efi", "fdisk", "cloud-guest-utils"}
}

func (r Recipe) base() []string {
	if r.Boots {
		return append(base(), bootPackages()...)
	}
	return base()
}

// scripts are those of mmdebstrap's hooks that make the disk, in their order, after the first.
func (r Recipe) scripts() []string {
	if r.Boots {
		return []string{prepareScript, configureScript, growScript, bootDiskScript()}
	}
	return []string{prepareScript, configureScript, diskScript}
}

// growScript has cloud-init make the root's partition as large as the disk allows, and a host key for SSH, which ccloudvm gives its own
// machines from outside. Names of one word are asked of the network's DNS, which knows the tenant's instances by them.
const growScript = `set -eu
cat > "$1/etc/cloud/cloud.cfg.d/91_boots.cfg" <<'END'
ssh_genkeytypes: [ed25519]
growpart: {mode: growpart, devices: [/]}
cloud_init_modules: [seed_random, bootcmd, write-files, growpart, resizefs, disk_setup, mounts, set_hostname, update_hostname, update_etc_hosts, ca-certs, rsyslog, users-groups, ssh]
END
mkdir -p "$1/etc/systemd/resolved.conf.d"
printf '[Resolve]\nResolveUnicastSingleLabel=yes\n' > "$1/etc/systemd/resolved.conf.d/91-boots.conf"
`

// bootDiskScript is diskScript for a disk with a boot loader: the first partition has the kernel, as a FAT file system that both firmwares
// read, with syslinux for BIOS and systemd-boot for UEFI; the second is the root.
func bootDiskScript() string {
	return `set -eu
echo 'I: writing the disk' >&2
trap 'rm -f "$1.raw"' EXIT
mv "$1/etc/apt/apt.conf.d/00mmdebstrap" "$1.apt" # of the build, not of the image
mkdir "$1.view"
# As in a disk without a boot loader.
unshare --mount sh -euc 'mount --bind "$1" "$1.view"
  mount -t tmpfs -o mode=1777 tmpfs "$1.view/tmp"
  mke2fs -q -F -t ext4 -L root -m 0 -i 32768 -E offset=68157440,lazy_itable_init=1,lazy_journal_init=1 -J size=32 -d "$1.view" "$1.raw" 4031M' disk "$1"
rmdir "$1.view"
mv "$1.apt" "$1/etc/apt/apt.conf.d/00mmdebstrap"
cp "$1"/boot/vmlinuz-* "$1/ccloudvm.kernel"; cp "$1"/boot/initrd.img-* "$1/ccloudvm.initrd"
append='` + strings.Replace(builtAppend, "/dev/vda ", "/dev/vda2 ", 1) + `'
printf 'DEFAULT debian\nLABEL debian\nLINUX /vmlinuz\nINITRD /initrd\nAPPEND %s\n' "$append" > "$1/ccloudvm.cfg"
printf 'title debian\nlinux /vmlinuz\ninitrd /initrd\noptions %s\n' "$append" > "$1/ccloudvm.conf"
chroot "$1" sh -euc '
  export MTOOLS_SKIP_CHECK=1
  cd /
  mformat -C -i ccloudvm.fat -H 2048 -h 255 -s 63 -T 131072 -v BOOT ::
  mmd -i ccloudvm.fat ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
  mcopy -i ccloudvm.fat ccloudvm.kernel ::/vmlinuz
  mcopy -i ccloudvm.fat ccloudvm.initrd ::/initrd
  mcopy -i ccloudvm.fat ccloudvm.cfg ::/syslinux.cfg
  mcopy -i ccloudvm.fat usr/lib/systemd/boot/efi/systemd-bootx64.efi ::/EFI/BOOT/BOOTX64.EFI
  mcopy -i ccloudvm.fat ccloudvm.conf ::/loader/entries/debian.conf
  syslinux --install ccloudvm.fat
'
mv "$1.raw" "$1/ccloudvm.raw"
truncate -s 4G "$1/ccloudvm.raw"
printf 'label: dos\nstart=2048, size=131072, type=ef, bootable\nstart=133120, type=83\n' | chroot "$1" sfdisk -q /ccloudvm.raw
mv "$1/ccloudvm.raw" "$1.raw"
dd if="$1/usr/lib/syslinux/mbr/mbr.bin" of="$1.raw" bs=440 count=1 conv=notrunc status=none
dd if="$1/ccloudvm.fat" of="$1.raw" bs=1M seek=1 conv=notrunc,sparse status=none
qemu-img convert -f raw -O qcow2 "$1.raw" "$1/ccloudvm.disk"
rm "$1/ccloudvm.fat" "$1/ccloudvm.cfg" "$1/ccloudvm.conf"
echo 'I: handing out the image' >&2
`
}

// diskScript turns the root directory into a disk without a loop device or a mount, and leaves it inside for mmdebstrap to hand out:
// that works from within a user namespace, which may not write to the user's own files.
const diskScript = `set -eu
echo 'I: writing the disk' >&2
trap 'rm -f "$1.raw"' EXIT
mv "$1/etc/apt/apt.conf.d/00mmdebstrap" "$1.apt" # of the build, not of the image
mkdir "$1.view"
# A bind mount that is not recursive shows the new root without the /proc, /sys and /dev that are mounted in it. Its /tmp is hidden:
# mmdebstrap keeps the configuration there by which apt works on the new root and not on this machine.
unshare --mount sh -euc 'mount --bind "$1" "$1.view"
  mount -t tmpfs -o mode=1777 tmpfs "$1.view/tmp"
  mke2fs -q -F -t ext4 -L root -m 0 -i 32768 -E lazy_itable_init=1,lazy_journal_init=1 -J size=32 -d "$1.view" "$1.raw" 8G' disk "$1"
rmdir "$1.view"
mv "$1.apt" "$1/etc/apt/apt.conf.d/00mmdebstrap"
qemu-img convert -f raw -O qcow2 "$1.raw" "$1/ccloudvm.disk"
cp "$1"/boot/vmlinuz-* "$1/ccloudvm.kernel"; cp "$1"/boot/initrd.img-* "$1/ccloudvm.initrd"
echo 'I: handing out the image' >&2
`

// excluded are the parts of packages that no development machine reads, and drivers for devices that no QEMU gives it. (Input stays:
// the power button is an input device.)
func excluded() []string {
	list := []string{
		"path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/man/*",
		"path-exclude=/usr/share/info/*", "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/lintian/*",
		"path-exclude=/lib/modules/*/kernel/sound/*",
	}
	for _, d := range []string{"gpu", "media", "infiniband", "net/wireless", "iio", "staging", "isdn", "net/ethernet", "usb", "hwmon", "platform",
		"video", "bluetooth", "accel", "comedi", "edac", "mmc", "mtd", "memstick", "power", "thunderbolt"} {
		list = append(list, "path-exclude=/lib/modules/*/kernel/drivers/"+d+"/*")
	}
	return list
}
