package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Volume is storage that outlives instances. It is on one node, from the moment on at which an instance that has it is placed there, or,
// when it is shared, reached by all.
type Volume struct {
	ID        string        `json:"id"`
	Name      string        `json:"name,omitempty"` // unique among the tenant's volumes; empty for one that was made with its instance
	Tenant    string        `json:"tenant"`
	State     VolumeState   `json:"state"`
	Content   VolumeContent `json:"content,omitempty"` // empty until the first instance that has it decides
	Storage   Storage       `json:"storage,omitempty"` // empty is StorageLocal, or as long as Content is, not decided
	Token     uint64        `json:"token,omitempty"`   // of a shared one: grows with each instance that gets it, and with each node that this is placed on
	SizeMiB   int64         `json:"size_mib"`
	Image     *ImageContent `json:"image,omitempty"`  // that it began as a copy of
	Source    string        `json:"source,omitempty"` // id of the volume that it began as a copy of
	Node      string        `json:"node,omitempty"`
	Made      bool          `json:"made,omitempty"` // it has been there: nobody may make it anew
	Instance  string        `json:"instance,omitempty"`
	Place     VolumePlace   `json:"place,omitzero"`      // in Instance
	Revision  uint64        `json:"revision,omitempty"`  // of the last change while Instance ran: orders and reports carry it, so that late ones are known
	Ephemeral bool          `json:"ephemeral,omitempty"` // goes with its instance
	Reason    string        `json:"reason,omitempty"`
	Created   time.Time     `json:"created"`
}

// Storage is what keeps a volume.
type Storage string

// Storages.
const (
	StorageLocal Storage = "local" // its node
	StorageCeph  Storage = "ceph"  // a Ceph cluster that all nodes reach
)

// Check notes that a storage is none; empty leaves it to the cluster.
func (s Storage) Check(field string, problems *Problems) {
	if s != "" && s != StorageLocal && s != StorageCeph {
		problems.Add(field, "%q keeps no volumes; use %s or %s, or leave it to the cluster", s, StorageLocal, StorageCeph)
	}
}

// Keeps says whether volumes of that content can be kept there.
func (s Storage) Keeps(content VolumeContent) bool {
	return s != StorageCeph || content != ContentFiles
}

// Shared says that all nodes reach the volume: it never has a Node.
func (v Volume) Shared() bool { return v.Storage == StorageCeph }

// Stays says whether the volume may be on its node already, and so is to be nowhere else.
func (v Volume) Stays() bool { return !v.Shared() && (v.Made || v.Revision > 0) }

// VolumePlace says where an instance finds a volume.
type VolumePlace struct {
	Number   int    `json:"number"`           // among the instance's volumes, in their order
	Target   string `json:"target,omitempty"` // absolute path, of a file system
	ReadOnly bool   `json:"read_only,omitempty"`
}

// VolumeContent says what a volume is for those who use it.
type VolumeContent string

// Contents of volumes. A disk cannot be a container's, nor a file system a VM's: a node shares files, a VM has blocks of its own.
const (
	ContentDisk  VolumeContent = "disk"       // of VMs
	ContentFiles VolumeContent = "filesystem" // of containers and processes
)

// ContentFor is what instances of a kind need.
func ContentFor(kind Kind) VolumeContent {
	if kind == KindVM {
		return ContentDisk
	}
	return ContentFiles
}

// VolumeContent is what a volume that begins as a copy of the image is; empty when volumes cannot.
func (f ImageFormat) VolumeContent() VolumeContent {
	switch f {
	case FormatQcow2, FormatRaw:
		return ContentDisk
	case FormatTar:
		return ContentFiles
	}
	return ""
}

// VolumeState is where a volume is in its life.
type VolumeState string

// States of a volume.
const (
	VolumeCreating  VolumeState = "creating"  // its node copies what it begins as
	VolumeAvailable VolumeState = "available" // nobody has it
	VolumeAttaching VolumeState = "attaching" // its node gives it to an instance that runs
	VolumeAttached  VolumeState = "attached"  // an instance has it, running or not
	VolumeDetaching VolumeState = "detaching" // its node takes it from an instance that runs
	VolumeDeleting  VolumeState = "deleting"  // on its way out
	VolumeFailed    VolumeState = "failed"    // it could not be made; Reason says why
	VolumeGone      VolumeState = "gone"      // a node's word on a volume that it does not have; never stored
)

// VolumeStates lists all states in the order of a volume's life.
func VolumeStates() []VolumeState {
	return []VolumeState{VolumeCreating, VolumeAvailable, VolumeAttaching, VolumeAttached, VolumeDetaching, VolumeDeleting, VolumeFailed, VolumeGone}
}

