// Package quota is the arithmetic of what tenants may hold. It is pure: the caller stores the usage that comes back in the
// transaction that adds or removes the instances.
//
// What is guaranteed: a reservation is whole or refused; a refusal names every quota that stands against it, with its limit, what
// is in use and what was asked for, and is of class cluster.ErrOverQuota.
package quota

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
)

// Refusal says which quotas do not allow a reservation.
type Refusal struct {
	Exceeded []Exceeded
}

// Exceeded is one quota that would be passed.
type Exceeded struct {
	Name  string // of the limit, as documents write it
	Limit cluster.Limit
	Used  string // empty for a limit of what one instance may have
	Asked string
}

func (e Exceeded) String() string {
	if e.Used == "" {
		return fmt.Sprintf("quota %s: an instance may have %s, asked for were %s", e.Name, e.Limit, e.Asked)
	}
	return fmt.Sprintf("quota %s: the limit is %s, in use are %s, asked for were %s more", e.Name, e.Limit, e.Used, e.Asked)
}

func (r *Refusal) Error() string {
	parts := make([]string, len(r.Exceeded))
	held := false
	for i, e := range r.Exceeded {
		parts[i] = e.String()
		held = held || e.Used != ""
	}
	advice := "; use a smaller workload or ask an operator for more"
	if held {
		advice = "; delete what you do not need or ask an operator for more"
	}
	return strings.Join(parts, "; ") + advice
}

// Is makes a Refusal of class cluster.ErrOverQuota.
func (r *Refusal) Is(target error) bool { return target == cluster.ErrOverQuota }

// Reserve returns the usage with n instances of the given size added, or a *Refusal.
func Reserve(quota cluster.Quota, usage cluster.Usage, each cluster.Resources, n int) (cluster.Usage, error) {
	exceeded := slices.Concat(oversized(quota, each), exceededBy(quota, usage, of(each, n)))
	if exceeded != nil {
		return usage, &Refusal{exceeded}
	}
	return plus(usage, of(each, n)), nil
}

// oversized lists the limits of one instance that do not allow it.
func oversized(quota cluster.Quota, each cluster.Resources) (exceeded []Exceeded) {
	check := func(name string, limit cluster.Limit, allowed bool, asked any) {
		if !allowed {
			exceeded = append(exceeded, Exceeded{name, limit, "", fmt.Sprint(asked)})
		}
	}
	check("instance_vcpus", quota.InstanceVCPUs, allowsCPU(quota.InstanceVCPUs, each.CPU), each.CPU)
	check("instance_memory_mib", quota.InstanceMemoryMiB, quota.InstanceMemoryMiB.Allows(each.MemoryMiB), each.MemoryMiB)
	check("instance_disk_mib", quota.InstanceDiskMiB, quota.InstanceDiskMiB.Allows(each.DiskMiB), each.DiskMiB)
	return exceeded
}

// Add returns the usage with what is asked for added, or a *Refusal. A quota of which nothing is asked stands against nothing, also when it
// was lowered below what is in use.
func Add(quota cluster.Quota, usage, asked cluster.Usage) (cluster.Usage, error) {
	if exceeded := exceededBy(quota, usage, asked); exceeded != nil {
		return usage, &Refusal{exceeded}
	}
	return plus(usage, asked), nil
}

// exceededBy lists the limits of a tenant that do not allow what is asked for.
func exceededBy(quota cluster.Quota, usage, asked cluster.Usage) (exceeded []Exceeded) {
	after := plus(usage, asked)
	check := func(name string, limit cluster.Limit, allowed bool, used, asked any) {
		if !allowed {
			exceeded = append(exceeded, Exceeded{name, limit, fmt.Sprint(used), fmt.Sprint(asked)})
		}
	}
	check("instances", quota.Instances, asked.Instances == 0 || quota.Instances.Allows(after.Instances), usage.Instances, asked.Instances)
	check("vcpus", quota.VCPUs, asked.CPU == 0 || allowsCPU(quota.VCPUs, after.CPU), usage.CPU, asked.CPU)
	check("memory_mib", quota.MemoryMiB, asked.MemoryMiB == 0 || quota.MemoryMiB.Allows(after.MemoryMiB), usage.MemoryMiB, asked.MemoryMiB)
	check("external_ips", quota.ExternalIPs, asked.ExternalIPs == 0 || quota.ExternalIPs.Allows(after.ExternalIPs), usage.ExternalIPs, asked.ExternalIPs)
	check("images", quota.Images, asked.Images == 0 || quota.Images.Allows(after.Images), usage.Images, asked.Images)
	check("volumes", quota.Volumes, asked.Volumes == 0 || quota.Volumes.Allows(after.Volumes), usage.Volumes, asked.Volumes)
	check("disk_mib", quota.DiskMiB, asked.DiskMiB == 0 || quota.DiskMiB.Allows(after.DiskMiB), usage.DiskMiB, asked.DiskMiB)
	return exceeded
}

// Release returns the usage with n instances of the given size taken away.
func Release(usage cluster.Usage, each cluster.Resources, n int) cluster.Usage {
	return Sub(usage, of(each, n))
}

// Sub returns the usage with what is given back taken away.
func Sub(usage, given cluster.Usage) cluster.Usage {
	return cluster.Usage{
		Instances:   usage.Instances - given.Instances,
		CPU:         usage.CPU - given.CPU,
		MemoryMiB:   usage.MemoryMiB - given.MemoryMiB,
		DiskMiB:     usage.DiskMiB - given.DiskMiB,
		Images:      usage.Images - given.Images,
		ExternalIPs: usage.ExternalIPs - given.ExternalIPs,
		Volumes:     usage.Volumes - given.Volumes,
	}
}

func plus(usage, asked cluster.Usage) cluster.Usage {
	return cluster.Usage{
		Instances:   usage.Instances + asked.Instances,
		CPU:         usage.CPU + asked.CPU,
		MemoryMiB:   usage.MemoryMiB + asked.MemoryMiB,
		DiskMiB:     usage.DiskMiB + asked.DiskMiB,
		Images:      usage.Images + asked.Images,
		ExternalIPs: usage.ExternalIPs + asked.ExternalIPs,
		Volumes:     usage.Volumes + asked.Volumes,
	}
}

func of(each cluster.Resources, n int) cluster.Usage {
	all := each.Times(n)
	return cluster.Usage{Instances: int64(n), CPU: all.CPU, MemoryMiB: all.MemoryMiB, DiskMiB: all.DiskMiB}
}

// allowsCPU compares thousandths with a limit of whole vCPUs, rounding what is wanted up.
func allowsCPU(limit cluster.Limit, cpu cluster.CPU) bool {
	return limit.Allows(int64((cpu + cluster.VCPU - 1) / cluster.VCPU))
}
