package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/mvcc"
)

const second = lease.NanosPerSecond

// leaseModel is what leases and the keys on them come to, said with maps.
type leaseModel struct {
	elapsed  uint64
	revision int64
	keys     map[string]kind.LeaseID
	leases   map[kind.LeaseID]*modelLease
}

type modelLease struct {
	ttl   int64
	acked uint64 // when it was granted or last renewed
}

func newLeaseModel() *leaseModel {
	return &leaseModel{revision: 1, keys: map[string]kind.LeaseID{}, leases: map[kind.LeaseID]*modelLease{}}
}

func (m *leaseModel) clone() *leaseModel {
	c := &leaseModel{m.elapsed, m.revision, map[string]kind.LeaseID{}, map[kind.LeaseID]*modelLease{}}
	for k, v := range m.keys {
		c.keys[k] = v
	}
	for id, l := range m.leases {
		l := *l
		c.leases[id] = &l
	}
	return c
}

func (m *leaseModel) end(id kind.LeaseID) {
	delete(m.leases, id)
	changed := false
	for key, on := range m.keys {
		if on == id {
			delete(m.keys, key)
			changed = true
		}
	}
	if changed {
		m.revision++
	}
}

func (m *leaseModel) put(p *command.Put) {
	if !p.IgnoreLease {
		m.keys[string(p.Key)] = p.Lease
	}
}

func (m *leaseModel) checkPut(p *command.Put) error {
	if _, exists := m.leases[p.Lease]; p.Lease != 0 && !exists {
		return ErrLeaseNotFound
	}
	if _, exists := m.keys[string(p.Key)]; p.IgnoreLease && !exists {
		return command.ErrKeyNotFound
	}
	return nil
}

func (m *leaseModel) delete(d *command.DeleteRange) (changed bool) {
	for key := range m.keys {
		if d.Interval.Contains([]byte(key)) {
			delete(m.keys, key)
			changed = true
		}
	}
	return changed
}

func (m *leaseModel) execute(c any) error {
	switch c := c.(type) {
	case *command.Put:
		if err := m.checkPut(c); err != nil {
			return err
		}
		m.put(c)
		m.revision++
	case *command.DeleteRange:
		if m.delete(c) {
			m.revision++
		}
	case *command.Txn:
		for _, o := range c.Success {
			if o.Put != nil {
				if err := m.checkPut(o.Put); err != nil {
					return err
				}
			}
		}
		changed := false
		for _, o := range c.Success {
			if o.Put != nil {
				m.put(o.Put)
				changed = true
			} else if m.delete(o.Delete) {
				changed = true
			}
		}
		if changed {
			m.revision++
		}
	case *command.LeaseGrant:
		switch _, exists := m.leases[c.ID]; {
		case c.TTL > command.MaxLeaseTTL:
			return ErrLeaseTTLTooLarge
		case exists:
			return ErrLeaseExists
		}
		m.leases[c.ID] = &modelLease{c.TTL, m.elapsed}
	case *command.LeaseRevoke:
		if m.leases[c.ID] == nil {
			return ErrLeaseNotFound
		}
		m.end(c.ID)
	case *command.LeaseRenew:
		for _, id := range c.IDs {
			if l := m.leases[id]; l != nil {
				l.acked = m.elapsed
			}
		}
	case *command.LeaseExpire:
		for _, id := range c.IDs {
			// Never before the last answer plus the TTL, and then for certain.
			if l := m.leases[id]; l != nil && m.elapsed >= l.acked+uint64(l.ttl)*second {
				m.end(id)
			}
		}
	}
	return nil
}

func (m *leaseModel) String() string {
	var lines []string
	for id, l := range m.leases {
		var keys []string
		for key, on := range m.keys {
			if on == id {
				keys = append(keys, key)
			}
		}
		sort.Strings(keys)
		lines = append(lines, fmt.Sprintf("%v ttl %d until %d %q", id, l.ttl, l.acked+uint64(l.ttl)*second, keys))
	}
	sort.Strings(lines)
	return fmt.Sprintf("at %d, revision %d, %d keys\n%s", m.elapsed, m.revision, len(m.keys), strings.Join(lines, "\n"))
}

