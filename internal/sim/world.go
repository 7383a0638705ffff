package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/assembly"
	"holdfast/internal/config"
	"holdfast/internal/kind"
	"holdfast/internal/member"
	"holdfast/internal/sim/check"
	"holdfast/internal/transport"
)

// Options say what world is made.
type Options struct {
	Members   int           // that the cluster begins with; 0 means 3
	Heartbeat time.Duration // 0 means 100 ms
	Election  time.Duration // 0 means 1 s

	// Tune changes the settings of every member; nil leaves them.
	Tune func(*config.Config)
	// Sizes are those of files; the zero value makes them small, so that everything that files do happens often.
	Sizes assembly.Sizes

	Trace  io.Writer   // gets a line for each thing that happens; nil drops them
	Logger *zap.Logger // what the members log; nil drops it
}

// World is a cluster with everything around it. Its methods belong to the driver: the function that Run was given.
type World struct {
	schedule
	t     testing.TB
	o     Options
	net   *network
	hosts []*host

	plan    *plan // nil for a script
	entries entries
	rights  rights
	cluster kind.ClusterID

	history check.History
	ops     []*check.Operation
	watches []*watcher
	open    []*asking // requests under way
	step    uint64
	trace   tracer
	problem []string // what must not happen and was seen by the world itself

	badDisks bool // a disk has failed in some way

	graves int // lives that are over and whose goroutines have not all ended
	awaits []awaited

	counts struct {
		sync.Mutex
		m map[string]int
	}
	hostsMu sync.Mutex
}

type awaited struct {
	done <-chan struct{}
	then func()
}

// Run makes a world from a seed, in a bubble of its own, and calls script in it; then the world ends. The history is what
// was observed.
func Run(t *testing.T, seed uint64, o Options, script func(w *World)) (r Result) {
	t.Helper()
	if o.Members == 0 {
		o.Members = 3
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 100 * time.Millisecond
	}
	if o.Election == 0 {
		o.Election = time.Second
	}
	bad := false
	defer func() {
		// The engine leaves goroutines behind when its disk has failed; a process would end with them, a bubble cannot.
		if p := recover(); p != nil && !(bad && strings.Contains(fmt.Sprint(p), "blocked goroutines remain")) {
			panic(p)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w := &World{t: t, o: o}
		w.init(seed)
		w.history.Seed = seed
		w.history.Cluster = check.Cluster{ElectionTimeout: o.Election, HeartbeatInterval: o.Heartbeat, RequestTimeout: 5*time.Second + 2*o.Election}
		w.counts.m = map[string]int{}
		w.entries.init()
		w.trace.init(o.Trace)
		w.net = newNetwork(w)
		w.build()
		script(w)
		w.end()
		r = w.result()
		bad = w.badDisks
	})
	return r
}

// Result is what has come of a run.
type Result struct {
	History  *check.History
	Counts   map[string]int
	Problems []string // what the world itself saw that must not happen
	Trace    uint64   // a hash of everything that happened, in order
	Events   uint64   // how many things that were
	Took     time.Duration
}

// build makes the hosts of the first members, with the ids that they will have.
func (w *World) build() {
	var first []member.Member
	for range w.o.Members {
		h := w.addHost()
		u := h.url()
		first = append(first, member.Member{Name: h.name, PeerURLs: []string{u.String()}})
	}
	cluster, made, err := member.Genesis(clusterToken, first)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cluster = cluster
	for _, h := range w.hosts {
		u := h.url()
		h.id = made[slices.IndexFunc(made, func(m member.Member) bool { return m.PeerURLs[0] == u.String() })].ID
	}
}

// addHost makes an empty host.
func (w *World) addHost() *host {
	h := &host{w: w, number: len(w.hosts), name: fmt.Sprintf("n%d", len(w.hosts)+1)}
	h.hello = transport.Hello{MachineMin: 1, MachineMax: 1, Version: "sim"}
	h.clock = newClock(h)
	h.disk = newDisk(h)
	w.hostsMu.Lock()
	w.hosts = append(w.hosts, h)
	w.hostsMu.Unlock()
	return h
}

// hostOf returns where a member lives, nil if nowhere.
func (w *World) hostOf(id kind.MemberID) *host {
	w.hostsMu.Lock()
	defer w.hostsMu.Unlock()
	for _, h := range w.hosts {
		if h.id == id && id != 0 {
			return h
		}
	}
	return nil
}

func (w *World) tune(c *config.Config) {
	if w.o.Tune != nil {
		w.o.Tune(c)
	}
}

