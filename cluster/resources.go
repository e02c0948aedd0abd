package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// CPU is an amount of processor time in thousandths of a vCPU; in documents it is a decimal number of vCPUs (0.25, 2).
type CPU int64

// VCPU is one whole virtual processor.
const VCPU CPU = 1000

// MaxVCPUs bounds what one instance may ask for; sums, such as a tenant's usage, go beyond it.
const MaxVCPUs = 4096

// maxCPU bounds what can be written at all, so that sums stay exact.
const maxCPU = 1_000_000_000 * VCPU

func (c CPU) String() string { return strconv.FormatFloat(float64(c)/1000, 'f', -1, 64) }

// MarshalJSON writes a decimal number of vCPUs.
func (c CPU) MarshalJSON() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalJSON reads a decimal number of vCPUs with at most three digits behind the point.
func (c *CPU) UnmarshalJSON(text []byte) error { return c.UnmarshalText(bytes.Trim(text, `"`)) }

// UnmarshalYAML reads what UnmarshalJSON reads.
func (c *CPU) UnmarshalYAML(text []byte) error {
	return c.UnmarshalText(bytes.Trim(bytes.TrimSpace(text), `"'`))
}

// UnmarshalText reads a decimal number of vCPUs.
func (c *CPU) UnmarshalText(text []byte) error {
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(value) || value < 0 || value*1000 > float64(maxCPU) {
		return fmt.Errorf("%q is not a number of vCPUs, such as 2 or 0.25", text)
	}
	milli := math.Round(value * 1000)
	if math.Abs(milli-value*1000) > 1e-3 {
		return fmt.Errorf("%q is finer than a thousandth of a vCPU", text)
	}
	*c = CPU(milli)
	return nil
}

// Resources is what an instance takes and a node has.
type Resources struct {
	CPU       CPU   `json:"vcpus"`
	MemoryMiB int64 `json:"memory_mib"`
	DiskMiB   int64 `json:"disk_mib,omitempty"`
}

// Add returns the sum.
func (r Resources) Add(o Resources) Resources {
	return Resources{CPU: r.CPU + o.CPU, MemoryMiB: r.MemoryMiB + o.MemoryMiB, DiskMiB: r.DiskMiB + o.DiskMiB}
}

// Sub returns the difference, which may be negative.
func (r Resources) Sub(o Resources) Resources {
	return Resources{CPU: r.CPU - o.CPU, MemoryMiB: r.MemoryMiB - o.MemoryMiB, DiskMiB: r.DiskMiB - o.DiskMiB}
}

// Times returns n times r.
func (r Resources) Times(n int) Resources {
	return Resources{CPU: r.CPU * CPU(n), MemoryMiB: r.MemoryMiB * int64(n), DiskMiB: r.DiskMiB * int64(n)}
}

// Limit is an upper bound of a quota; Unlimited is none. In documents it is a number or the word unlimited.
type Limit int64

// Unlimited is the limit that allows everything, and the default.
const Unlimited Limit = -1

// Allows says whether an amount stays within the limit.
func (l Limit) Allows(amount int64) bool { return l == Unlimited || amount <= int64(l) }

func (l Limit) String() string {
	if l == Unlimited {
		return "unlimited"
	}
	return strconv.FormatInt(int64(l), 10)
}

// MarshalText writes a number or the word unlimited.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (l *Limit) UnmarshalText(text []byte) error {
	if string(text) == "unlimited" {
		*l = Unlimited
		return nil
	}
	value, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || value < 0 {
		return errors.New("a quota is a whole number from 0, or the word unlimited")
	}
	*l = Limit(value)
	return nil
}

// Quota bounds what a tenant may hold at one time, and how large each of its instances may be.
type Quota struct {
	Instances         Limit `json:"instances"`
	VCPUs             Limit `json:"vcpus"`
	MemoryMiB         Limit `json:"memory_mib"`
	DiskMiB           Limit `json:"disk_mib"`
	Images            Limit `json:"images"`
	ExternalIPs       Limit `json:"external_ips"`
	Volumes           Limit `json:"volumes"`
	InstanceVCPUs     Limit `json:"instance_vcpus"` // of one instance
	InstanceMemoryMiB Limit `json:"instance_memory_mib"`
	InstanceDiskMiB   Limit `json:"instance_disk_mib"`
}

// UnmarshalJSON reads a quota; a limit that an older program did not know is Unlimited.
func (q *Quota) UnmarshalJSON(text []byte) error {
	type plain Quota
	read := plain(NoQuota())
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	*q = Quota(read)
	return nil
}

// NoQuota is the quota that allows everything.
func NoQuota() Quota {
	return Quota{
		Instances: Unlimited, VCPUs: Unlimited, MemoryMiB: Unlimited, DiskMiB: Unlimited, Images: Unlimited, ExternalIPs: Unlimited, Volumes: Unlimited,
		InstanceVCPUs: Unlimited, InstanceMemoryMiB: Unlimited, InstanceDiskMiB: Unlimited,
	}
}

// Usage is what a tenant holds: reserved at creation, given back when the instance, image, external IP or volume is gone.
type Usage struct {
	Instances   int64 `json:"instances"`
	CPU         CPU   `json:"vcpus"`
	MemoryMiB   int64 `json:"memory_mib"`
	DiskMiB     int64 `json:"disk_mib,omitempty"`
	Images      int64 `json:"images,omitempty"`
	ExternalIPs int64 `json:"external_ips,omitempty"`
	Volumes     int64 `json:"volumes,omitempty"`
}
