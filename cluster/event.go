package cluster

import "time"

// Severity of an event.
type Severity string

// Severities of events.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Event is something that happened and that a user or an operator may want to know. Its id orders events by time (UUIDv7, RFC 9562).
type Event struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Severity Severity  `json:"severity"`
	Tenant   string    `json:"tenant,omitempty"`
	Node     string    `json:"node,omitempty"`
	Instance string    `json:"instance,omitempty"`
	Reason   string    `json:"reason"`  // one CamelCase word for programs, such as StartFailed
	Message  string    `json:"message"` // one sentence for people
}

// InstanceStatistics is a sample of what one instance uses; -1 is unknown. Samples never reach the store.
type InstanceStatistics struct {
	Instance  string  `json:"instance"`
	CPU       float64 `json:"cpu"` // vCPUs in use since the sample before
	MemoryMiB int64   `json:"memory_mib"`
	DiskMiB   int64   `json:"disk_mib"`
	Pids      int64   `json:"pids"`
}

// NodeStatistics is a sample of what one node uses; -1 is unknown.
type NodeStatistics struct {
	Node      string               `json:"node"`
	Time      time.Time            `json:"time"`
	Load      float64              `json:"load"` // one-minute load average
	CPUs      int                  `json:"cpus"`
	Memory    Amount               `json:"memory"`
	Disk      Amount               `json:"disk"`
	Instances []InstanceStatistics `json:"instances,omitempty"`
}

// Amount is a total and what is left of it, in MiB.
type Amount struct {
	TotalMiB     int64 `json:"total_mib"`
	AvailableMiB int64 `json:"available_mib"`
}
