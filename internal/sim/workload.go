package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// workload is the clients of a run. Each has one request under way at a time; after one whose fate it does not know it
// goes on under another number.
type workload struct {
	w       *World
	keys    int
	think   time.Duration // a client waits up to so long before it asks again
	stopped bool
	busy    int // requests under way
	clients int // numbers given
	values  int // given: no value is written twice
	leases  int
	latest  kind.Revision // that any answer has shown
}

func newWorkload(w *World, keys int, think time.Duration) *workload {
	return &workload{w: w, keys: keys, think: think}
}

// someone is one client.
type someone struct {
	*workload
	number int
	user   string // empty: root, or whoever one is while auth is off
	home   *host
	rng    *rand.Rand
	source *source
}

func (l *workload) someone(name string) *someone {
	s := &someone{workload: l, source: l.w.source("someone " + name)}
	s.rng = s.source.rng
	s.home = l.w.hosts[s.rng.IntN(len(l.w.hosts))]
	s.anew()
	return s
}

func (s *someone) anew() {
	s.workload.clients++
	s.number = s.workload.clients
	if s.w.rights.on {
		s.w.rights.users[s.number] = s.user
	}
}

// become says as whom one asks from now on, if auth is on.
func (s *someone) become(user string) {
	s.user = user
	s.anew()
}

// ask sends a request to the client's member; then comes after the answer and some thinking.
func (s *someone) ask(op *check.Operation, then func(*check.Operation)) {
	s.busy++
	s.w.Ask(s.home, s.number, op, func(op *check.Operation) {
		s.busy--
		s.learn(op)
		if op.Outcome == check.Unknown {
			s.anew()
		}
		if op.Code == "Unavailable" || op.Code == "DeadlineExceeded" || s.rng.IntN(40) == 0 {
			s.home = s.w.hosts[s.rng.IntN(len(s.w.hosts))]
		}
		s.rest(s.think, func() { then(op) })
	})
}

// rest has something done after up to d, unless the workload has stopped by then.
func (s *someone) rest(d time.Duration, do func()) {
	s.source.after(s.source.between(time.Millisecond, d), nil, "goes on", func() {
		if !s.stopped {
			do()
		}
	})
}

func (l *workload) learn(op *check.Operation) {
	if op.Outcome != check.Done {
		return
	}
	switch {
	case op.Range != nil:
		l.latest = max(l.latest, op.Range.Result.Revision)
	case op.Put != nil:
		l.latest = max(l.latest, op.Put.Result.Revision)
	case op.Txn != nil:
		l.latest = max(l.latest, op.Txn.Result.Revision)
	case op.Delete != nil:
		l.latest = max(l.latest, op.Delete.Result.Revision)
	}
}

func (l *workload) value() string {
	l.values++
	return fmt.Sprintf("v%d", l.values)
}

func (s *someone) key() string { return fmt.Sprintf("k%d", s.rng.IntN(s.keys)) }

// end of the keys "k…", and of all keys.
const (
	keysEnd = "l"
	allEnd  = "\x00"
)

// start lets clients of every kind begin.
func (l *workload) start(clients, tenants, watchers int) {
	for i := range clients {
		s := l.someone(fmt.Sprint("client ", i))
		s.become(worker)
		s.rest(l.think, s.work)
	}
	if l.w.rights.on {
		for _, user := range []string{stranger, nobody} {
			s := l.someone(user)
			s.become(user)
			s.rest(l.think, s.trespass)
		}
	}
	for i := range tenants {
		s := l.someone(fmt.Sprint("tenant ", i))
		s.become(worker)
		s.rest(l.think, s.rent)
	}
	for i := range watchers {
		s := l.someone(fmt.Sprint("watching ", i))
		s.rest(l.think, func() { s.watch(i) })
	}
	s := l.someone("keeper")
	s.rest(500*time.Millisecond, s.compact)
	s = l.someone("admin")
	s.rest(time.Second, s.administer)
}

// work asks for one thing after another.
func (s *someone) work() {
	s.ask(s.request(), func(*check.Operation) { s.work() })
}

func (s *someone) request() *check.Operation {
	switch n := s.rng.IntN(100); {
	case n < 34:
		return &check.Operation{Put: s.put()}
	case n < 56:
		return &check.Operation{Range: &check.Range{Key: s.key()}}
	case n < 62:
		return &check.Operation{Range: &check.Range{Key: "k", End: keysEnd}}
	case n < 66:
		return &check.Operation{Range: &check.Range{Key: s.key(), Serializable: true}}
	case n < 69:
		old := s.latest - kind.Revision(s.rng.IntN(30))
		if old <= 0 {
			old = 0
		}
		return &check.Operation{Range: &check.Range{Key: "k", End: keysEnd, Revision: old, Serializable: s.rng.IntN(2) == 0}}
	case n < 76:
		return &check.Operation{Delete: &check.Delete{Key: s.key(), PrevKV: s.rng.IntN(2) == 0}}
	case n < 81:
		return &check.Operation{Grant: &check.Grant{ID: takenLease, TTL: 2}}
	case n < 83:
		return &check.Operation{Delete: &check.Delete{Key: "k", End: "k3", PrevKV: true}}
	default:
		return &check.Operation{Txn: s.txn()}
	}
}

func (s *someone) put() *check.Put {
	value := s.value()
	if s.rng.IntN(4) == 0 {
		value += string(make([]byte, s.rng.IntN(2000)))
	}
	return &check.Put{Key: s.key(), Value: value, PrevKV: s.rng.IntN(4) == 0}
}

