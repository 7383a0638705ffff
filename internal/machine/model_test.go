package machine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

// model is the whole machine said with a map per revision: slow, small, and written without a look at the other.
type model struct {
	revision, compacted int64
	states              []map[string]*mvccpb.KeyValue // by revision
	work                map[string]*mvccpb.KeyValue   // of the command under way
	changed             bool
}

func newModel() *model {
	return &model{revision: 1, compacted: -1, states: []map[string]*mvccpb.KeyValue{{}, {}}}
}

func (m *model) at() int64 {
	if m.changed {
		return m.revision + 1
	}
	return m.revision
}

func (m *model) inside(state map[string]*mvccpb.KeyValue, i command.Interval) (list []*mvccpb.KeyValue) {
	for key, kv := range state {
		if i.Contains([]byte(key)) {
			list = append(list, kv)
		}
	}
	sort.Slice(list, func(a, b int) bool { return bytes.Compare(list[a].Key, list[b].Key) < 0 })
	return list
}

func (m *model) execute(c any) (response proto.Message, err error) {
	m.work, m.changed = make(map[string]*mvccpb.KeyValue), false
	for key, kv := range m.states[m.revision] {
		m.work[key] = kv
	}
	switch c := c.(type) {
	case *command.Put:
		if err = m.checkPut(c); err == nil {
			response = m.put(c)
		}
	case *command.DeleteRange:
		response = m.delete(c)
	case *command.Txn:
		if err = c.Check(128); err == nil {
			path := map[*command.Txn]bool{}
			m.decide(c, path)
			if err = m.check(c, path); err == nil {
				response = m.txn(c, path)
			}
		}
	case *command.Compaction:
		switch r := int64(c.Revision); {
		case r <= m.compacted:
			err = mvcc.ErrCompacted
		case r > m.revision:
			err = mvcc.ErrFutureRevision
		default:
			m.compacted = r
			response = &pb.CompactionResponse{}
		}
	}
	if m.changed {
		m.revision++
		m.states = append(m.states, m.work)
	}
	return response, err
}

func (m *model) checkPut(p *command.Put) error {
	if p.Lease != 0 {
		return ErrLeaseNotFound
	}
	if (p.IgnoreValue || p.IgnoreLease) && m.states[m.revision][string(p.Key)] == nil {
		return command.ErrKeyNotFound
	}
	return nil
}

func (m *model) put(p *command.Put) *pb.PutResponse {
	prev := m.work[string(p.Key)]
	m.changed = true
	kv := &mvccpb.KeyValue{Key: p.Key, Value: p.Value, ModRevision: m.at(), CreateRevision: m.at(), Version: 1}
	if prev != nil {
		kv.CreateRevision, kv.Version = prev.CreateRevision, prev.Version+1
		if p.IgnoreValue {
			kv.Value = prev.Value
		}
	}
	m.work[string(p.Key)] = kv
	response := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: m.at()}}
	if p.PrevKV {
		response.PrevKv = prev
	}
	return response
}

func (m *model) delete(d *command.DeleteRange) *pb.DeleteRangeResponse {
	response := &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{}}
	for _, kv := range m.inside(m.work, d.Interval) {
		delete(m.work, string(kv.Key))
		m.changed = true
		response.Deleted++
		if d.PrevKV {
			response.PrevKvs = append(response.PrevKvs, kv)
		}
	}
	response.Header.Revision = m.at()
	return response
}

func (m *model) branch(t *command.Txn, path map[*command.Txn]bool) []command.Op {
	if path[t] {
		return t.Success
	}
	return t.Failure
}

func (m *model) decide(t *command.Txn, path map[*command.Txn]bool) {
	path[t] = true
	for i := range t.Compares {
		c := &t.Compares[i]
		rows := m.inside(m.work, c.Interval)
		if len(rows) == 0 {
			if c.Target == command.CompareValue {
				path[t] = false
				continue
			}
			rows = []*mvccpb.KeyValue{{}}
		}
		for _, kv := range rows {
			order := 0
			number := map[command.CompareTarget]int64{command.CompareVersion: kv.Version, command.CompareCreate: kv.CreateRevision,
				command.CompareMod: kv.ModRevision, command.CompareLease: kv.Lease}[c.Target] - c.Number
			if c.Target == command.CompareValue {
				number = int64(bytes.Compare(kv.Value, c.Value))
			}
			if number < 0 {
				order = -1
			} else if number > 0 {
				order = 1
			}
			ok := map[command.CompareResult]bool{command.Equal: order == 0, command.NotEqual: order != 0,
				command.Less: order < 0, command.Greater: order > 0}[c.Result]
			path[t] = path[t] && ok
		}
	}
	for _, o := range m.branch(t, path) {
		if o.Txn != nil {
			m.decide(o.Txn, path)
		}
	}
}

