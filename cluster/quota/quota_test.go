package quota

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
)

func TestReserve(t *testing.T) {
	quota := cluster.NoQuota()
	quota.Instances, quota.VCPUs, quota.MemoryMiB, quota.DiskMiB = 4, 3, 1024, 100
	small := cluster.NoQuota()
	small.InstanceVCPUs, small.InstanceMemoryMiB, small.InstanceDiskMiB = 1, 128, 10
	used := cluster.Usage{Instances: 2, CPU: 1500, MemoryMiB: 512}
	nothing := cluster.NoQuota()
	nothing.Instances = 0
	tests := []struct {
		name     string
		quota    cluster.Quota
		each     cluster.Resources
		n        int
		want     cluster.Usage
		exceeded []string
	}{
		{"within", quota, cluster.Resources{CPU: 500, MemoryMiB: 128}, 2, cluster.Usage{Instances: 4, CPU: 2500, MemoryMiB: 768}, nil},
		{"exactly", quota, cluster.Resources{CPU: 750, MemoryMiB: 256}, 2, cluster.Usage{Instances: 4, CPU: 3000, MemoryMiB: 1024}, nil},
		{"instances", quota, cluster.Resources{CPU: 10, MemoryMiB: 6}, 3, used, []string{"instances"}},
		{"a thousandth of a vCPU too many", quota, cluster.Resources{CPU: 1501, MemoryMiB: 6}, 1, used, []string{"vcpus"}},
		{"all", quota, cluster.Resources{CPU: 1000, MemoryMiB: 256}, 3, used, []string{"instances", "vcpus", "memory_mib"}},
		{"unlimited", cluster.NoQuota(), cluster.Resources{CPU: 4096000, MemoryMiB: 1 << 24}, 10_000,
			cluster.Usage{Instances: 10_002, CPU: 40_960_001_500, MemoryMiB: 10_000<<24 + 512}, nil},
		{"disk", quota, cluster.Resources{CPU: 10, MemoryMiB: 6, DiskMiB: 51}, 2, used, []string{"disk_mib"}},
		{"as large as one may be", small, cluster.Resources{CPU: 1000, MemoryMiB: 128, DiskMiB: 10}, 1,
			cluster.Usage{Instances: 3, CPU: 2500, MemoryMiB: 640, DiskMiB: 10}, nil},
		{"larger than one may be", small, cluster.Resources{CPU: 1001, MemoryMiB: 129, DiskMiB: 11}, 1, used,
			[]string{"instance_vcpus", "instance_memory_mib", "instance_disk_mib"}},
		{"limit zero", nothing, cluster.Resources{}, 1, used, []string{"instances"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Reserve(test.quota, used, test.each, test.n)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error("usage (-want +got):", diff)
			}
			var names []string
			var refusal *Refusal
			if errors.As(err, &refusal) {
				for _, e := range refusal.Exceeded {
					names = append(names, e.Name)
				}
			}
			if diff := cmp.Diff(test.exceeded, names); diff != "" {
				t.Error("exceeded (-want +got):", diff)
			}
			if (err != nil) != errors.Is(err, cluster.ErrOverQuota) {
				t.Errorf("%v is not of class over quota", err)
			}
			if err == nil {
				if back := Release(got, test.each, test.n); back != used {
					t.Errorf("released: %v, want %v", back, used)
				}
			}
		})
	}
}

func TestRefusalSaysAll(t *testing.T) {
	most3 := cluster.NoQuota()
	most3.Instances = 3
	_, err := Reserve(most3, cluster.Usage{Instances: 2}, cluster.Resources{CPU: 500}, 2)
	const want = "quota instances: the limit is 3, in use are 2, asked for were 2 more; delete what you do not need or ask an operator for more"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
