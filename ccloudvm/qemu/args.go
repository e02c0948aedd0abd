package qemu

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Args returns the arguments for qemu-system-x86_64, without the program's name. The error, if any, names every field that
// cannot work.
func (m Machine) Args() ([]string, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	var a args
	a.base(m)
	for _, fd := range m.FDs {
		a.add("-add-fd", fmt.Sprintf("fd=%d,set=%[1]d", fd))
	}
	a.boot(m)
	a.diskPorts(m.DiskPorts)
	taken := 0
	for i, d := range m.Disks {
		a.disk(i, d, m.Boot.Kernel == "", taken)
		if d.Removable {
			taken++
		}
	}
	a.seed(m.Seed)
	for i, n := range m.NICs {
		a.nic(i, n)
	}
	for i, s := range m.Shares {
		a.share(i, s)
	}
	a.console(m.Console)
	a.channels(m.Channels)
	a.monitors(m)
	return a.list, nil
}

func (a *args) monitors(m Machine) {
	var sockets []string
	for _, path := range m.Monitors {
		sockets = append(sockets, "path="+escape(path))
	}
	for _, fd := range m.MonitorFDs {
		sockets = append(sockets, "fd="+strconv.Itoa(fd))
	}
	for i, socket := range sockets {
		id := "qmp" + strconv.Itoa(i)
		a.add("-chardev", "socket,id="+id+","+socket+",server=on,wait=off")
		a.add("-mon", "chardev="+id+",mode=control")
	}
}

type args struct{ list []string }

// Nodes of the block layer that are UEFI's two halves.
const codeNode, varsNode = "uefi-code", "uefi-vars"

func (a *args) add(words ...string) { a.list = append(a.list, words...) }

