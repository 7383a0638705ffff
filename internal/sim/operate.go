package sim

import (
	"context"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/peer"

	"holdfast/internal/sim/check"
)

// What an operator does, and what the world's hand does to hosts.

const (
	faultBegins = check.FaultBegins
	faultEnds   = check.FaultEnds
)

// leader returns the host whose member leads in the highest term, nil if there is none.
func (w *World) leader() *host {
	var found *host
	for _, h := range w.hosts {
		if h.life != nil && h.seen.leads && (found == nil || h.seen.term > found.seen.term) {
			found = h
		}
	}
	return found
}

// startIfDown starts the member of a host if nothing speaks against it.
func (h *host) startIfDown() {
	if h.life == nil && h.downFor == "" && !h.gone && h.id != 0 {
		h.start()
	}
}

// diskWell says that the disk is well again: a member that has stopped for it may start.
func (h *host) diskWell() {
	h.downFor = ""
	h.startIfDown()
}

// harm says that something is done to a disk for which its member may stop.
func (h *host) harm() {
	h.damaged = true
	h.w.badDisks = true
}

// revive starts every member that is down and need not be.
func (w *World) revive() {
	for _, h := range w.present() {
		h.diskWell()
	}
}

// repair has the members in quarantine fetch their state anew, as an operator does, and reports whether none is left.
func (w *World) repair() (well bool) {
	well = true
	for _, h := range w.present() {
		l := h.life
		if !l.listens() || !l.handler().Corrupt() {
			continue
		}
		well = false
		if h.repairing == l {
			continue
		}
		h.repairing = l
		w.record("%s is repaired", h.name)
		done := make(chan struct{})
		l.work(func(ctx context.Context) {
			defer close(done)
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			_, _ = l.handler().Repair(ctx)
		})
		w.await(done, func() { h.repairing = nil })
	}
	return well
}

// disarm takes back the alarms about room, as an operator does who has made room.
func (w *World) disarm() {
	h := w.leader()
	if h == nil || !h.life.serves() {
		return
	}
	l := h.life
	alarms := l.handler().Alarms()
	if len(alarms) == 0 {
		return
	}
	w.record("alarms are taken back")
	w.count("alarms")
	asked := w.proving(peer.NewContext(l.ctx, clientPeer), watching)
	l.work(func(context.Context) {
		for _, a := range alarms {
			r := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType(a.Type), MemberID: uint64(a.Member)}
			_, _ = pb.NewMaintenanceClient(l.conn()).Alarm(asked, r)
		}
	})
}

// mendAll heals the network.
func (w *World) mendAll() {
	for _, a := range w.hosts {
		for _, b := range w.hosts {
			if a != b {
				w.net.mendLink(a, b)
			}
		}
	}
}

// compactEngine has the engine of a member flush and merge its tables, and waits for it in the background.
func (h *host) compactEngine() {
	l := h.life
	if !l.listens() {
		return
	}
	done := make(chan struct{})
	l.work(func(ctx context.Context) {
		defer close(done)
		n := l.handler()
		db := n.DB()
		if err := db.Flush(); err != nil {
			return
		}
		_ = db.Compact(ctx, []byte{0}, []byte{0xff, 0xff}, false)
	})
	h.w.await(done, func() { h.w.count("compactions of the engine") })
}

// handOver asks the leader to let another member lead.
func (w *World) handOver(rng *rand.Rand) {
	h := w.leader()
	if h == nil || !h.life.serves() {
		return
	}
	to := w.hosts[rng.IntN(len(w.hosts))]
	if to == h || to.id == 0 {
		return
	}
	l := h.life
	l.work(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if l.handler().TransferLeadership(ctx, to.id) == nil {
			w.count("hand-overs")
		}
	})
}
