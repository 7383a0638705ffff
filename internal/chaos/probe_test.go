package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/internal/sim/check"
)

// probe writes through the given members, a write every few milliseconds, whether the earlier ones were answered or not.
type probe struct {
	f      *fleet
	stop   context.CancelFunc
	ticker sync.WaitGroup
	writes sync.WaitGroup

	mu  sync.Mutex
	ops []*check.Operation
}

// maxProbes is how many writes without an answer a probe has under way; further ones wait.
const maxProbes = 300

func (l *load) probe(members []*box, every time.Duration) *probe {
	ctx, cancel := context.WithCancel(context.Background())
	p := &probe{f: l.f, stop: cancel}
	slots := make(chan bool, maxProbes)
	p.ticker.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case slots <- true:
			default:
				continue
			}
			b := members[i%len(members)]
			o := &check.Operation{Client: l.f.record.client(), Member: memberID(b),
				Put: &check.Put{Key: fmt.Sprintf("probe/%02d", i%50), Value: fmt.Sprint("v", l.serial.Add(1))}}
			p.mu.Lock()
			p.ops = append(p.ops, o)
			p.mu.Unlock()
			p.writes.Go(func() {
				l.f.record.perform(context.Background(), b.client, o, 5*time.Second)
				<-slots
			})
		}
	})
	return p
}

// end stops asking and waits for the answers.
func (p *probe) end() {
	p.stop()
	p.ticker.Wait()
	p.writes.Wait()
}

// now is the recorder's moment.
func (p *probe) now() time.Duration { return time.Since(p.f.record.start) }

// answers returns when those writes were answered that were asked for after a moment, in order.
func (p *probe) answers(after time.Duration) (at []time.Duration) {
	p.f.record.mu.Lock()
	defer p.f.record.mu.Unlock()
	for _, o := range p.ops {
		if o.Outcome == check.Done && o.Call.At > after {
			at = append(at, o.Return.At)
		}
	}
	slices.Sort(at)
	return at
}

// first waits until a write that was asked for after a moment is answered, and returns how long that took.
func (p *probe) first(after time.Duration) (time.Duration, bool) {
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if at := p.answers(after); len(at) > 0 {
			return at[0] - after, true
		}
		time.Sleep(time.Millisecond)
	}
	return 0, false
}

// gap is the longest time between two answers in a row, from a moment on.
func (p *probe) gap(from time.Duration) (longest time.Duration) {
	before := from
	for _, at := range p.answers(0) {
		if at > before {
			longest = max(longest, at-before)
			before = at
		}
	}
	return longest
}

// spread is what many measurements come to.
type spread []time.Duration

func (s spread) at(fraction float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Clone(s)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, int(fraction*float64(len(sorted))))]
}

// elections is a time in election timeouts.
func (f *fleet) elections(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(f.election))
}