// leaseState is the machine's state in the words of the model.
func leaseState(r *rig) string {
	var lines []string
	for _, l := range r.Leases().All() {
		keys := []string{}
		if err := r.Leases().Keys(l.ID, func(key []byte) bool { keys = append(keys, string(key)); return true }); err != nil {
			r.t.Fatal(err)
		}
		if len(keys) == 0 {
			keys = nil
		}
		lines = append(lines, fmt.Sprintf("%v ttl %d until %d %q", l.ID, l.TTL, l.Deadline, keys))
		if got, exists := r.Leases().Get(l.ID); !exists || got != l {
			r.t.Errorf("lease %+v, asked for alone, is %+v, %v", l, got, exists)
		}
	}
	sort.Strings(lines)
	s := r.State()
	if err := CheckLeases(r.t.Context(), r.Leases(), r.kv, func(problem string) { r.t.Error(problem) }); err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprintf("at %d, revision %d, %d keys\n%s", s.Elapsed, s.Revision, s.LiveKeys, strings.Join(lines, "\n"))
}

var leaseIDs = []kind.LeaseID{1, 2, 3, -1, -7, 1 << 62}

func randomLeaseCommand(random *rand.Rand) any {
	id := func() kind.LeaseID { return leaseIDs[random.IntN(len(leaseIDs))] }
	ids := func() (list []kind.LeaseID) {
		for range 1 + random.IntN(4) {
			list = append(list, id())
		}
		return list
	}
	key := func() []byte { return []byte{byte('a' + random.IntN(8))} }
	randomPut := func() *command.Put {
		p := &command.Put{Key: key(), Value: []byte("v")}
		switch random.IntN(6) {
		case 0:
		case 1:
			p.IgnoreLease = true
		default:
			p.Lease = id()
		}
		return p
	}
	del := func() *command.DeleteRange {
		if random.IntN(4) == 0 {
			return &command.DeleteRange{Interval: command.NewInterval(key(), key())}
		}
		return &command.DeleteRange{Interval: command.NewInterval(key(), nil)}
	}
	switch random.IntN(12) {
	case 0, 1, 2:
		return &command.LeaseGrant{ID: id(), TTL: 1 + random.Int64N(4)}
	case 3:
		if random.IntN(8) == 0 {
			return &command.LeaseGrant{ID: id(), TTL: command.MaxLeaseTTL + 1}
		}
		return &command.LeaseRevoke{ID: id()}
	case 4, 5:
		return &command.LeaseRenew{IDs: ids()}
	case 6:
		return &command.LeaseExpire{IDs: ids()}
	case 7:
		return del()
	case 8:
		// A deletion before a put of another key, and one without upper bound before a put inside it.
		t := &command.Txn{Success: []command.Op{{Delete: &command.DeleteRange{Interval: command.NewInterval([]byte("a"), []byte("d"))}}}}
		p := &command.Put{Key: []byte("e"), Lease: id()}
		if random.IntN(2) == 0 {
			t.Success[0].Delete.Interval = command.NewInterval([]byte("b"), []byte{0})
		}
		t.Success = append(t.Success, command.Op{Put: p})
		return t
	}
	return randomPut()
}

func packAt(r *rig, elapsed uint64, commands ...any) []byte {
	e := command.Entry{Elapsed: elapsed}
	for _, c := range commands {
		d := encodeCommand(c)
		r.sequence++
		d.Origin = command.Origin{Member: testLocal.Member, Boot: testLocal.Boot, Sequence: r.sequence}
		e.Commands = append(e.Commands, d)
	}
	return command.AppendEntry(nil, &e)
}

