// Package quota is the arithmetic of what tenants may hold. It is pure: the caller stores the usage that comes back in the
// transaction that adds or removes the instances.
//
// What is guaranteed: a reservation is whole or refused; a refusal names every quota that stands against it, with its limit, what
// is in use and what was asked for, and is of class cluster.ErrOverQuota.
package quota

import (
	"fmt"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
)

// Refusal says which quotas do not allow a reservation.
type Refusal struct {
	Exceeded []Exceeded
}

// Exceeded is one quota that would be passed.
type Exceeded struct {
	Name  string // instances, vcpus, memory_mib or images
	Limit cluster.Limit
	Used  string
	Asked string
}

func (r *Refusal) Error() string {
	parts := make([]string, len(r.Exceeded))
	for i, e := range r.Exceeded {
		parts[i] = fmt.Sprintf("quota %s: the limit is %s, in use are %s, asked for were %s more", e.Name, e.Limit, e.Used, e.Asked)
	}
	return strings.Join(parts, "; ") + "; delete what you do not need or ask an operator for more"
}

// Is makes a Refusal of class cluster.ErrOverQuota.
func (r *Refusal) Is(target error) bool { return target == cluster.ErrOverQuota }

// Reserve returns the usage with n instances of the given size added, or a *Refusal.
func Reserve(quota cluster.Quota, usage cluster.Usage, each cluster.Resources, n int) (cluster.Usage, error) {
	return Add(quota, usage, of(each, n))
}

// Add returns the usage with what is asked for added, or a *Refusal. What nothing is asked of is not checked.
func Add(quota cluster.Quota, usage, asked cluster.Usage) (cluster.Usage, error) {
	after := cluster.Usage{
		Instances: usage.Instances + asked.Instances,
		CPU:       usage.CPU + asked.CPU,
		MemoryMiB: usage.MemoryMiB + asked.MemoryMiB,
		Images:    usage.Images + asked.Images,
	}
	var refusal Refusal
	check := func(name string, limit cluster.Limit, allowed bool, used, asked any) {
		if !allowed {
			refusal.Exceeded = append(refusal.Exceeded, Exceeded{name, limit, fmt.Sprint(used), fmt.Sprint(asked)})
		}
	}
	check("instances", quota.Instances, asked.Instances == 0 || quota.Instances.Allows(after.Instances), usage.Instances, asked.Instances)
	check("vcpus", quota.VCPUs, asked.CPU == 0 || allowsCPU(quota.VCPUs, after.CPU), usage.CPU, asked.CPU)
	check("memory_mib", quota.MemoryMiB, asked.MemoryMiB == 0 || quota.MemoryMiB.Allows(after.MemoryMiB), usage.MemoryMiB, asked.MemoryMiB)
	check("images", quota.Images, asked.Images == 0 || quota.Images.Allows(after.Images), usage.Images, asked.Images)
	if refusal.Exceeded != nil {
		return usage, &refusal
	}
	return after, nil
}

// Release returns the usage with n instances of the given size taken away.
func Release(usage cluster.Usage, each cluster.Resources, n int) cluster.Usage {
	return Sub(usage, of(each, n))
}

// Sub returns the usage with what is given back taken away.
func Sub(usage, given cluster.Usage) cluster.Usage {
	return cluster.Usage{
		Instances: usage.Instances - given.Instances,
		CPU:       usage.CPU - given.CPU,
		MemoryMiB: usage.MemoryMiB - given.MemoryMiB,
		Images:    usage.Images - given.Images,
	}
}

func of(each cluster.Resources, n int) cluster.Usage {
	all := each.Times(n)
	return cluster.Usage{Instances: int64(n), CPU: all.CPU, MemoryMiB: all.MemoryMiB}
}

// allowsCPU compares thousandths with a limit of whole vCPUs, rounding what is wanted up.
func allowsCPU(limit cluster.Limit, cpu cluster.CPU) bool {
	return limit.Allows(int64((cpu + cluster.VCPU - 1) / cluster.VCPU))
}
