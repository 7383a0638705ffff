package sim

import (
	"slices"

	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
	"holdfast/internal/store"
)

// seen is what the world has last seen of a member.
type seen struct {
	applied check.Applied
	ready   bool
	leads   bool
	term    kind.Term
	leases  []kind.LeaseID
	db      *store.DB
	first   kind.Index // of its log
	corrupt bool
}

func (s *seen) begin() { *s = seen{} }

// end notes what the end of a life ends.
func (s *seen) end(w *World, h *host) {
	if s.leads {
		w.event(check.LeadsNoMore, h.id, s.term, "its life is over")
	}
	*s = seen{}
}

// look observes a member, and reports whether it has changed something.
func (w *World) look(h *host) (changed bool) {
	l := h.life
	if l == nil {
		return false
	}
	if err := l.failure(); err != nil && !l.told {
		l.told = true
		w.stoppedByItself(h, l, err)
		return true
	}
	if !l.listens() {
		return false
	}
	n := l.handler()
	status := n.Status()
	state := n.Replica.Machine().State()
	s := &h.seen
	now := check.Applied{
		Member: h.id, Life: l.number, Position: state.Position, Commit: status.Index, Revision: state.Revision,
		Compacted: state.Compacted, Digest: state.Digest, Elapsed: state.Elapsed, MachineVersion: state.MachineVersion,
		LiveKeys: state.LiveKeys, LiveBytes: state.LiveBytes, Versions: state.Versions,
		Leading: status.Leading, Term: status.Term, ReadyToServe: l.serves(),
	}
	if now == s.applied {
		return false
	}
	moved := now.Position != s.applied.Position
	before := s.applied
	s.applied = now
	seen := now
	seen.Moment = w.moment()
	w.history.Applied = append(w.history.Applied, seen)
	if l.serves() && !s.ready {
		s.ready = true
		w.event(check.Ready, h.id, 0, "")
		w.record("ready %s", h.name)
	}
	if status.Leading != s.leads || status.Leading && status.Term != s.term {
		if s.leads {
			w.event(check.LeadsNoMore, h.id, s.term, "")
		}
		if status.Leading {
			w.event(check.Leads, h.id, status.Term, "")
			w.record("%s leads term %d", h.name, status.Term)
			w.count("leaders")
		}
		s.leads, s.term = status.Leading, status.Term
	}
	if db := n.DB(); db != s.db {
		if s.db != nil {
			w.event(check.AdoptsSnapshot, h.id, 0, "")
			w.record("%s has adopted a snapshot", h.name)
			w.count("adopted snapshots")
		}
		s.db = db
	}
	if first := n.Replica.Log().FirstIndex(); first != s.first {
		if s.first != 0 {
			w.count("truncated logs")
		}
		s.first = first
	}
	if corrupt := n.Corrupt(); corrupt != s.corrupt {
		s.corrupt = corrupt
		if corrupt {
			w.event(check.CorruptRaised, h.id, 0, n.Quarantine())
			w.record("%s is corrupt: %s", h.name, n.Quarantine())
			w.count("quarantines")
		} else {
			w.event(check.Repaired, h.id, 0, "")
			w.count("repairs")
		}
	}
	if moved {
		w.record("%s applied %d/%d revision %d digest %x", h.name, state.Position.Term, state.Position.Index, state.Revision, state.Digest)
		w.lookAtLeases(h, seen, before)
	}
	return true
}

// lookAtLeases notes which leases a member has no more.
func (w *World) lookAtLeases(h *host, now, before check.Applied) {
	var ids []kind.LeaseID
	for _, l := range h.life.handler().Leases().All() {
		ids = append(ids, l.ID)
	}
	slices.Sort(ids)
	for _, id := range h.seen.leases {
		if _, still := slices.BinarySearch(ids, id); !still {
			w.history.Leases = append(w.history.Leases, check.LeaseEnd{Moment: w.moment(), Member: h.id, Lease: id, Elapsed: now.Elapsed})
		}
	}
	h.seen.leases = ids
}

// stoppedByItself deals with a member that has failed: its process ends.
func (w *World) stoppedByItself(h *host, l *life, err error) {
	w.event(check.Failed, h.id, 0, err.Error())
	w.record("%s has stopped: %v", h.name, err)
	switch {
	case h.removed:
		h.gone = true
	case !h.damaged:
		w.wrong("%s has stopped by itself, and nothing was wrong with its disk: %v", h.name, err)
		h.downFor = "it has failed"
	default:
		w.count("stopped for a bad disk")
		h.downFor = "its disk is bad"
		if h.flipped && l.member() == nil {
			// It refuses to start from what is damaged: an operator would replace it.
			w.count("refused to start from damage")
			h.gone = true
		}
	}
	h.disk = l.disk.handOver()
	l.end()
	l.disk.leave()
	h.lost()
	w.bury(l)
}
