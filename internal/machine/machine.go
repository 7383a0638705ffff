package machine

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/auth"
	"holdfast/internal/batch"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// Machine is the replicated state machine of one member; see the package comment. One caller at a time, except
// where a method says otherwise.
type Machine struct {
	db     *store.DB
	kv     *mvcc.Store
	leases *lease.Table
	auth   *auth.Store

	state  store.Applied // as of the last commit
	cursor *cursor       // of a command that a crash has interrupted, until its entry is applied

	// members, confState and alarms are replaced as a whole, so that anybody may read them.
	members   atomic.Pointer[[]member.Member]
	confState atomic.Pointer[raftpb.ConfState]
	alarms    atomic.Pointer[[]Alarm]

	batch   *batch.Batch
	pending Pending
}

// Options of a Machine. The zero value stands for the defaults.
type Options struct {
	// Spilled is told each time that a command was spilled in part, after the spill. For tests; nil for nobody.
	Spilled func()
}

// Genesis sets the records with which the store of a new cluster begins: it stands at position (1,1), so that the
// log begins after that, at the first revision, in the oldest machine version, with these members (see
// member.Genesis) and the configuration that they make. Every member of the cluster begins with the same.
func Genesis(set func(key, value []byte), members []member.Member) {
	set(store.AppliedKey(), store.EncodeApplied(store.Applied{
		Position:       kind.Position{Index: 1, Term: 1},
		Revision:       mvcc.FirstRevision,
		Compacted:      mvcc.NeverCompacted,
		MachineVersion: Oldest(),
	}))
	for _, m := range members {
		member.Write(set, m)
	}
	member.WriteConfState(set, member.Configuration(members))
}

// Open rebuilds the machine from the store. kv must be of the same store and have no writer. The errors are
// ErrNewerMachine, ErrCursor, ErrAlarmRecord, member.ErrRecord, lease.ErrRecord,
// auth.ErrRecord and failures of the store.
func Open(db *store.DB, kv *mvcc.Store, o Options) (*Machine, error) {
	state, err := db.Applied()
	if err != nil {
		return nil, fmt.Errorf("open the machine: %w", err)
	}
	if known(state.MachineVersion) == nil {
		return nil, fmt.Errorf("%w: it has machine version %d, this build knows up to %d", ErrNewerMachine, state.MachineVersion, Latest())
	}
	members, confState, err := member.Load(db.DB)
	if err != nil {
		return nil, fmt.Errorf("open the machine: %w", err)
	}
	if !knowsNothing(&state, members, confState) {
		if err := CheckMembers(members, confState); err != nil {
			return nil, fmt.Errorf("open the machine: %w", err)
		}
	}
	m := &Machine{db: db, kv: kv, state: state}
	m.members.Store(&members)
	m.confState.Store(confState)
	alarms, err := loadAlarms(db.DB)
	if err != nil {
		return nil, fmt.Errorf("open the machine: %w", err)
	}
	m.alarms.Store(&alarms)
	if err := m.openCursor(); err != nil {
		return nil, fmt.Errorf("open the machine: %w", err)
	}
	if m.leases, err = lease.Open(db); err != nil {
		return nil, fmt.Errorf("open the machine: %w", err)
	}
	if m.auth, err = auth.Open(db.DB); err != nil {
		return nil, fmt.Errorf("open the machine: %w", err)
	}
	if kv.Revision() != state.Revision || kv.Compacted() != state.Compacted {
		return nil, fmt.Errorf("open the machine: the keys stand at revision %d, compacted %d, the applied record at %d and %d",
			kv.Revision(), kv.Compacted(), state.Revision, state.Compacted)
	}
	m.batch = batch.New(db)
	m.pending.machine = m
	m.pending.spilled = o.Spilled
	m.pending.digest.value = state.Digest
	return m, nil
}

// openCursor looks for a command that was interrupted and takes back what it had done (I2).
func (m *Machine) openCursor() error {
	value, closer, err := m.db.Get(cursorKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return store.WrapRead("read the cursor", err)
	}
	c, err := decodeCursor(value)
	closer.Close()
	if err != nil {
		return err
	}
	if c.entry.Index != m.state.Position.Index+1 || c.entry.Term < m.state.Position.Term {
		return fmt.Errorf("%w: it is at entry %d of term %d, the store at entry %d of term %d", ErrCursor,
			c.entry.Index, c.entry.Term, m.state.Position.Index, m.state.Position.Term)
	}
	m.cursor = &c
	return mvcc.Undo(m.db, m.state.Revision, attachAgain)
}

// Close gives back what the machine holds; the store stays open. A batch that was begun and not committed is
// dropped.
func (m *Machine) Close() error {
	m.pending.drop()
	return m.batch.Close()
}

// Applied returns the position of the last entry that is applied and committed to the store.
func (m *Machine) Applied() kind.Position { return m.state.Position }

// State returns the applied record of the last commit.
func (m *Machine) State() store.Applied { return m.state }

// DB returns the store that the machine was opened from.
func (m *Machine) DB() *store.DB { return m.db }

// KV returns the keys, for readers.
func (m *Machine) KV() *mvcc.Store { return m.kv }

// Leases returns the leases, for readers.
func (m *Machine) Leases() *lease.Table { return m.leases }

// Members returns the members of the cluster, without those that were removed, ordered by id. Any goroutine may call
// it; the caller must not change the answer.
func (m *Machine) Members() []member.Member { return present(*m.members.Load()) }

// ConfState returns Raft's configuration as of the applied position. Any goroutine may call it; the answer is the
// caller's.
func (m *Machine) ConfState() *raftpb.ConfState {
	return proto.Clone(m.confState.Load()).(*raftpb.ConfState)
}
