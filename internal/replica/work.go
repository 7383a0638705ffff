package replica

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
	"holdfast/internal/machine"
)

// Work is something that the replica wants done outside: one of *Append, *Apply, *Configure and *Send. Appends
// are done in the order in which they were handed out, and so are applies and configures together; appends and
// applies are independent of each other. Whoever did the work hands it back with Done, in the same order.
type Work interface{ work() }

// Append is to be written to the log. Its responses, inside, are released by Done; they are promises, so Done
// must come after a sync if Sync says so. One sync may serve all the appends before it.
//
// An append with a Snapshot begins with its adoption, which is not WriteLog's: when all appends and all applies before it
// are done, the store that was built of the snapshot becomes current (Adopt), and the log is reset to begin after it.
type Append struct {
	Snapshot  *raftpb.Snapshot // nil in most; its Metadata alone
	Entries   []*raftpb.Entry
	HardState *raftpb.HardState // nil when unchanged
	Sync      bool              // someone relies on it: a changed commit, and an answer alone, do without (I1)
	responses []*raftpb.Message
}

// Apply is a run of committed entries for the machine, all of them of the normal kind.
type Apply struct {
	Entries   []*raftpb.Entry
	responses []*raftpb.Message
}

// Configure is one committed change of the membership, an entry and a batch of its own. raft has taken the
// change over already; ConfState is what the store has to remember with it. A change that raft could not decode
// never gets here: the replica fails.
type Configure struct {
	Entry     *raftpb.Entry
	ConfState *raftpb.ConfState
	context   []byte // what the change carries; nil when it ends a joint configuration
	responses []*raftpb.Message
}

// Send is to be sent to other members, as soon as can be: whatever had to be durable before is durable.
type Send struct{ Messages []*raftpb.Message }

func (*Append) work()    {}
func (*Apply) work()     {}
func (*Configure) work() {}
func (*Send) work()      {}

// Last returns the index of the last entry in work of the applier, which must not be empty.
func Last(work []Work) kind.Index {
	if c, ok := work[len(work)-1].(*Configure); ok {
		return position(c.Entry).Index
	}
	entries := work[len(work)-1].(*Apply).Entries
	return position(entries[len(entries)-1]).Index
}

// Read is the answer to a ReadIndex: the state at Index, or any later one, satisfies every read that waited
// under Context.
type Read struct {
	Context uint64
	Index   kind.Index
}

// WriteLog does appends: all of them into the log, then one sync for all if any needs it. It is called by the
// log's one owner. The returned duration is that of the sync alone, 0 without one, in the clock of now. After an
// error nothing may be handed back with Done, and the member stops (I4).
func (r *Replica) WriteLog(appends []*Append, now func() time.Duration) (synced time.Duration, err error) {
	sync := false
	for _, a := range appends {
		if len(a.Entries) > 0 || a.HardState != nil {
			if err := r.log.Append(a.Entries, a.HardState); err != nil {
				return 0, err
			}
		}
		sync = sync || a.Sync
	}
	if !sync {
		return 0, nil
	}
	started := now()
	err = r.log.Sync()
	return now() - started, err
}

// applyBatchBytes is where a Pebble batch is full enough: several small entries share one, and a large one is not
// held back for more.
const applyBatchBytes = 4 << 20

// ApplyWork runs committed work through the machine, several whole entries to a batch. deliver is called after
// each batch is in the store and published, with what the machine answered (I2: effects and index are there
// together). It is called by the applier, the machine's one caller. After an error the member stops.
func (r *Replica) ApplyWork(work []Work, boot uint64, deliver func(*machine.Pending)) error {
	local := machine.Local{Member: r.id, Boot: boot}
	var p *machine.Pending
	flush := func() error {
		if p == nil {
			return nil
		}
		if err := p.Commit(); err != nil {
			return err
		}
		deliver(p)
		p = nil
		return nil
	}
	for _, w := range work {
		switch w := w.(type) {
		case *Apply:
			for _, e := range w.Entries {
				if kind.Index(e.GetIndex()) <= r.adopted {
					continue
				}
				if p == nil {
					p = r.Machine().Begin(local)
				}
				if err := p.Apply(machine.Entry{Position: position(e), Data: e.GetData()}); err != nil {
					return err
				}
				if p.Size() >= applyBatchBytes {
					if err := flush(); err != nil {
						return err
					}
				}
			}
		case *Configure:
			if err := flush(); err != nil {
				return err
			}
			if kind.Index(w.Entry.GetIndex()) <= r.adopted {
				continue
			}
			p = r.Machine().Begin(local)
			if err := p.Configure(position(w.Entry), w.ConfState, w.context); err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func position(e *raftpb.Entry) kind.Position {
	return kind.Position{Index: kind.Index(e.GetIndex()), Term: kind.Term(e.GetTerm())}
}
