package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrNoPort says that a machine has no port left that a disk could be plugged into, or never had any.
	ErrNoPort = errors.New("the machine has no free port for a disk")

	// ErrHeld says that a guest was asked to let go of a disk and did not. It may still do so later, at its next boot at the latest.
	ErrHeld = errors.New("the guest does not let go of the disk")
)

const (
	peripherals = "/machine/peripheral" // where QEMU has the devices with an id
	objects     = "/objects"            // and where what is no device

	lookEvery = 100 * time.Millisecond // at whether a device is gone
	askEvery  = time.Second            // for it to go: a guest that is only starting does not notice
	dropLimit = 5 * time.Second        // from a device's going to the block layer's giving up its node
	undoLimit = 5 * time.Second
)

// AddDisk plugs a disk into a free port of the running machine. The disk's image is file, open for reading and writing, or for reading only
// if the disk is; the caller closes it, and the disk's path is not looked at. Of a disk in Ceph file has the key, and [RBD.Key] is not looked at;
// until Ceph answers, the machine stands still. A disk that is there already, by its ID, is left as it is. After a
// [*CommandError] or [ErrNoPort] nothing of it is there; after other errors it may be, and the same call again finds out.
func (m *Monitor) AddDisk(ctx context.Context, d Disk, file *os.File) error {
	if !diskID.MatchString(d.ID) {
		return fmt.Errorf("disk: %q cannot be an id", d.ID)
	}
	present, err := m.devices(ctx)
	if err != nil || present[d.ID] {
		return err
	}
	port, err := m.freePort(ctx, present)
	if err == nil {
		err = m.dropDisk(ctx, d.ID) // that an interrupted call left
	}
	if err != nil {
		return err
	}
	err = m.plug(ctx, d, file, port)
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if undone := m.dropDisk(ctx, d.ID); undone != nil {
		return errors.New(err.Error() + "; undoing that: " + undone.Error()) // of no kind: the disk may be there
	}
	return err
}

// HasDisk says whether the running machine has a disk, by its ID.
func (m *Monitor) HasDisk(ctx context.Context, id string) (bool, error) {
	present, err := m.devices(ctx)
	return present[id], err
}

func (m *Monitor) plug(ctx context.Context, d Disk, file *os.File, port string) error {
	if err := m.addNode(ctx, d, file); err != nil {
		return err
	}
	device := map[string]any{"driver": "virtio-blk-pci", "id": d.ID, "drive": d.ID, "bus": port}
	if d.Serial != "" {
		device["serial"] = d.Serial
	}
	return m.Execute(ctx, "device_add", device, nil)
}

// addNode has the block layer open a disk.
func (m *Monitor) addNode(ctx context.Context, d Disk, file *os.File) error {
	var added struct {
		Set  int `json:"fdset-id"`
		File int `json:"fd"`
	}
	if err := m.executeWith(ctx, file, "add-fd", map[string]any{"opaque": d.ID}, &added); err != nil {
		return err
	}
	if d.RBD == nil {
		d.Path = FD(added.Set)
		return m.Execute(ctx, "blockdev-add", d.node(d.ID), nil)
	}
	// QEMU opens the file of a secret by itself, so a set of descriptors cannot stand for it.
	secret := map[string]any{"qom-type": "secret", "id": d.ID + keySuffix, "format": "base64", "file": fmt.Sprintf("/proc/self/fd/%d", added.File)}
	if err := m.Execute(ctx, "object-add", secret, nil); err != nil {
		return err
	}
	if err := m.Execute(ctx, "blockdev-add", d.node(d.ID), nil); err != nil {
		return err
	}
	return errors.Join(m.dropKey(ctx, d.ID), m.closeFiles(ctx, d.ID, nil)) // the block driver has the key by now
}

// RemoveDisk has the guest let go of a disk and removes it, by the ID that it was given to the machine with. A guest that does not within the
// limit is [ErrHeld]. What is not there is left alone; a machine without ports is [ErrNoPort], for its disks may have no IDs.
//
// It reads the monitor's events.
func (m *Monitor) RemoveDisk(ctx context.Context, id string, limit time.Duration) error {
	present, err := m.devices(ctx)
	switch {
	case err != nil:
		return err
	case !present[diskPort(0)]:
		return ErrNoPort
	case present[id]:
		if err := m.pull(ctx, id, limit); err != nil {
			return err
		}
	}
	return m.dropDisk(ctx, id)
}