// txn is one of the shapes that programs use: create if absent, compare and swap, move between two keys.
func (s *someone) txn() *check.Txn {
	a, b := s.key(), s.key()
	switch s.rng.IntN(4) {
	case 0:
		return &check.Txn{
			Compares: []check.Compare{{Key: a, Target: check.CompareCreate, Sign: '=', Number: 0}},
			Then:     []check.TxnOp{{Put: &check.Put{Key: a, Value: s.value()}}},
			Else:     []check.TxnOp{{Range: &check.Range{Key: a}}, {Delete: &check.Delete{Key: a, PrevKV: true}}},
		}
	case 1:
		return &check.Txn{
			Compares: []check.Compare{{Key: a, Target: check.CompareVersion, Sign: '>', Number: int64(s.rng.IntN(4))}},
			Then:     []check.TxnOp{{Range: &check.Range{Key: a}}, {Put: &check.Put{Key: a, Value: s.value()}}},
			Else:     []check.TxnOp{{Range: &check.Range{Key: "k", End: keysEnd}}},
		}
	case 2:
		if a == b {
			b += "x"
		}
		return &check.Txn{
			Compares: []check.Compare{{Key: a, Target: check.CompareMod, Sign: '<', Number: int64(s.latest) + 1}},
			Then: []check.TxnOp{{Put: &check.Put{Key: a, Value: s.value()}}, {Put: &check.Put{Key: b, Value: s.value()}},
				{Range: &check.Range{Key: a}}},
			Else: []check.TxnOp{{Delete: &check.Delete{Key: b}}},
		}
	default:
		return &check.Txn{Then: []check.TxnOp{{Range: &check.Range{Key: a}}, {Range: &check.Range{Key: b}}}}
	}
}

// rent lives with a lease: it takes one, hangs keys on it, keeps it alive for a while, and lets it go or forgets it.
func (s *someone) rent() {
	s.leases++
	id := kind.LeaseID(s.leases)
	ttl := int64(1 + s.rng.IntN(3))
	s.ask(&check.Operation{Grant: &check.Grant{ID: id, TTL: ttl}}, func(op *check.Operation) {
		if op.Outcome != check.Done {
			s.rent()
			return
		}
		key := fmt.Sprintf("l%d", id)
		s.ask(&check.Operation{Put: &check.Put{Key: key, Value: s.value(), Lease: id}}, func(*check.Operation) {
			s.keep(id, s.rng.IntN(5))
		})
	})
}

func (s *someone) keep(id kind.LeaseID, times int) {
	switch {
	case times > 0:
		s.ask(&check.Operation{KeepAlive: &check.KeepAlive{ID: id}}, func(op *check.Operation) {
			if op.Outcome == check.Done && op.KeepAlive.Result.TTL <= 0 {
				s.rent()
				return
			}
			s.rest(600*time.Millisecond, func() { s.keep(id, times-1) })
		})
	case s.rng.IntN(3) == 0:
		s.ask(&check.Operation{Revoke: &check.Revoke{ID: id}}, func(*check.Operation) { s.rent() })
	default:
		s.ask(&check.Operation{Remaining: &check.Remaining{ID: id}}, func(*check.Operation) { s.rent() })
	}
}

// compact compacts now and then.
func (s *someone) compact() {
	to := s.latest - kind.Revision(s.rng.IntN(25))
	if to < 2 {
		s.rest(500*time.Millisecond, s.compact)
		return
	}
	s.ask(&check.Operation{Compact: &check.Compact{Revision: to}}, func(*check.Operation) {
		s.rest(1500*time.Millisecond, s.compact)
	})
}

// administer changes users and roles.
func (s *someone) administer() {
	name := fmt.Sprint("u", s.rng.IntN(3))
	what := []string{"user add " + name, "user delete " + name, "role add " + name, "grant " + name + " " + name, "allow " + name + " a z"}
	s.ask(&check.Operation{Auth: &check.Auth{What: what[s.rng.IntN(len(what))]}}, func(*check.Operation) {
		s.rest(800*time.Millisecond, s.administer)
	})
}

// watch watches. The first watcher of a run watches everything from the beginning, the others what the dice say.
func (s *someone) watch(i int) {
	var r check.Watcher
	var slow time.Duration
	r.Resumes = -1
	switch {
	case i == 0:
		r.Key, r.End, r.Start = "\x00", allEnd, 1
	case i == 1:
		r.Key, r.End = "k", keysEnd
		r.PrevKV = true
		slow = 150 * time.Millisecond
	default:
		r.Key = s.key()
		r.End = []string{"", keysEnd}[s.rng.IntN(2)]
		r.Start = max(0, s.latest-kind.Revision(s.rng.IntN(40)))
		r.NoPut = s.rng.IntN(6) == 0
		r.NoDelete = !r.NoPut && s.rng.IntN(6) == 0
		slow = []time.Duration{0, 60 * time.Millisecond}[s.rng.IntN(2)]
	}
	s.watchOn(r, slow, i < 2)
}

func (s *someone) watchOn(r check.Watcher, slow time.Duration, forEver bool) {
	x := s.w.Watch(s.home, s.number, r, slow, func(x *watcher) {
		s.home = s.w.hosts[s.rng.IntN(len(s.w.hosts))]
		next, _ := x.next()
		s.source.after(s.source.between(time.Millisecond, 300*time.Millisecond), nil, "watches on", func() { s.watchOn(next, slow, forEver) })
	})
	if !forEver && s.rng.IntN(3) == 0 {
		// It goes away by itself after a while, and something else is watched, perhaps from long ago.
		s.rest(4*time.Second, func() {
			x.then = nil
			x.finish("the client has gone")
			s.watch(2 + s.rng.IntN(2))
		})
	}
}

// openWatchers returns the watchers whose stream is open.
func (w *World) openWatchers() []*watcher {
	return slices.DeleteFunc(slices.Clone(w.watches), func(x *watcher) bool { return x.life == nil })
}
