package node

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/digest"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/transport"
)

// The running digest: the applier hands over the marks that it has reached, the transport what others report of theirs, and
// one goroutine, which owns the table, tells the others and draws the conclusions.

const (
	judgeInterval = 100 * time.Millisecond // between two looks while something is undecided
	askInterval   = time.Second            // between two questions about an index that stays undecided
	reportMarks   = 4                      // in a report: what was lost comes again with the next ones

	// maxDigestEvents bounds what waits for the goroutine. What is above it is dropped: what is lost comes again.
	maxDigestEvents = 4096
)

// digestEvent is one of: marks of this member, a report of another, another state in the place of this member's.
type digestEvent struct {
	marks   []digest.Mark
	voters  digest.Voters
	from    kind.MemberID // 0 for this member
	report  digest.Report
	adopted bool
}

type digests struct {
	wake chan struct{}
	mu   struct {
		sync.Mutex
		events []digestEvent
		lost   bool           // an own event was dropped
		last   machine.Mark   // that this member has reached
		now    digest.Verdict // the last
	}
}

func (d *digests) init() { d.wake = make(chan struct{}, 1) }

func (d *digests) put(e digestEvent) {
	d.mu.Lock()
	if len(d.mu.events) < maxDigestEvents || e.adopted {
		d.mu.events = append(d.mu.events, e)
	}
	if n := len(e.marks); n > 0 {
		d.mu.last = machine.Mark(e.marks[n-1])
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *digests) take(into []digestEvent) []digestEvent {
	clear(into)
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.mu.events
	d.mu.events = into[:0]
	return taken
}

// marksReached is called by the applier with every batch. p is committed.
func (n *Node) marksReached(p *machine.Pending) {
	reached := p.Marks()
	if len(reached) == 0 {
		return
	}
	cs := n.Replica.Machine().ConfState()
	if len(cs.GetVoters()) == 1 && len(cs.GetVotersOutgoing()) == 0 && len(cs.GetLearners()) == 0 {
		return // nobody to compare with
	}
	e := digestEvent{voters: digest.Voters{Incoming: memberIDs(cs.GetVoters()), Outgoing: memberIDs(cs.GetVotersOutgoing())}}
	for _, m := range reached {
		e.marks = append(e.marks, digest.Mark(m))
	}
	n.digests.put(e)
}

func memberIDs(list []uint64) (ids []kind.MemberID) {
	for _, id := range list {
		ids = append(ids, kind.MemberID(id))
	}
	return ids
}

// digestHeard takes a report of another member.
func (n *Node) digestHeard(m transport.Message) {
	r, err := digest.DecodeReport(m.Payload)
	if err != nil {
		n.Logger.Warn("a report of another member is dropped", zap.Stringer("member", m.From), zap.Error(err))
		return
	}
	n.digests.put(digestEvent{from: m.From, report: r})
}

// MarkDue reports whether the leader should let the log know the time, because the members have not compared their digests
// since the last entry: then that entry is compared although no other follows it.
func (n *Node) MarkDue() bool {
	elapsed, leading := n.ClusterTime()
	if !leading || n.status.Load().SoleVoter {
		return false
	}
	applied := n.applied.Load()
	n.digests.mu.Lock()
	last := n.digests.mu.last.Index
	n.digests.mu.Unlock()
	return applied.Position.Index > last && machine.MarkDue(*applied, elapsed)
}

func (n *Node) runDigests() {
	table := digest.New(n.Identity.Member)
	timer := n.Clock.NewTimer(judgeInterval)
	defer timer.Stop()
	var events []digestEvent
	var asked time.Duration
	for {
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-n.digests.wake:
		case <-timer.C():
		}
		events = n.digests.take(events)
		news := false
		for i := range events {
			e := &events[i]
			switch {
			case e.adopted:
				table.Adopted()
			case e.from != 0:
				table.Heard(e.from, e.report.Marks)
				if m, ok := table.At(e.report.Asks); ok {
					n.sendReport(digest.Report{Marks: []digest.Mark{m}}, e.from)
				}
			default:
				for _, m := range e.marks {
					table.Reached(m, e.voters)
				}
				news = true
			}
		}
		wants := table.Wants()
		switch now := n.now(); {
		case news:
			n.sendReport(digest.Report{Marks: table.Recent(reportMarks)}, 0)
			asked = now
		case wants != 0 && now-asked >= askInterval:
			n.sendReport(digest.Report{Asks: wants, Marks: table.Recent(reportMarks)}, 0)
			asked = now
		}
		if len(events) > 0 {
			table.Forget(func(id kind.MemberID) bool { return n.isRemoved(id) })
		}
		n.judged(table.Judge(n.now()))
		if wants != 0 || n.quarantine.watching() {
			timer.Reset(judgeInterval)
		}
	}
}

// sendReport sends a report to one member, or to all others.
func (n *Node) sendReport(r digest.Report, to kind.MemberID) {
	payload := digest.AppendReport(nil, r)
	var ms []transport.Message
	for _, m := range n.Replica.Machine().Members() {
		if m.ID != n.Identity.Member && (to == 0 || to == m.ID) {
			ms = append(ms, transport.Message{From: n.Identity.Member, To: m.ID, Kind: transport.KindDigest, Payload: payload})
		}
	}
	if len(ms) > 0 {
		n.Transport.Send(ms)
	}
}

// judged draws the conclusions of a verdict.
func (n *Node) judged(v digest.Verdict) {
	n.digests.mu.Lock()
	before := n.digests.mu.now
	n.digests.mu.now = v
	n.digests.mu.Unlock()
	for _, d := range v.Found {
		n.Metrics.differing.Inc()
		n.Logger.Error("a member whose state differs from the majority's", zap.Stringer("member", d.Member), zap.Uint64("index", uint64(d.Index)),
			zap.Uint64("digest", d.Digest), zap.Uint64("majority", d.Majority))
	}
	for _, id := range v.Healed {
		n.Logger.Info("the state of a member agrees with the majority's again", zap.Stringer("member", id))
	}
	if v.Standing == digest.Differs && before.Standing != digest.Differs {
		n.Metrics.differing.Inc()
		n.hold(differsCause(v))
	}
	n.doubt(v)
}