func (w *World) sizes() assembly.Sizes {
	if w.o.Sizes != (assembly.Sizes{}) {
		return w.o.Sizes
	}
	return assembly.Sizes{SegmentBytes: 16 << 10, MemTableBytes: 1 << 20, FlushLogBytes: 24 << 10, FlushLogEntries: 150, KeepLogBytes: 48 << 10}
}

// rng returns the dice of a name.
func (w *World) rng(name string) *rand.Rand { return w.source(name).rng }

// count adds one to a counter of what has happened.
func (w *World) count(what string) { w.countMany(what, 1) }

func (w *World) countMany(what string, n int) {
	w.counts.Lock()
	w.counts.m[what] += n
	w.counts.Unlock()
}

// moment is now, and never again.
func (w *World) moment() check.Moment {
	w.step++
	return check.Moment{Step: w.step, At: w.now()}
}

// event notes what the world did to a member or saw of it.
func (w *World) event(k check.EventKind, id kind.MemberID, term kind.Term, text string) {
	w.history.Events = append(w.history.Events, check.Event{Moment: w.moment(), Kind: k, Member: id, Term: term, Text: text})
}

// wrong notes what must not happen.
func (w *World) wrong(format string, args ...any) {
	text := fmt.Sprintf("%v: ", w.now()) + fmt.Sprintf(format, args...)
	w.problem = append(w.problem, text)
	w.record("PROBLEM %s", text)
}

// record writes a line of the trace.
func (w *World) record(format string, args ...any) {
	w.trace.begin(w.now())
	w.trace.text(fmt.Sprintf(format, args...))
	w.trace.finish()
}

// await has then happen when done is closed.
func (w *World) await(done <-chan struct{}, then func()) {
	w.awaits = append(w.awaits, awaited{done, then})
}

// settle waits until nothing moves any more, and looks at what has come of it.
func (w *World) settle() {
	for {
		synctest.Wait()
		moved := false
		for i := 0; i < len(w.awaits); i++ {
			a := w.awaits[i]
			select {
			case <-a.done:
				w.awaits = slices.Delete(w.awaits, i, i+1)
				i--
				a.then()
				moved = true
			default:
			}
		}
		for _, h := range w.hosts {
			moved = w.look(h) || moved
		}
		if !moved {
			return
		}
	}
}

// Sleep lets the world go on for d.
func (w *World) Sleep(d time.Duration) { w.until(w.now()+d, func() bool { return false }) }

// Until lets the world go on until done reports true, for d at most, and reports whether it did.
func (w *World) Until(d time.Duration, done func() bool) bool { return w.until(w.now()+d, done) }

func (w *World) until(limit time.Duration, done func() bool) bool {
	for {
		w.settle()
		if done() {
			return true
		}
		e := w.next()
		now := w.now()
		if now >= limit && (e == nil || e.at > now) {
			return false
		}
		if e == nil || e.at > now {
			to := limit
			if e != nil {
				to = min(to, e.at)
			}
			w.sleep(to)
			continue
		}
		w.happen(w.take())
	}
}

// happen lets one event happen.
func (w *World) happen(e *event) {
	if l := e.life; l != nil {
		if l.state.Load() == over {
			if e.timer {
				e.do()
			}
			return
		}
		if l.host.paused {
			l.host.held = append(l.host.held, e)
			return
		}
	}
	w.trace.begin(e.at)
	w.trace.text(e.source.name)
	w.trace.number(e.number)
	w.trace.text(e.what)
	w.trace.finish()
	e.do()
}

// end ends everything.
func (w *World) end() {
	for _, h := range w.hosts {
		if l := h.life; l != nil {
			h.life.end()
			l.disk.leave()
			w.disconnect(l)
			w.net.mu.Lock()
			h.life = nil
			w.net.mu.Unlock()
			w.net.reset(h)
			w.bury(l)
		}
	}
	if !w.Until(time.Minute, func() bool { return w.graves == 0 }) {
		w.wrong("the goroutines of %d lives did not end", w.graves)
	}
}

func (w *World) result() Result {
	w.tally()
	w.history.Operations = make([]check.Operation, len(w.ops))
	for i, o := range w.ops {
		w.history.Operations[i] = *o
	}
	for _, x := range w.watches {
		w.history.Watchers = append(w.history.Watchers, x.Watcher)
	}
	return Result{&w.history, w.counts.m, w.problem, w.trace.sum, w.trace.lines, w.now()}
}
