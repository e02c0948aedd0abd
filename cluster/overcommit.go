package cluster

// Overcommit says how much of a node may be promised for each unit that it has. CPU is shared in time, so that far more of it can be
// promised than is there; memory that is promised twice ends in killed instances.
type Overcommit struct {
	CPU    float64 // vCPUs for each processor
	Memory float64 // memory for each byte
}

// DefaultOvercommit are OpenStack's long-proven 16 vCPUs for each processor, and no overcommitted memory.
func DefaultOvercommit() Overcommit { return Overcommit{CPU: 16, Memory: 1} }

// Of is what may be promised of a node with that capacity.
func (o Overcommit) Of(capacity Resources) Resources {
	return Resources{
		CPU:       CPU(float64(capacity.CPU) * o.CPU),
		MemoryMiB: int64(float64(capacity.MemoryMiB) * o.Memory),
		DiskMiB:   capacity.DiskMiB,
	}
}

// Fits says whether r is within what is free, in every amount that r asks for.
func (r Resources) Fits(free Resources) bool {
	return r.CPU <= free.CPU && r.MemoryMiB <= free.MemoryMiB && (r.DiskMiB == 0 || r.DiskMiB <= free.DiskMiB)
}