// pull returns when the device is gone.
func (m *Monitor) pull(ctx context.Context, id string, limit time.Duration) error {
	over := time.NewTimer(limit)
	defer over.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for next := time.Now(); ; {
		if now := time.Now(); !now.Before(next) {
			next = now.Add(askEvery)
			if err := m.unplug(ctx, id); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over.C:
			return ErrHeld
		case e := <-m.Events():
			if e == nil { // the connection has ended
				return m.cause()
			}
		case <-look.C:
		}
		if present, err := m.devices(ctx); err != nil || !present[id] {
			return err
		}
	}
}

// unplug asks for a device to be let go; what is gone, or is going, is no error.
func (m *Monitor) unplug(ctx context.Context, id string) error {
	err := m.Execute(ctx, "device_del", map[string]any{"id": id}, nil)
	var refused *CommandError
	if errors.As(err, &refused) && (refused.Class == "DeviceNotFound" || strings.Contains(refused.Text, "in the process of unplug") || strings.Contains(refused.Text, "guest is busy")) {
		return nil
	}
	return err
}

// devices are the ids of the machine's devices.
func (m *Monitor) devices(ctx context.Context) (map[string]bool, error) {
	return m.children(ctx, peripherals)
}

// children are the ids of what QEMU has at a path of its object model.
func (m *Monitor) children(ctx context.Context, path string) (map[string]bool, error) {
	var listed []struct{ Name, Type string }
	if err := m.Execute(ctx, "qom-list", map[string]any{"path": path}, &listed); err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, one := range listed {
		if strings.HasPrefix(one.Type, "child<") {
			ids[one.Name] = true
		}
	}
	return ids, nil
}

// freePort is the first port with nothing in it.
func (m *Monitor) freePort(ctx context.Context, present map[string]bool) (string, error) {
	taken := map[string]bool{}
	for id := range present {
		if strings.HasPrefix(id, diskPortPrefix) {
			continue
		}
		var bus string
		if err := m.Execute(ctx, "qom-get", map[string]any{"path": peripherals + "/" + id, "property": "parent_bus"}, &bus); err != nil {
			var refused *CommandError
			if errors.As(err, &refused) { // on no bus, or just going
				continue
			}
			return "", err
		}
		port, _, _ := strings.Cut(strings.TrimPrefix(bus, peripherals+"/"), "/")
		taken[port] = true
	}
	for i := range maxDiskPorts {
		if port := diskPort(i); present[port] && !taken[port] {
			return port, nil
		}
	}
	return "", ErrNoPort
}

var fdset = regexp.MustCompile(`/dev/fdset/(\d+)`)

// dropDisk removes what the block layer has of a disk whose device is not there, and its key, and closes its file.
func (m *Monitor) dropDisk(ctx context.Context, id string) error {
	var nodes []struct {
		Name string `json:"node-name"`
		File string
	}
	if err := m.Execute(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return err
	}
	sets := map[int]bool{}
	for _, node := range nodes {
		if node.Name != id {
			continue
		}
		if set := fdset.FindStringSubmatch(node.File); set != nil {
			n, _ := strconv.Atoi(set[1]) // digits, and a descriptor's number
			sets[n] = true
		}
		if err := m.dropNode(ctx, id); err != nil {
			return err
		}
	}
	if err := m.dropKey(ctx, id); err != nil {
		return err
	}
	return m.closeFiles(ctx, id, sets)
}

// dropKey removes the key of a disk in Ceph, if there is one.
func (m *Monitor) dropKey(ctx context.Context, id string) error {
	present, err := m.children(ctx, objects)
	if err != nil || !present[id+keySuffix] {
		return err
	}
	return m.Execute(ctx, "object-del", map[string]any{"id": id + keySuffix}, nil)
}

// dropNode removes a node of the block layer. That may be in use for another moment after its device has gone.
func (m *Monitor) dropNode(ctx context.Context, id string) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for deadline := time.Now().Add(dropLimit); ; {
		err := m.Execute(ctx, "blockdev-del", map[string]any{"node-name": id}, nil)
		var refused *CommandError
		if !errors.As(err, &refused) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
	}
}

// closeFiles has QEMU close the files of sets, and those that were added for a disk.
func (m *Monitor) closeFiles(ctx context.Context, id string, sets map[int]bool) error {
	var known []struct {
		Set   int                       `json:"fdset-id"`
		Files []struct{ Opaque string } `json:"fds"`
	}
	if err := m.Execute(ctx, "query-fdsets", nil, &known); err != nil {
		return err
	}
	for _, one := range known {
		ours := sets[one.Set]
		for _, file := range one.Files {
			ours = ours || file.Opaque == id
		}
		if !ours {
			continue
		}
		if err := m.Execute(ctx, "remove-fd", map[string]any{"fdset-id": one.Set}, nil); err != nil {
			return err
		}
	}
	return nil
}