// Leases, deadlines and attached keys are those of the model, over random grants, renewals, attachments, deletions,
// steps of time, expiries, clean stops and power cuts, whatever was in memory (L1, L2).
func TestLeaseModel(t *testing.T) {
	outcomes := map[string]int{}
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 31))
		fs := vfs.NewCrashableMem()
		mo := mvcc.Options{PendingRows: 1 + random.IntN(20), SpillBytes: 1 << (8 + random.IntN(12))}
		r := createRig(t, fs, mo, Options{})
		m := newLeaseModel()
		first := int(r.last) + 1
		var entries [][]byte
		models := []*leaseModel{m.clone()} // after so many entries
		reopen := func() {
			from := int(r.Applied().Index) + 1 - first
			if want := models[from].String(); leaseState(r) != want {
				t.Fatalf("seed %d: opened at entry %d it has\n%s\nwant\n%s", seed, from, leaseState(r), want)
			}
			for _, data := range entries[from:] {
				r.apply(data)
			}
		}
		for step := range 400 {
			var commands []any
			for range random.IntN(5) {
				commands = append(commands, randomLeaseCommand(random))
			}
			elapsed := m.elapsed
			switch random.IntN(10) {
			case 0:
				elapsed = random.Uint64N(m.elapsed + 1) // a leader that does not know the time yet
			case 1, 2, 3:
				elapsed += random.Uint64N(second)
				m.elapsed = elapsed
			}
			entries = append(entries, packAt(r, elapsed, commands...))
			replies, _ := r.apply(entries[len(entries)-1])
			for i, c := range commands {
				err := m.execute(c)
				outcomes[fmt.Sprintf("%T %v", c, err)]++
				if !errors.Is(replies[i].Err, err) || int64(replies[i].Revision) != m.revision {
					t.Fatalf("seed %d step %d: %#v gives %v at %d, want %v at %d", seed, step, c, replies[i].Err, replies[i].Revision, err, m.revision)
				}
			}
			models = append(models, m.clone())
			if got, want := leaseState(r), m.String(); got != want {
				t.Fatalf("seed %d step %d: after %#v\n%s\nwant\n%s", seed, step, commands, got, want)
			}
			switch random.IntN(30) {
			case 0:
				r.close(true)
				r = openRig(t, fs, mo, Options{})
				reopen()
			case 1, 2:
				if err := r.db.Flush(); err != nil {
					t.Fatal(err)
				}
			case 3:
				clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: random})
				r.close(false)
				fs = clone
				r = openRig(t, fs, mo, Options{})
				reopen()
			}
		}
		r.close(false)
	}
	for _, want := range []string{"Put <nil>", "Put requested lease not found", "Put key not found", "Txn requested lease not found", "Txn <nil>",
		"LeaseGrant <nil>", "LeaseGrant lease already exists", "LeaseGrant too large lease TTL", "LeaseRevoke <nil>",
		"LeaseRevoke requested lease not found", "LeaseExpire <nil>", "LeaseRenew <nil>"} {
		if outcomes["*command."+want] == 0 {
			t.Errorf("%q was never seen; seen were %v", want, outcomes)
		}
	}
}