func (m *model) check(t *command.Txn, path map[*command.Txn]bool) error {
	var gone []command.Interval
	return m.checkBranch(t, path, &gone)
}

func (m *model) checkBranch(t *command.Txn, path map[*command.Txn]bool, gone *[]command.Interval) error {
	for _, o := range m.branch(t, path) {
		switch {
		case o.Range != nil:
			switch r := int64(o.Range.Revision); {
			case r == 0:
			case r > m.revision:
				return mvcc.ErrFutureRevision
			case r < m.compacted:
				return mvcc.ErrCompacted
			}
		case o.Put != nil:
			if err := m.checkPut(o.Put); err != nil {
				return err
			}
			for _, i := range *gone {
				if (o.Put.IgnoreValue || o.Put.IgnoreLease) && i.Contains(o.Put.Key) {
					return command.ErrKeyNotFound
				}
			}
		case o.Delete != nil:
			*gone = append(*gone, o.Delete.Interval)
		case o.Txn != nil:
			if err := m.checkBranch(o.Txn, path, gone); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *model) txn(t *command.Txn, path map[*command.Txn]bool) *pb.TxnResponse {
	response := &pb.TxnResponse{Succeeded: path[t], Header: &pb.ResponseHeader{}}
	for _, o := range m.branch(t, path) {
		r := &pb.ResponseOp{}
		switch {
		case o.Range != nil:
			state := m.work
			if o.Range.Revision > 0 {
				state = m.states[o.Range.Revision]
			}
			rows := m.inside(state, o.Range.Interval)
			answer := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: m.at()}, Count: int64(len(rows))}
			if !o.Range.CountOnly {
				if o.Range.Limit > 0 && int64(len(rows)) > o.Range.Limit {
					rows, answer.More = rows[:o.Range.Limit], true
				}
				answer.Kvs = rows
			}
			r.Response = &pb.ResponseOp_ResponseRange{ResponseRange: answer}
		case o.Put != nil:
			r.Response = &pb.ResponseOp_ResponsePut{ResponsePut: m.put(o.Put)}
		case o.Delete != nil:
			r.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: m.delete(o.Delete)}
		case o.Txn != nil:
			r.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: m.txn(o.Txn, path)}
		}
		response.Responses = append(response.Responses, r)
	}
	return response
}

// answer is a reply as text, without the outer header, whose revision is compared on its own.
func answer(c any, body []byte) (string, error) {
	var m proto.Message
	switch c.(type) {
	case *command.Put:
		m = &pb.PutResponse{}
	case *command.DeleteRange:
		m = &pb.DeleteRangeResponse{}
	case *command.Txn:
		m = &pb.TxnResponse{}
	default:
		m = &pb.CompactionResponse{}
	}
	err := proto.Unmarshal(body, m)
	return describe(m), err
}

func withoutHeader(m proto.Message) string {
	if m == nil {
		return ""
	}
	m.ProtoReflect().Clear(m.ProtoReflect().Descriptor().Fields().ByName("header"))
	return describe(m)
}

// randomCommand makes commands over a few keys, so that compares hold about half the time.
func randomCommand(random *rand.Rand, revision int64) any {
	key := func() []byte { return []byte{byte('a' + random.IntN(8))} }
	value := func() []byte { return bytes.Repeat([]byte{byte('0' + random.IntN(3))}, random.IntN(3)) }
	interval := func() command.Interval {
		switch random.IntN(6) {
		case 0:
			return command.NewInterval(key(), []byte{0})
		case 1, 2:
			return command.NewInterval(key(), key())
		}
		return command.NewInterval(key(), nil)
	}
	randomPut := func() *command.Put {
		p := &command.Put{Key: key(), Value: value(), PrevKV: random.IntN(2) == 0}
		if random.IntN(5) == 0 {
			p.IgnoreValue, p.Value = true, nil
		}
		p.IgnoreLease = random.IntN(9) == 0
		if !p.IgnoreLease && random.IntN(20) == 0 {
			p.Lease = 5
		}
		return p
	}
	rev := func() int64 { return revision - 5 + random.Int64N(7) }
	var txn func(depth int) *command.Txn
	txn = func(depth int) *command.Txn {
		t := &command.Txn{}
		for range random.IntN(3) {
			c := command.Compare{Interval: interval(), Result: command.CompareResult(random.IntN(4)), Target: command.CompareTarget(random.IntN(5))}
			switch c.Target {
			case command.CompareValue:
				c.Value = value()
			case command.CompareVersion:
				c.Number = random.Int64N(4)
			case command.CompareLease:
			default:
				c.Number = rev()
			}
			t.Compares = append(t.Compares, c)
		}
		for _, branch := range []*[]command.Op{&t.Success, &t.Failure} {
			for range random.IntN(4) {
				o := command.Op{}
				switch random.IntN(8) {
				case 0, 1:
					o.Range = &command.Range{Interval: interval(), Limit: random.Int64N(4) - 1, CountOnly: random.IntN(4) == 0}
					if random.IntN(3) == 0 {
						o.Range.Revision = kind.Revision(max(0, rev()))
					}
				case 2, 3, 4:
					o.Put = randomPut()
				case 5, 6:
					o.Delete = &command.DeleteRange{Interval: interval(), PrevKV: random.IntN(2) == 0}
				default:
					if depth > 0 {
						o.Txn = txn(depth - 1)
					} else {
						o.Put = randomPut()
					}
				}
				*branch = append(*branch, o)
			}
		}
		return t
	}
	switch n := random.IntN(20); {
	case n < 6:
		return randomPut()
	case n < 9:
		return &command.DeleteRange{Interval: interval(), PrevKV: random.IntN(2) == 0}
	case n < 10:
		return &command.Compaction{Revision: kind.Revision(rev())}
	}
	return txn(2)
}

