package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// groups is how many groups of keys there are. An operation touches keys of one group, so that the search for an order of
// all operations falls into that many parts.
const groups = 40

// load is clients and watchers at work.
type load struct {
	f       *fleet
	stop    []context.CancelFunc // of the clients, then of the watchers
	clients sync.WaitGroup
	group   sync.WaitGroup // the watchers
	serial  atomic.Int64
	leases  atomic.Int64
	witness *clientv3.Client
	watched []*check.Watcher // those that are open at the end
	mu      sync.Mutex
}

// work starts clients, each of which speaks to one member and asks about every second for perSecond operations, and watchers.
func (f *fleet) work(seed uint64, clients, perSecond int) *load {
	asking, stopAsking := context.WithCancel(context.Background())
	ctx, stopWatching := context.WithCancel(context.Background())
	l := &load{f: f, stop: []context.CancelFunc{stopAsking, stopWatching}}
	f.t.Cleanup(l.end)
	l.witness = f.connect(f.endpoints()...)
	l.group.Go(func() { l.watch(ctx, l.witness, check.Watcher{Key: "\x00", End: "\x00", Start: 1}, true) })
	for i := range clients {
		b := f.members[i%len(f.members)]
		client := f.connect(b.Endpoint())
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		l.clients.Go(func() { l.client(asking, client, b, rng, time.Second/time.Duration(perSecond), i == 0) })
	}
	for i := range f.members {
		// It begins at one member and goes over to another when that is gone.
		client := f.connect(append(f.endpoints()[i:], f.endpoints()[:i]...)...)
		w := check.Watcher{Key: name(i), End: name(i + 4), PrevKV: i%2 == 0, NoPut: i%3 == 2}
		l.group.Go(func() { l.watch(ctx, client, w, false) })
	}
	return l
}

// end ends clients and watchers.
func (l *load) end() {
	l.stop[0]()
	l.clients.Wait()
	l.stop[1]()
	l.group.Wait()
}

func name(group int) string { return fmt.Sprintf("g%02d/", group) }

// client asks for one operation after the other.
func (l *load) client(ctx context.Context, c *clientv3.Client, b *box, rng *rand.Rand, pause time.Duration, compacts bool) {
	number := l.f.record.client()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	k := &known{mods: map[string]int64{}}
	for i := 1; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		o := l.draw(rng, k)
		if compacts && i%100 == 0 {
			// Not beyond what the witness has been given: it is to see everything.
			if at := l.f.record.seen.Load() - 50; at > k.compacted {
				k.compacted = at
				o = &check.Operation{Compact: &check.Compact{Revision: kind.Revision(at)}}
			}
		}
		if b.gone.Load() {
			return
		}
		o.Client, o.Member = number, memberID(b)
		l.f.record.perform(context.Background(), c, o, 3*time.Second)
		k.learn(o)
		if o.Outcome == check.Unknown {
			number = l.f.record.client()
		}
	}
}

// known is what a client has been told.
type known struct {
	mods      map[string]int64
	revision  int64
	compacted int64
	lease     kind.LeaseID
}

func (k *known) learn(o *check.Operation) {
	if o.Outcome != check.Done {
		if o.KeepAlive != nil || o.Put != nil && o.Put.Lease != 0 {
			k.lease = 0
		}
		return
	}
	switch {
	case o.Range != nil:
		for _, kv := range o.Range.Result.KVs {
			k.mods[kv.Key] = int64(kv.ModRevision)
		}
		k.revision = max(k.revision, int64(o.Range.Result.Revision))
	case o.Put != nil:
		k.mods[o.Put.Key] = int64(o.Put.Result.Revision)
		k.revision = max(k.revision, int64(o.Put.Result.Revision))
	case o.Grant != nil:
		k.lease = o.Grant.ID
	case o.KeepAlive != nil && o.KeepAlive.Result.TTL <= 0, o.Revoke != nil:
		k.lease = 0
	}
}

