package sim

import (
	"hash/fnv"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
	"holdfast/internal/transport"
)

// Wanted names what must have happened at least once over a fixed set of seeds: a simulator in which a leader never
// changes proves nothing about leaders that change.
var Wanted = []string{
	"leader changes", "adopted snapshots", "resumed snapshots", "cut tails", "truncated logs", "overwritten entries", "joint changes",
	"promoted learners", "removed members", "expired leases", "compacted watchers", "refused commands in mixed entries",
	"forwarded commands", "lost and reproposed commands", "lost messages", "doubled messages", "hand-overs", "compactions of the engine",
	"stopped for a bad disk", "refused for want of room", "requests of unknown fate", "progress notifications", "flipped bits", "refused to start from damage",
	"worlds with auth", "refused for want of rights", "worlds of five members",
}

// takenLease is a lease that is granted once and asked for again and again: whoever does is refused by the machine.
const takenLease kind.LeaseID = 1 << 40

// entries looks into what leaders send, for what the answers do not tell.
type entries struct {
	mu       sync.Mutex
	seen     map[kind.Position]bool
	sequence map[uint64]uint64 // by a hash of who asked what: under which number it was in an entry
}

func (e *entries) init() {
	e.seen = map[kind.Position]bool{}
	e.sequence = map[uint64]uint64{}
}

// observe counts what ms carry.
func (w *World) observe(ms []transport.Message) {
	w.entries.mu.Lock()
	defer w.entries.mu.Unlock()
	for _, m := range ms {
		if m.Kind == transport.KindForward {
			w.count("forwarded commands")
		}
		if m.Raft == nil {
			continue
		}
		for _, raw := range m.Raft.GetEntries() {
			at := kind.Position{Index: kind.Index(raw.GetIndex()), Term: kind.Term(raw.GetTerm())}
			if w.entries.seen[at] || raw.GetType() != 0 || len(raw.GetData()) == 0 {
				continue
			}
			w.entries.seen[at] = true
			if e, err := command.DecodeEntry(raw.GetData()); err == nil {
				w.observeEntry(&e)
			}
		}
	}
}

func (w *World) observeEntry(e *command.Entry) {
	taken := false
	for i := range e.Commands {
		c := &e.Commands[i]
		if c.Kind == command.KindLeaseGrant {
			g, _, err := command.DecodeLeaseGrant(c.Payload)
			taken = taken || err == nil && kind.LeaseID(g.ID) == takenLease
		}
		if c.Kind != command.KindPut {
			continue
		}
		h := fnv.New64a()
		h.Write([]byte(c.Origin.Member.String()))
		h.Write(c.Payload) // no value is written twice
		if before := w.entries.sequence[h.Sum64()]; before != 0 && before != c.Origin.Sequence {
			w.count("lost and reproposed commands")
		}
		w.entries.sequence[h.Sum64()] = c.Origin.Sequence
	}
	if taken && len(e.Commands) > 1 {
		w.count("refused commands in mixed entries")
	}
}

// said counts what only a member's log tells.
var said = []struct{ words, count string }{
	{"behind it lies what is left of a write", "cut tails"},
	{"found conflict at index", "overwritten entries"},
}

// counting is a log that counts.
type counting struct {
	zapcore.LevelEnabler
	w *World
}

// With adds nothing: fields are not looked at.
func (c counting) With([]zap.Field) zapcore.Core { return c }

// Check takes every message.
func (c counting) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(e, c)
}

// Write counts a message.
func (c counting) Write(e zapcore.Entry, _ []zap.Field) error {
	for _, s := range said {
		if strings.Contains(e.Message, s.words) {
			c.w.count(s.count)
		}
	}
	return nil
}

// Sync does nothing.
func (c counting) Sync() error { return nil }

// tally counts at the end of a run what the history shows.
func (w *World) tally() {
	leaders := 0
	for _, e := range w.history.Events {
		if e.Kind == check.Leads {
			leaders++
		}
	}
	w.countMany("leader changes", max(leaders-1, 0))
	revoked := map[kind.LeaseID]bool{}
	for _, op := range w.ops {
		if op.Revoke != nil {
			revoked[op.Revoke.ID] = true
		}
		switch {
		case op.Outcome == check.Unknown:
			w.count("requests of unknown fate")
		case strings.Contains(op.Error, "space exceeded"):
			w.count("refused for want of room")
		}
	}
	for _, l := range w.history.Leases {
		if !revoked[l.Lease] {
			w.count("expired leases")
		}
	}
}