// The machine and the model agree on every reply, refusal, revision and key, over random commands in random
// groupings, with the store closed and opened now and then.
func TestModel(t *testing.T) {
	outcomes := map[string]int{}
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewMem()
		mo := mvcc.Options{PendingRows: 1 + random.IntN(20), RowCacheBytes: -1 + int64(random.IntN(2))*(1<<20)}
		r := createRig(t, fs, mo, Options{})
		m := newModel()
		for step := range 400 {
			var entries [][]byte
			var commands []any
			for range 1 + random.IntN(3) {
				var packed []any
				for range random.IntN(4) {
					packed = append(packed, randomCommand(random, m.revision))
				}
				entries = append(entries, r.pack(packed...))
				commands = append(commands, packed...)
			}
			replies, changes := r.apply(entries...)
			first := m.revision
			for i, c := range commands {
				response, err := m.execute(c)
				outcomes[fmt.Sprint(strings.TrimPrefix(fmt.Sprintf("%T", c), "*command."), " ", err)]++
				got, broken := answer(c, replies[i].Body)
				if want := withoutHeader(response); replies[i].Err != err || broken != nil || got != want || int64(replies[i].Revision) != m.revision {
					t.Fatalf("seed %d step %d command %d\n%#v\n got %s, %v, revision %d\nwant %s, %v, revision %d", seed, step, i, c,
						got, replies[i].Err, replies[i].Revision, want, err, m.revision)
				}
			}
			if int64(r.State().Revision) != m.revision || int64(r.State().Compacted) != m.compacted || int(r.State().LiveKeys) != len(m.states[m.revision]) {
				t.Fatalf("seed %d step %d: %+v, the model has revision %d, compacted %d", seed, step, r.State(), m.revision, m.compacted)
			}
			checkEvents(t, changes, first, m.revision)
			if random.IntN(40) == 0 {
				r.close(true)
				sequence := r.sequence
				r = openRig(t, fs, mo, Options{})
				r.sequence = sequence
			}
		}
		r.close(false)
	}
	for _, want := range []string{"Put <nil>", "Put key not found", "Put requested lease not found", "DeleteRange <nil>", "Txn <nil>",
		"Txn key not found", "Txn duplicate key given in txn request", "Txn requested lease not found", "Txn required revision has been compacted",
		"Txn required revision is a future revision", "Compaction <nil>", "Compaction required revision has been compacted",
		"Compaction required revision is a future revision"} {
		if outcomes[want] == 0 {
			t.Errorf("%q was never seen; seen were %v", want, outcomes)
		}
	}
}

// checkEvents requires that events are in order and that the revisions between are all there (M4).
func checkEvents(t *testing.T, changes mvcc.Changes, first, last int64) {
	t.Helper()
	at, sub := kind.Revision(first), uint32(0)
	for _, e := range changes.Events {
		switch {
		case e.Revision == at && e.Sub == sub+1:
			sub++
		case e.Revision == at+1 && e.Sub == 0:
			at, sub = at+1, 0
		default:
			t.Fatalf("event %d.%d after %d.%d", e.Revision, e.Sub, at, sub)
		}
	}
	if int64(at) != last && changes.Unlisted != at+1 {
		t.Fatalf("events up to %d, unlisted from %d, the last revision is %d", at, changes.Unlisted, last)
	}
}