// draw makes a random operation.
func (l *load) draw(rng *rand.Rand, k *known) *check.Operation {
	g := name(rng.IntN(groups))
	key := func() string { return g + string(rune('a'+rng.IntN(5))) }
	value := fmt.Sprint("v", l.serial.Add(1))
	o := &check.Operation{}
	switch p := rng.IntN(100); {
	case p < 28:
		o.Put = &check.Put{Key: key(), Value: value, PrevKV: p < 6}
	case p < 32 && k.lease != 0:
		o.Put = &check.Put{Key: key(), Value: value, Lease: k.lease}
	case p < 38:
		o.Delete = &check.Delete{Key: key(), PrevKV: p < 35}
	case p < 41:
		o.Delete = &check.Delete{Key: g + "b", End: g + "d"}
	case p < 55:
		a := key()
		o.Txn = &check.Txn{Compares: []check.Compare{{Key: a, Target: check.CompareMod, Sign: '=', Number: k.mods[a]}},
			Then: []check.TxnOp{{Put: &check.Put{Key: a, Value: value}}, {Put: &check.Put{Key: g + "z", Value: value}}},
			Else: []check.TxnOp{{Range: &check.Range{Key: a}}, {Put: &check.Put{Key: g + "y", Value: value}}}}
	case p < 72:
		o.Range = &check.Range{Key: key()}
	case p < 80:
		o.Range = &check.Range{Key: g, End: g + "~", Limit: int64(rng.IntN(2) * 3)}
	case p < 90:
		o.Range = &check.Range{Key: g, End: g + "~", Serializable: true}
	case p < 94 && k.revision > 10:
		o.Range = &check.Range{Key: g, End: g + "~", Revision: kind.Revision(k.revision - int64(rng.IntN(10)))}
	case k.lease == 0:
		o.Grant = &check.Grant{ID: kind.LeaseID(l.leases.Add(1)), TTL: int64(2 + rng.IntN(4))}
	case p == 99:
		o.Revoke = &check.Revoke{ID: k.lease}
	case p == 98:
		o.Remaining = &check.Remaining{ID: k.lease}
	default:
		o.KeepAlive = &check.KeepAlive{ID: k.lease}
	}
	return o
}

// watch keeps a watcher going, over the ends of its streams, until ctx ends.
func (l *load) watch(ctx context.Context, c *clientv3.Client, template check.Watcher, witness bool) {
	resumes, start := -1, template.Start
	for ctx.Err() == nil {
		w := template
		w.Resumes, w.Start = resumes, start
		l.f.record.watcher(&w)
		stream, cancel := context.WithCancel(ctx)
		options := []clientv3.OpOption{clientv3.WithRange(w.End), clientv3.WithCreatedNotify(), clientv3.WithProgressNotify()}
		if w.Start != 0 {
			options = append(options, clientv3.WithRev(int64(w.Start)))
		}
		if w.PrevKV {
			options = append(options, clientv3.WithPrevKV())
		}
		if w.NoPut {
			options = append(options, clientv3.WithFilterPut())
		}
		progress := time.NewTicker(500 * time.Millisecond)
		responses := c.Watch(stream, w.Key, options...)
		next, compacted := l.follow(ctx, stream, c, &w, responses, progress.C, witness)
		progress.Stop()
		cancel()
		if ctx.Err() != nil {
			l.mu.Lock()
			l.watched = append(l.watched, &w)
			l.mu.Unlock()
			return
		}
		l.f.record.ended(&w)
		switch {
		case compacted != 0:
			resumes, start = -1, compacted
		case next != 0:
			resumes, start = w.ID, next
		}
	}
}