// The answers: the TTL that was granted, and for renewals a TTL for each lease.
func TestLeaseReplies(t *testing.T) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(false)
	replies, changes := r.apply(packAt(r, 5*second,
		&command.LeaseGrant{ID: -3, TTL: 300},
		&command.LeaseGrant{ID: 4, TTL: -9},
		&command.Put{Key: []byte("k"), Lease: -3},
		&command.Put{Key: []byte("j"), Lease: -3},
		&command.LeaseRenew{IDs: []kind.LeaseID{4, 9, -3}},
		&command.LeaseGrant{ID: 0, TTL: 3},
		&command.LeaseRevoke{ID: -3},
		&command.LeaseExpire{IDs: []kind.LeaseID{4, 9}},
	))
	id := int64(-3)
	granted := binary.AppendUvarint([]byte{2 << 3}, uint64(id))
	granted = binary.AppendUvarint(append(granted, 3<<3), 300)
	if !slices.Equal(replies[0].Body, granted) || !slices.Equal(replies[1].Body, []byte{2 << 3, 4, 3 << 3, 1}) {
		t.Errorf("granted: %x and %x", replies[0].Body, replies[1].Body)
	}
	if want := []byte{1, 0, 0xac, 2}; !slices.Equal(replies[4].Body, want) {
		t.Errorf("renewed: %x, want %x", replies[4].Body, want)
	}
	if replies[5].Err != ErrLeaseNotFound {
		t.Errorf("lease 0 is granted: %v", replies[5].Err)
	}
	// Both keys go in one revision, in their order; the lease that is not due stays.
	if n := len(changes.Events); n != 4 || !changes.Events[2].Deleted || string(changes.Events[2].Row.Key()) != "j" ||
		string(changes.Events[3].Row.Key()) != "k" || changes.Events[2].Revision != 4 || changes.Events[3].Revision != 4 {
		t.Errorf("events %+v", changes.Events)
	}
	if r.Leases().Len() != 1 {
		t.Errorf("%d leases are left", r.Leases().Len())
	}
}

// bigLeaseEntries end leases with more keys than fit into a batch: by revocation, by an expiry of several, and by
// deletions and puts that leave or change them.
func bigLeaseEntries(r *rig) (entries [][]byte) {
	now := uint64(0)
	fill := func(id kind.LeaseID, keys int) {
		for at := 0; at < keys; {
			var list []any
			for range 500 {
				list = append(list, &command.Put{Key: fmt.Appendf(nil, "k%d.%05d", id, at), Lease: id})
				at++
			}
			entries = append(entries, packAt(r, now, list...))
		}
	}
	grant := func() {
		entries = append(entries, packAt(r, now, &command.LeaseGrant{ID: 1, TTL: 1}, &command.LeaseGrant{ID: 2, TTL: 1}, &command.LeaseGrant{ID: 3, TTL: 9}))
	}
	grant()
	fill(1, 1500)
	fill(2, 500)
	fill(3, 1000)
	entries = append(entries, packAt(r, now, put("before", "1"), &command.LeaseRevoke{ID: 1}, put("after", "1")))
	entries = append(entries, packAt(r, now, &command.LeaseGrant{ID: 1, TTL: 1}))
	fill(1, 1500)
	// Everything goes, and comes back in part on another lease, in one revision.
	entries = append(entries, packAt(r, now, &command.Txn{Success: []command.Op{
		{Delete: &command.DeleteRange{Interval: command.NewInterval([]byte("k1.00100"), []byte{0})}},
		{Put: &command.Put{Key: []byte("k1.00101"), Lease: 3}}, {Put: &command.Put{Key: []byte("k3.00007"), Lease: 2}},
	}}))
	fill(1, 1500)
	fill(2, 1000)
	now += 2 * second
	entries = append(entries, packAt(r, now, &command.LeaseExpire{IDs: []kind.LeaseID{7, 2, 3, 1}}, put("after", "2")))
	return append(entries, packAt(r, now, put("last", "1")))
}