// volumeTransitions says which state may follow which. docs/volumes.md shows it; a test keeps both the same.
var volumeTransitions = map[VolumeState][]VolumeState{
	VolumeCreating:  {VolumeAvailable, VolumeFailed, VolumeDeleting},
	VolumeAvailable: {VolumeAttaching, VolumeAttached, VolumeDeleting},
	VolumeAttaching: {VolumeAttached, VolumeDetaching, VolumeAvailable, VolumeDeleting},
	VolumeAttached:  {VolumeDetaching, VolumeAvailable, VolumeDeleting},
	VolumeDetaching: {VolumeAvailable, VolumeAttached, VolumeDeleting},
	VolumeDeleting:  {VolumeGone},
	VolumeFailed:    {VolumeDeleting},
}

// May says whether a volume in state s may come to state next. Staying is always allowed.
func (s VolumeState) May(next VolumeState) bool {
	return s == next || slices.Contains(volumeTransitions[s], next)
}

// Changing says whether a node has to do something about a running instance for it to pass.
func (s VolumeState) Changing() bool { return s == VolumeAttaching || s == VolumeDetaching }

// Next lists the states that may follow s.
func (s VolumeState) Next() []VolumeState { return slices.Clone(volumeTransitions[s]) }

// VolumeSpec is a volume of each instance of a workload: an existing one, or one that is made with the instance.
type VolumeSpec struct {
	Volume    string  `json:"volume,omitempty"` // name or id of an existing one
	SizeMiB   int64   `json:"size_mib,omitempty"`
	Image     string  `json:"image,omitempty"`  // uploaded image that it begins as a copy of
	Target    string  `json:"target,omitempty"` // containers and processes: absolute path
	ReadOnly  bool    `json:"read_only,omitempty"`
	Ephemeral bool    `json:"ephemeral,omitempty"` // one that is made with the instance goes with it
	Storage   Storage `json:"storage,omitempty"`   // of one that is made with the instance; empty leaves it to the cluster
}

// Bounds of volumes.
const (
	MaxVolumeMiB          = 64 << 20
	MaxVolumesPerInstance = 16
)

func (s WorkloadSpec) validateVolumes(problems *Problems) {
	if len(s.Volumes) > MaxVolumesPerInstance {
		problems.Add("volumes", "must be at most %d", MaxVolumesPerInstance)
	}
	for i, v := range s.Volumes {
		v.validate(fmt.Sprintf("volumes[%d].", i), s.Kind, problems)
		if slices.ContainsFunc(s.Volumes[:i], func(o VolumeSpec) bool { return o.Target != "" && o.Target == v.Target }) {
			problems.Add(fmt.Sprintf("volumes[%d].target", i), "%q is the target of another volume", v.Target)
		}
	}
}

func (v VolumeSpec) validate(at string, kind Kind, problems *Problems) {
	switch {
	case v.Volume != "" && (v.SizeMiB != 0 || v.Image != "" || v.Ephemeral || v.Storage != ""):
		problems.Add(at+"volume", "names a volume that exists: leave size_mib, image, storage and ephemeral away")
	case v.Volume == "" && v.SizeMiB == 0 && v.Image == "":
		problems.Add(at+"size_mib", "is missing; or name a volume or an image")
	case v.SizeMiB < 0 || v.SizeMiB > MaxVolumeMiB:
		problems.Add(at+"size_mib", "must be from 1 to %d", MaxVolumeMiB)
	}
	v.Storage.Check(at+"storage", problems)
	if !v.Storage.Keeps(ContentFor(kind)) {
		problems.Add(at+"storage", "%s keeps disks of VMs; a %s's volumes are on its node", v.Storage, kind)
	}
	VolumePlace{Target: v.Target, ReadOnly: v.ReadOnly}.Check(at, kind, problems)
}

var targetPath = regexp.MustCompile(`^/[^\x00-\x1f:,]{1,254}$`)

// Check notes why an instance of a kind cannot have a volume there.
func (p VolumePlace) Check(at string, kind Kind, problems *Problems) {
	if ContentFor(kind) == ContentDisk {
		if p.Target != "" {
			problems.Add(at+"target", "is for containers and processes; a VM sees a disk, which it mounts itself")
		}
		return
	}
	switch {
	case p.Target == "":
		problems.Add(at+"target", "is missing: the absolute path at which the %s finds it", kind)
	case !targetPath.MatchString(p.Target) || path.Clean(p.Target) != p.Target:
		problems.Add(at+"target", "%q is not an absolute path in its shortest form, without colons and commas", p.Target)
	case slices.ContainsFunc([]string{"/proc", "/sys", "/dev"}, func(own string) bool { return p.Target == own || strings.HasPrefix(p.Target, own+"/") }):
		problems.Add(at+"target", "%q is the system's own", p.Target)
	}
}

// VolumesOf yields the volumes that are made with the batch's instance i.
func (b Batch) VolumesOf(i int) iter.Seq[Volume] {
	return func(yield func(Volume) bool) {
		for k, v := range b.Volumes {
			seed := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte("volume/"+b.ID), uint64(i)), uint64(k))
			v.ID, v.Instance = derivedID(sha256.Sum256(seed)), b.InstanceID(i)
			if !yield(v) {
				return
			}
		}
	}
}