// follow records what a watcher is given until its stream ends. next is the revision to watch on from, 0 if the watcher was
// never made.
func (l *load) follow(ctx, stream context.Context, c *clientv3.Client, w *check.Watcher, responses clientv3.WatchChan, progress <-chan time.Time, witness bool) (next, compacted kind.Revision) {
	next = w.Start
	for {
		select {
		case <-ctx.Done():
			return next, 0
		case <-progress:
			if w.ID%2 == 0 {
				_ = c.RequestProgress(stream) // It fails only if the stream has ended, which is seen below.
			}
		case r, open := <-responses:
			if !open {
				return next, 0
			}
			out := check.WatchResponse{Revision: kind.Revision(r.Header.Revision), Created: r.Created, Canceled: r.Canceled,
				CompactRevision: kind.Revision(r.CompactRevision), Progress: r.IsProgressNotify()}
			if r.Canceled && r.CompactRevision == 0 {
				return next, 0 // It is the client that ends a stream whose member is gone.
			}
			for _, e := range r.Events {
				event := check.WatchEvent{Delete: e.Type == clientv3.EventTypeDelete, KV: row(e.Kv)}
				if e.PrevKv != nil {
					before := row(e.PrevKv)
					event.Prev = &before
				}
				out.Events = append(out.Events, event)
			}
			l.f.record.response(w, out)
			switch {
			case r.Canceled:
				return next, kind.Revision(r.CompactRevision)
			case r.Created && next == 0:
				next = kind.Revision(r.Header.Revision) + 1
			case len(r.Events) > 0:
				next = kind.Revision(r.Events[len(r.Events)-1].Kv.ModRevision) + 1
			}
			if witness && next > 0 {
				l.f.record.seen.Store(int64(next) - 1)
			}
		}
	}
}

// settling is how many election timeouts after the last fault the cluster has to work as if there had been none.
const settling = 10

// finish lets the clients work on for a while after the last fault, ends them, waits until the members are at one revision
// and the watchers have been given everything up to it, and has all that happened judged.
func (l *load) finish() {
	f := l.f
	f.t.Helper()
	f.leader()
	f.record.event(check.Healed, nil, "")
	f.pass(settling*f.election + time.Second)
	l.stop[0]()
	l.clients.Wait()
	// Every watcher gets a last event: a key of each group is deleted and put.
	c := f.leader().client
	var last kind.Revision
	for g := range groups {
		for _, o := range []*check.Operation{
			{Put: &check.Put{Key: name(g) + "a", Value: fmt.Sprint("v", l.serial.Add(1))}},
			{Delete: &check.Delete{Key: name(g) + "a"}},
		} {
			o.Client = f.record.client()
			f.record.perform(context.Background(), c, o, 10*time.Second)
			if o.Outcome != check.Done {
				f.t.Errorf("at the end: %v: %s", o, o.Error)
			}
			if o.Delete != nil && o.Delete.Result != nil {
				last = o.Delete.Result.Revision
			}
		}
	}
	l.caughtUp(last)
	l.end()
	for _, w := range l.watched {
		w.CaughtUpTo = last
	}
	l.finals()
	f.record.judge(f.t)
}

// caughtUp waits until every watcher has been given its last event: whoever watches a group has been given something at or
// after the last write to the first group, which every watcher's interval lies behind.
func (l *load) caughtUp(last kind.Revision) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		behind := ""
		l.f.record.mu.Lock()
		for _, w := range l.f.record.watchers {
			if w.Ended != (check.Moment{}) {
				continue
			}
			var at kind.Revision
			for _, r := range w.Responses {
				if r.Progress || len(r.Events) > 0 {
					at = max(at, r.Revision)
				}
			}
			// The last two writes of the groups, in order, are the last that anybody waits for.
			if at < last-2*groups {
				behind = fmt.Sprintf("%v is at %d", w, at)
			}
		}
		l.f.record.mu.Unlock()
		if behind == "" && kind.Revision(l.f.record.seen.Load()) >= last {
			return
		}
		if time.Now().After(deadline) {
			l.f.t.Errorf("watchers have not been given everything up to %d: the witness is at %d; %s", last, l.f.record.seen.Load(), behind)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// finals reads what every member holds, once all stand at one revision.
func (l *load) finals() {
	f := l.f
	deadline := time.Now().Add(30 * time.Second)
	for {
		var finals []check.Final
		same := true
		for _, b := range f.live() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			r, err := b.client.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithSerializable())
			cancel()
			if err != nil {
				f.t.Errorf("read all of member %s: %v", b.name, err)
				return
			}
			final := check.Final{Live: rows(r.Kvs)}
			final.Member, final.Revision, final.LiveKeys = memberID(b), kind.Revision(r.Header.Revision), int64(len(r.Kvs))
			finals = append(finals, final)
			same = same && final.Revision == finals[0].Revision
		}
		if same {
			f.record.finals = finals
			return
		}
		if time.Now().After(deadline) {
			f.t.Errorf("the members do not come to one revision: %v", finals)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
