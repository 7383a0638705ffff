package mvcc

import (
	"bytes"
	"fmt"
	"math/rand"
	"sort"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// model is a map with revisions: what mvcc must agree with. It keeps everything for ever and is in no hurry.
type model struct {
	revision, compacted kind.Revision
	keys                map[string][]fact // oldest first
}

type fact struct {
	rev, create kind.Revision
	version     int64
	lease       kind.LeaseID
	value       string
	deleted     bool
}

func newModel() *model {
	return &model{revision: FirstRevision, compacted: NeverCompacted, keys: map[string][]fact{}}
}

func (m *model) clone() *model {
	c := &model{m.revision, m.compacted, make(map[string][]fact, len(m.keys))}
	for k, v := range m.keys {
		c.keys[k] = append([]fact(nil), v...)
	}
	return c
}

func (m *model) at(key string, rev kind.Revision) (fact, bool) {
	var found fact
	for _, f := range m.keys[key] {
		if f.rev <= rev {
			found = f
		}
	}
	return found, found.rev > 0 && !found.deleted
}

// put and remove act at revision+1; the caller moves the revision at the end of the command.
func (m *model) put(key, value string, lease kind.LeaseID) {
	rev := m.revision + 1
	f := fact{rev: rev, create: rev, version: 1, lease: lease, value: value}
	if prev, ok := m.at(key, rev); ok {
		f.create, f.version = prev.create, prev.version+1
	}
	m.set(key, f)
}

func (m *model) set(key string, f fact) {
	facts := m.keys[key]
	if n := len(facts); n > 0 && facts[n-1].rev == f.rev {
		facts = facts[:n-1]
	}
	m.keys[key] = append(facts, f)
}

func (m *model) remove(iv command.Interval) (n int64) {
	rev := m.revision + 1
	for _, key := range m.sorted(iv) {
		if _, ok := m.at(key, rev); ok {
			m.set(key, fact{rev: rev, deleted: true})
			n++
		}
	}
	return n
}

func (m *model) sorted(iv command.Interval) (keys []string) {
	for k := range m.keys {
		if iv.Contains([]byte(k)) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys
}

// answer is the RangeResponse that etcd would give, without its header. head is the revision it would carry.
func (m *model) answer(r command.Range, head kind.Revision) (*etcdserverpb.RangeResponse, error) {
	rev := r.Revision
	switch {
	case rev <= 0:
		rev = head
	case rev > head:
		return nil, ErrFutureRevision
	case rev < m.compacted:
		return nil, ErrCompacted
	}
	var all []*mvccpb.KeyValue
	for _, key := range m.sorted(r.Interval) {
		if f, ok := m.at(key, rev); ok {
			kv := &mvccpb.KeyValue{Key: []byte(key), CreateRevision: int64(f.create), ModRevision: int64(f.rev), Version: f.version, Lease: int64(f.lease)}
			if f.value != "" {
				kv.Value = []byte(f.value)
			}
			all = append(all, kv)
		}
	}
	out := &etcdserverpb.RangeResponse{Count: int64(len(all))}
	if r.CountOnly {
		return out, nil
	}
	filters := r.MinMod != 0 || r.MaxMod != 0 || r.MinCreate != 0 || r.MaxCreate != 0
	if r.Order == command.OrderNone && !filters && r.Limit > 0 && int64(len(all)) > r.Limit+1 {
		all = all[:r.Limit+1]
	}
	kept := all[:0:0]
	for _, kv := range all {
		mod, create := kind.Revision(kv.ModRevision), kind.Revision(kv.CreateRevision)
		if (r.MinMod == 0 || mod >= r.MinMod) && (r.MaxMod == 0 || mod <= r.MaxMod) &&
			(r.MinCreate == 0 || create >= r.MinCreate) && (r.MaxCreate == 0 || create <= r.MaxCreate) {
			kept = append(kept, kv)
		}
	}
	by := sort.Interface(&kvSort{kept, r.Target})
	switch {
	case r.Order == command.OrderDescend:
		sort.Sort(sort.Reverse(by))
	case r.Target != command.TargetKey:
		sort.Sort(by)
	}
	if r.Limit > 0 && int64(len(kept)) > r.Limit {
		kept, out.More = kept[:r.Limit], true
	}
	for _, kv := range kept {
		kv = proto.Clone(kv).(*mvccpb.KeyValue)
		if r.KeysOnly {
			kv.Value = nil
			if r.Target != command.TargetValue {
				kv.Lease = 0
			}
		}
		out.Kvs = append(out.Kvs, kv)
	}
	return out, nil
}

type kvSort struct {
	kvs    []*mvccpb.KeyValue
	target command.Target
}

func (s *kvSort) Len() int      { return len(s.kvs) }
func (s *kvSort) Swap(i, j int) { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s *kvSort) Less(i, j int) bool {
	a, b := s.kvs[i], s.kvs[j]
	switch s.target {
	case command.TargetVersion:
		return a.Version < b.Version
	case command.TargetCreate:
		return a.CreateRevision < b.CreateRevision
	case command.TargetMod:
		return a.ModRevision < b.ModRevision
	case command.TargetValue:
		return bytes.Compare(a.Value, b.Value) < 0
	}
	return bytes.Compare(a.Key, b.Key) < 0
}

// The random choices of the tests: few keys, some of them adversarial for the order of the store.
var testKeys = func() (keys []string) {
	keys = append(keys, "a", "a\x00", "a\x00\x00", "a\x01", "a\x09", "a\x00\x09", "b", "\x00", "\x00\x09", "\xff", "\xff\xff", "z")
	for i := range 18 {
		keys = append(keys, fmt.Sprintf("k%02d", i))
	}
	return keys
}()

func randomKey(r *rand.Rand) []byte { return []byte(testKeys[r.Intn(len(testKeys))]) }

func randomInterval(r *rand.Rand) command.Interval {
	switch r.Intn(6) {
	case 0:
		return command.NewInterval(randomKey(r), nil)
	case 1:
		return command.NewInterval(randomKey(r), []byte{0})
	case 2:
		return command.NewInterval([]byte{0}, []byte{0})
	case 3:
		return command.NewInterval([]byte("k"), []byte("l"))
	default:
		return command.NewInterval(randomKey(r), randomKey(r))
	}
}

func randomRange(r *rand.Rand, current kind.Revision) command.Range {
	q := command.Range{Interval: randomInterval(r)}
	if r.Intn(3) == 0 {
		q.Limit = int64(r.Intn(9) - 1)
	}
	if r.Intn(2) == 0 {
		q.Revision = current - kind.Revision(r.Intn(12)-1)
	}
	if r.Intn(3) == 0 {
		q.Order, q.Target = command.Order(r.Intn(3)), command.Target(r.Intn(5))
	}
	q.KeysOnly = r.Intn(5) == 0
	q.CountOnly = r.Intn(8) == 0
	if r.Intn(4) == 0 {
		near := func() kind.Revision { return current - kind.Revision(r.Intn(15)-2) }
		for _, f := range []*kind.Revision{&q.MinMod, &q.MaxMod, &q.MinCreate, &q.MaxCreate} {
			if r.Intn(3) == 0 {
				*f = near()
			}
		}
	}
	return q
}
