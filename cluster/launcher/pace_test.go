package launcher

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// A model of an engine says how long a start takes beside others: alone a second.
var models = map[string]func(running int) float64{
	"two processors, some waiting": func(n int) float64 { return max(1, 0.3*float64(n)+0.4) },
	"one after the other":          func(n int) float64 { return float64(n) },
	"as many as there are":         func(int) float64 { return 1 },
	"a disk that is overrun":       func(n int) float64 { return math.Pow(float64(n), 1.5) },
}

// throughput is what a fixed number at a time achieves, per second.
func throughput(model func(int) float64, n int) float64 { return float64(n) / model(n) }

// With every engine the pace comes to a number at which the throughput is near what the best number achieves, or, where few are best, far from
// what the most would do.
func TestPaceComesToAGoodNumber(t *testing.T) {
	const most = 32
	for name, model := range models {
		t.Run(name, func(t *testing.T) {
			p := newPace(most)
			w := work{cluster.KindContainer, start}
			p.done(w, time.Second, 1) // the first comes alone
			for range 5000 {
				running := 0
				for p.may(running) {
					running++
				}
				p.done(w, time.Duration(model(running)*float64(time.Second)), running)
			}
			settled := int(math.Ceil(p.limit))
			best := 0.0
			for n := 1; n <= most; n++ {
				best = max(best, throughput(model, n))
			}
			got, all := throughput(model, settled), throughput(model, most)
			if got < 0.85*best && got < 2*all {
				t.Errorf("it comes to %d at a time, %.2f a second; the best number gives %.2f, %d give %.2f", settled, got, best, most, all)
			}
			if settled > 10 && name != "as many as there are" {
				t.Errorf("it comes to %d at a time, of which most wait", settled)
			}
		})
	}
}

// Neither a bound below the floor nor work of very different sizes leads out of the bounds.
func FuzzPace(f *testing.F) {
	f.Add(uint8(1), []byte{1, 200, 3})
	f.Add(uint8(64), []byte{0, 0, 255, 7})
	f.Fuzz(func(t *testing.T, most uint8, times []byte) {
		p := newPace(int(max(1, most)))
		for i, took := range times {
			p.done(work{cluster.KindVM, create}, time.Duration(took)*time.Millisecond, 1+i%int(max(1, most)))
			if p.limit < min(floor, p.most) || p.limit > p.most || math.IsNaN(p.limit) || !p.may(0) {
				t.Fatalf("after %d results the limit is %g of %g", i+1, p.limit, p.most)
			}
		}
	})
}

// Turns come in order, and a wait that is given up takes no turn with it.
func TestStartsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStarts(1)
		if err := s.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := make(chan int, 3)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("not wanted any more")
		for i, ctx := range []context.Context{t.Context(), ctx, t.Context()} {
			go func() {
				if err := s.acquire(ctx); err != nil {
					if i != 1 || !errors.Is(err, gone) {
						t.Errorf("start %d: %v", i, err)
					}
					return
				}
				got <- i
			}()
			synctest.Wait()
		}
		cancel(gone)
		synctest.Wait()
		for _, want := range []int{0, 2} {
			s.release()
			if first := <-got; first != want {
				t.Errorf("start %d has its turn, want %d", first, want)
			}
		}
		s.release()
		if s.running != 0 || len(s.waiting) != 0 {
			t.Errorf("%d run and %d wait after all have ended", s.running, len(s.waiting))
		}
	})
}
