package launcher_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/simulate"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// takes is an engine with the pace of a real one, so that what the launcher adds can be seen beside it.
var takes = map[simulate.Step]simulate.Range{
	simulate.Create: {Min: 10 * time.Millisecond, Max: 20 * time.Millisecond},
	simulate.Start:  {Min: 20 * time.Millisecond, Max: 40 * time.Millisecond},
}

// BenchmarkFifty is from 50 starts sent by the controller to 50 reports of active, over loopback, with records on disk. The limit is the
// same engine driven by eight bare goroutines.
func BenchmarkFifty(b *testing.B) {
	b.Run("launcher", func(b *testing.B) {
		w := newWorld(b)
		n := w.node()
		n.drivers = []driver.Driver{simulate.New(simulate.NewEngine(simulate.Config{Takes: takes}))}
		n.run()
		for b.Loop() {
			starts := fifty()
			for _, s := range starts {
				w.send(ssntp.Start, n.id.String(), s)
			}
			w.all(starts, cluster.Active)
			b.StopTimer()
			for _, s := range starts {
				w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: s.Instance, Generation: 1})
			}
			w.all(starts, cluster.Gone)
			b.StartTimer()
		}
		b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/50")
	})
	b.Run("bare engine", func(b *testing.B) {
		d := simulate.New(simulate.NewEngine(simulate.Config{Takes: takes}))
		for b.Loop() {
			bare(b, d, fifty())
		}
		b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/50")
	})
}

func fifty() []payload.Start {
	starts := make([]payload.Start, 50)
	for i := range starts {
		starts[i] = newStart(1)
		starts[i].Spec.Requirements.VCPUs = 100
	}
	return starts
}

func (w *world) all(starts []payload.Start, state cluster.State) {
	w.Helper()
	w.eventually("all to be "+string(state), func() bool {
		for _, s := range starts {
			if w.states[s.Instance].State != state {
				return false
			}
		}
		return true
	})
}

func bare(b *testing.B, d driver.Driver, starts []payload.Start) {
	work := make(chan payload.Start)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for s := range work {
				i := driver.Instance{ID: s.Instance, Generation: 1, Name: s.Name, Kind: s.Kind, Spec: s.Spec}
				if err := d.Create(context.Background(), i, nil); err != nil {
					b.Error(err)
				}
				if err := d.Start(context.Background(), s.Instance); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for _, s := range starts {
		work <- s
	}
	close(work)
	workers.Wait()
}

// Thousands of simulated instances in one launcher: created, counted, listed in parts, and deleted.
func TestThousands(t *testing.T) {
	const count = 2000
	w := newWorld(t)
	n := w.node()
	n.drivers = []driver.Driver{simulate.New(simulate.NewEngine(simulate.Config{}))}
	n.config = roomy
	n.run()
	starts := make([]payload.Start, count)
	for i := range starts {
		starts[i] = newStart(1)
		starts[i].Spec.Requirements = cluster.Requirements{VCPUs: 10, MemoryMiB: 6, Pids: 1}
		w.send(ssntp.Start, n.id.String(), starts[i])
	}
	w.all(starts, cluster.Active)
	w.send(ssntp.RequestInventory, n.id.String(), struct{}{})
	w.eventually("all parts of the inventory", func() bool {
		last := w.listed[len(w.listed)-1]
		return last.Parts == count/500 && last.Part == last.Parts-1 && last.Node.Allocated.MemoryMiB == 6*count
	})
	for _, s := range starts {
		w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: s.Instance, Generation: 1})
	}
	w.all(starts, cluster.Gone)
}