func (a *args) base(m Machine) {
	accel, cpu := m.Accelerator.options(m.MemoryMiB)
	kind := m.Type
	if kind == "" {
		kind = DefaultType
	}
	machine := kind + ",usb=off,vmport=off"
	if m.Boot.UEFI != nil {
		machine += ",pflash0=" + codeNode + ",pflash1=" + varsNode
	}
	if m.usesVirtiofs() {
		machine += ",memory-backend=ram"
		a.add("-object", fmt.Sprintf("memory-backend-memfd,id=ram,size=%dM,share=on", m.MemoryMiB))
	}
	a.add("-name", "guest="+escape(m.Name)+",debug-threads=on")
	if m.UUID != "" {
		a.add("-uuid", m.UUID)
	}
	a.add("-machine", machine, "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(m.VCPUs), "-m", strconv.Itoa(m.MemoryMiB)+"M",
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none",
		// The guest must not be able to make QEMU run programs, gain privileges or change its scheduling.
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0")
	if m.NoShutdown {
		a.add("-no-shutdown")
	}
	if m.Balloon {
		a.add("-device", "virtio-balloon-pci")
	}
	if m.PanicExit {
		a.add("-device", "pvpanic-pci", "-action", "panic=exit-failure")
	}
	if m.LoadVM != "" {
		a.add("-loadvm", m.LoadVM)
	}
}

func (a *args) boot(m Machine) {
	switch b := m.Boot; {
	case b.Kernel != "":
		a.add("-kernel", b.Kernel)
		if b.Initrd != "" {
			a.add("-initrd", b.Initrd)
		}
		if line := strings.TrimSpace(b.Append + " " + m.Accelerator.kernelArguments()); line != "" {
			a.add("-append", line)
		}
	case b.UEFI != nil:
		a.flash(codeNode, b.UEFI.Code, true)
		a.flash(varsNode, b.UEFI.Vars, false)
	}
	if m.Boot.Firmware != "" {
		a.add("-bios", m.Boot.Firmware)
	}
}

func (a *args) flash(node, path string, readOnly bool) {
	flash := image(path, "raw")
	flash["node-name"], flash["read-only"] = node, readOnly
	a.blockdev(flash)
}

// firstPortSlot is behind what QEMU gives devices that ask for no slot of the root bus.
const firstPortSlot = 0x10

// diskPorts are eight to a slot. They have no I/O space: virtio devices in PCI Express ports use none, and there is too little for all.
func (a *args) diskPorts(n int) {
	for i := range n {
		port := fmt.Sprintf("pcie-root-port,id=%s,bus=pcie.0,chassis=%d,addr=%#x.%d,io-reserve=0", diskPort(i), i+1, firstPortSlot+i/8, i%8)
		if i%8 == 0 {
			port += ",multifunction=on"
		}
		a.add("-device", port)
	}
}

const diskPortPrefix = "diskport"

func diskPort(i int) string { return diskPortPrefix + strconv.Itoa(i) }

// disk adds a disk; a removable one comes into a port.
func (a *args) disk(i int, d Disk, bootable bool, port int) {
	id := d.ID
	if id == "" {
		id = "disk" + strconv.Itoa(i)
	}
	if d.RBD != nil {
		a.add("-object", "secret,id="+id+keySuffix+",format=base64,file="+escape(d.RBD.Key))
	}
	a.blockdev(d.node(id))
	device := "virtio-blk-pci,drive=" + id
	if d.ID != "" {
		device += ",id=" + id
	}
	if d.Removable {
		device += ",bus=" + diskPort(port)
	}
	if d.Serial != "" {
		device += ",serial=" + escape(d.Serial)
	}
	if bootable && i == 0 {
		device += ",bootindex=1"
	}
	a.add("-device", device)
}

const keySuffix = "-key" // behind a disk's name it names the object with its key

// node is the disk in the block layer, as JSON, in which a path needs no escaping.
func (d Disk) node(id string) map[string]any {
	node := image(d.Path, d.Format)
	if d.RBD != nil {
		node = d.RBD.node(id + keySuffix)
	}
	node["node-name"], node["read-only"], node["discard"] = id, d.ReadOnly, "unmap"
	if d.Backing != nil {
		node["backing"] = image(d.Backing.Path, d.Backing.Format)
	}
	if d.Flat && d.RBD == nil && d.Format != "raw" {
		node["backing"] = nil
	}
	if d.Volatile {
		node["cache"] = map[string]any{"direct": false, "no-flush": true}
	}
	return node
}

func image(path, format string) map[string]any {
	if format == "" {
		format = "qcow2"
	}
	return map[string]any{"driver": format, "file": map[string]any{"driver": "file", "filename": path}}
}

// node is the image in the block layer; key is the object with the key.
func (r RBD) node(key string) map[string]any {
	file := map[string]any{"driver": "rbd", "conf": r.Configuration, "pool": r.Pool, "image": r.Image, "user": r.User, "key-secret": key}
	if r.Namespace != "" {
		file["namespace"] = r.Namespace
	}
	return map[string]any{"driver": "raw", "file": file}
}

func (a *args) seed(path string) {
	if path == "" {
		return
	}
	a.blockdev(map[string]any{
		"node-name": "seed", "driver": "raw", "read-only": true,
		"file": map[string]any{"driver": "file", "filename": path},
	})
	// On virtio-scsi, so that the disc can be ejected once the guest has read its secrets; virtio-blk has no tray.
	a.add("-device", "virtio-scsi-pci,id=scsi0", "-device", "scsi-cd,bus=scsi0.0,drive=seed,id=cd0")
}

func (a *args) blockdev(node map[string]any) {
	b, err := json.Marshal(node)
	if err != nil { // strings, booleans and maps of them always encode
		panic(err)
	}
	a.add("-blockdev", string(b))
}

func (a *args) nic(i int, n NIC) {
	id := "net" + strconv.Itoa(i)
	backend := "tap,id=" + id + ",fd=" + strconv.Itoa(n.TapFD)
	if n.User != nil {
		backend = "user,id=" + id + n.User.options()
	}
	device := "virtio-net-pci,netdev=" + id
	if n.MAC != "" {
		device += ",mac=" + n.MAC
	}
	// No option ROM: network boot is never tried.
	a.add("-netdev", backend, "-device", device+",romfile=")
}

func (u *UserNet) options() string {
	var b strings.Builder
	if u.Hostname != "" {
		b.WriteString(",hostname=" + escape(u.Hostname))
	}
	for _, d := range u.SearchDomains {
		b.WriteString(",dnssearch=" + escape(d))
	}
	if u.Restrict {
		b.WriteString(",restrict=on")
	}
	for _, f := range u.Forwards {
		fmt.Fprintf(&b, ",hostfwd=%s:%s:%d-:%d", f.protocol(), f.Host.Addr(), f.Host.Port(), f.Guest)
	}
	return b.String()
}

func (f Forward) protocol() string {
	if f.Protocol == "" {
		return "tcp"
	}
	return f.Protocol
}

func (a *args) share(i int, s Share) {
	id := "share" + strconv.Itoa(i)
	if s.Virtiofs != "" {
		a.add("-chardev", "socket,id="+id+",path="+escape(s.Virtiofs),
			"-device", "vhost-user-fs-pci,chardev="+id+",tag="+escape(s.Tag))
		return
	}
	security := s.Security
	if security == "" {
		security = "none"
	}
	fsdev := "local,id=" + id + ",path=" + escape(s.Path) + ",security_model=" + security + ",multidevs=remap"
	if s.ReadOnly {
		fsdev += ",readonly=on"
	}
	a.add("-fsdev", fsdev, "-device", "virtio-9p-pci,fsdev="+id+",mount_tag="+escape(s.Tag))
}

func (a *args) console(c Console) {
	place := "path=" + escape(c.Socket)
	if c.FD != 0 {
		place = "fd=" + strconv.Itoa(c.FD)
	}
	switch {
	case c.Socket != "" || c.FD != 0:
		socket := "socket,id=serial0," + place + ",server=on,wait=off"
		if c.Log != "" {
			socket += ",logfile=" + escape(c.Log) + ",logappend=on"
		}
		a.add("-chardev", socket)
	case c.Log != "":
		a.add("-chardev", "file,id=serial0,path="+escape(c.Log)+",append=on")
	default:
		a.add("-chardev", "null,id=serial0") // guests misbehave without a serial port
	}
	a.add("-serial", "chardev:serial0")
	if c.Debug.IsValid() {
		a.add("-chardev", fmt.Sprintf("socket,id=serial1,host=%s,port=%d,server=on,wait=off", c.Debug.Addr(), c.Debug.Port()),
			"-serial", "chardev:serial1")
	}
}

func (a *args) channels(channels []Channel) {
	if len(channels) == 0 {
		return
	}
	a.add("-device", "virtio-serial-pci")
	for i, c := range channels {
		id := "channel" + strconv.Itoa(i)
		a.add("-chardev", "socket,id="+id+",path="+escape(c.Socket)+",server=on,wait=off",
			"-device", "virtserialport,chardev="+id+",name="+escape(c.Name))
	}
}

// escape doubles commas, which separate options in QEMU's own syntax.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