// The end of a lease that does not fit into one batch is whole or has not happened, whenever the power fails, and a
// deletion that is taken back leaves every key on the lease that it had (I2, L1).
func TestLeaseSpillCrash(t *testing.T) {
	mo := mvcc.Options{SpillBytes: 24 << 10, PendingRows: 700, EventBytes: 64 << 10}
	plain := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	entries := bigLeaseEntries(plain)
	var want []string
	for _, data := range entries {
		plain.apply(data)
		want = append(want, plain.dump())
	}
	plain.close(false)

	fs := vfs.NewCrashableMem()
	type moment struct {
		fs *vfs.MemFS
		at int
	}
	var moments []moment
	var r *rig
	at := 0
	r = createRig(t, fs, mo, Options{Spilled: func() {
		if len(moments)%2 == 0 {
			if err := r.db.Flush(); err != nil {
				t.Error(err)
			}
		}
		moments = append(moments, moment{fs.CrashClone(vfs.CrashCloneCfg{}), at})
	}})
	for i, data := range entries {
		at = i
		r.apply(data)
		if d := r.dump(); d != want[i] {
			t.Fatalf("entry %d with spills gives\n%s\nwithout\n%s", i, d, want[i])
		}
	}
	r.close(false)
	taken := 0
	for n, m := range moments {
		life := openRig(t, m.fs, mo, Options{})
		from := int(life.Applied().Index) - 1
		if life.cursor != nil {
			taken++
			// What an interrupted expiry has ended stays ended; everything else is as it was.
			life.dump()
		}
		for i := from; i < len(entries); i++ {
			life.apply(entries[i])
			if d := life.dump(); d != want[i] {
				t.Fatalf("moment %d in entry %d: entry %d gives\n%s\nwant\n%s", n, m.at, i, d, want[i])
			}
		}
		life.close(false)
	}
	if taken < 10 {
		t.Errorf("only %d of %d lives began at a cursor", taken, len(moments))
	}
}

// Entries with leases give the same replies, digests and state on every member (M1).
func TestSameLeaseEntriesSameState(t *testing.T) {
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 32))
		packer := &rig{}
		var entries [][]byte
		elapsed := uint64(0)
		for range 200 {
			elapsed += random.Uint64N(second)
			var list []any
			for range random.IntN(8) {
				list = append(list, randomLeaseCommand(random))
			}
			entries = append(entries, packAt(packer, elapsed, list...))
		}
		entries = append(entries, bigLeaseEntries(packer)...)
		one := runHistory(t, entries, 1, testLocal)
		for other := uint64(2); other < 4; other++ {
			two := runHistory(t, entries, other, testLocal)
			if !slices.Equal(one.digests, two.digests) || !slices.Equal(one.replies, two.replies) || one.final != two.final {
				t.Fatalf("seed %d: run %d ends with\n%s\nthe first with\n%s", seed, other, two.final, one.final)
			}
		}
	}
}

// The digest's formula for leases may not change unnoticed.
func TestLeaseDigestFrozen(t *testing.T) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(false)
	r.apply(packAt(r, 5, &command.LeaseGrant{ID: -1, TTL: 2}, &command.LeaseGrant{ID: 7, TTL: 3},
		&command.Put{Key: []byte("a"), Lease: -1}, &command.LeaseRenew{IDs: []kind.LeaseID{7, 8, -1}}))
	between := r.State()
	r.apply(packAt(r, 4*second, &command.LeaseExpire{IDs: []kind.LeaseID{-1, 7}}, &command.LeaseGrant{ID: 7, TTL: 1}, &command.LeaseRevoke{ID: 7}))
	d := uint64(0)
	step := func(parts ...any) {
		b := binary.BigEndian.AppendUint64(nil, d)
		for _, part := range parts {
			switch part := part.(type) {
			case rune:
				b = append(b, byte(part))
			case int:
				b = binary.BigEndian.AppendUint64(b, uint64(part))
			case string:
				b = append(binary.BigEndian.AppendUint64(b, uint64(len(part))), part...)
			}
		}
		d = xxhash.Sum64(b)
	}
	step('E', 2, 5)
	step('G', -1, 2, 2*second+5)
	step('G', 7, 3, 3*second+5)
	step('P', 2, 2, 1, -1, "a", "")
	step('R', 7, 3*second+5, 'R', -1, 2*second+5)
	step('N', 1, int(between.LiveBytes), 1)
	step('E', 3, 4*second)
	step('D', 3, "a", 'X', -1)
	step('X', 7)
	step('G', 7, 1, 5*second)
	step('X', 7)
	step('N', 0, 0, 2)
	const want = 0xce6f6d83eb7a2556
	if got := r.State().Digest; got != d || got != want {
		t.Errorf("the digest is %#x, the description gives %#x, it was %#x", got, d, uint64(want))
	}
}
