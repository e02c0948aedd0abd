// Package simulate is a driver whose instances are nothing but timing: thousands of them in one process, for tests of controllers
// and launchers and for measurements of the cluster itself.
//
// An Engine stands for the machine's container engine or hypervisor: it keeps the instances, and outlives the Drivers over it as a
// real one outlives a launcher. How long a step takes, and whether it fails, is computed from the seed, the instance and the step
// alone, never from the order of calls: the same seed gives the same run, in real time or in a testing/synctest bubble.
//
// What is guaranteed: the contract of package driver, by its own suite; no goroutine but those of Watch and of consoles; and a timer per instance
// that ends by itself.
//
// An instance's command says how it behaves: none runs until it is stopped; "exit N" ends at once with code N; "exit N after D" ends
// by itself after a time such as 10s; "ignore stop" runs until it is killed.
package simulate

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// Step is a call that takes time and may fail.
type Step string

// Steps of an instance.
const (
	Create Step = "create"
	Start  Step = "start"
	Stop   Step = "stop"
	Delete Step = "delete"
	Attach Step = "attach"
	Detach Step = "detach"
)

// Range is from how long to how long a step takes; the seed decides.
type Range struct{ Min, Max time.Duration }

// Failure makes a step of the instances whose name matches fail.
type Failure struct {
	Name  string // pattern (path.Match); empty matches all
	Step  Step
	Err   error // what the driver returns, wrapped; of a class of package cluster
	Times int   // how often it fails for one instance before it works; 0 is always
	// Share of the matching (instance, generation) pairs that it strikes, from 0 to 1; 0 is all. The seed decides which.
	Share float64
}

// Config is how an engine behaves; its zero value is quick and never fails.
type Config struct {
	Kind     cluster.Kind // empty is cluster.KindContainer
	Seed     uint64
	Takes    map[Step]Range
	Failures []Failure
	// Changed, when set, gets the status of an instance at the instant at which it may have changed, Absent when it is there no more. The
	// engine waits for it: it must return at once, and must not call the engine.
	Changed func(driver.Status)
}

// Engine keeps simulated instances. Its methods may be called from many goroutines.
type Engine struct {
	config Config

	mu        sync.Mutex
	instances map[string]*instance
	watchers  map[*watcher]struct{}
	frozen    chan struct{} // closed by Thaw; nil while the engine answers
}

// instance is one simulated carrier; Engine.mu guards it.
type instance struct {
	wanted   driver.Instance
	status   driver.Status
	failures map[int]int // how often each failure has happened
	timer    *time.Timer // ends it by itself
}

// NewEngine makes an engine without instances.
func NewEngine(config Config) *Engine {
	if config.Kind == "" {
		config.Kind = cluster.KindContainer
	}
	return &Engine{config: config, instances: map[string]*instance{}, watchers: map[*watcher]struct{}{}}
}

// Interrupt ends every running instance as a crash of the machine does, and lets watchers know that they missed something.
func (e *Engine) Interrupt() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, i := range e.instances {
		if i.status.Condition == driver.Running {
			i.end(255, "the engine went down under it")
			i.status.Interrupted = true
		}
	}
	e.tell("")
}

// Freeze makes every call wait, until Thaw or its context's end.
func (e *Engine) Freeze() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.frozen == nil {
		e.frozen = make(chan struct{})
	}
}

// Thaw ends Freeze.
func (e *Engine) Thaw() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.frozen != nil {
		close(e.frozen)
		e.frozen = nil
	}
}

// Len is the number of instances that are there.
func (e *Engine) Len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.instances)
}

// takes is how long a step of an instance takes.
func (e *Engine) takes(id string, step Step) time.Duration {
	r := e.config.Takes[step]
	if r.Max <= r.Min {
		return r.Min
	}
	return r.Min + time.Duration(e.random(fmt.Sprintf("%s/%s", id, step)).Int64N(int64(r.Max-r.Min)))
}

// random gives the numbers that belong to something by the seed.
func (e *Engine) random(what string) *rand.Rand {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(what))
	return rand.New(rand.NewPCG(e.config.Seed, hash.Sum64()))
}

// fails is the error that a step of an instance has this time.
func (e *Engine) fails(i *instance, step Step) error {
	for n, failure := range e.config.Failures {
		matched, err := path.Match(failure.Name, i.wanted.Name)
		if failure.Step != step || failure.Name != "" && (err != nil || !matched) {
			continue
		}
		if failure.Share > 0 && e.random(fmt.Sprintf("%s/%d/failure %d", i.wanted.ID, i.wanted.Generation, n)).Float64() >= failure.Share {
			continue
		}
		if failure.Times == 0 || i.failures[n] < failure.Times {
			i.failures[n]++
			return fmt.Errorf("simulated %s of instance %s: %w", step, i.wanted.Name, failure.Err)
		}
	}
	return nil
}

// end records the end of a running instance.
func (i *instance) end(code int, reason string) {
	if i.timer != nil {
		i.timer.Stop()
	}
	i.status.Condition, i.status.ExitCode, i.status.Reason, i.status.Finished = driver.Ended, &code, reason, time.Now()
}
