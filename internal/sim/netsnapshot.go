package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/kind"
	"holdfast/internal/transport"
)

// snapshotAttempts is how often a transfer is taken up again.
const snapshotAttempts = 8

// snapshotBreaks is in how many of a hundred chunks the connection breaks.
const snapshotBreaks = 10

// receiving is a snapshot that a life is being sent. It outlives a broken connection.
type receiving struct {
	id   uint64
	sink transport.Sink
}

// SendSnapshot sends a snapshot, chunk by chunk.
func (p *port) SendSnapshot(src transport.Source) {
	id := kind.MemberID(src.Message().GetTo())
	p.n.mu.Lock()
	if p.sending == nil {
		p.sending = map[kind.MemberID]bool{}
	}
	busy := p.sending[id]
	p.sending[id] = true
	p.n.mu.Unlock()
	if busy {
		_ = src.Close()
		p.later("snapshot refused", func() { p.life.handler().SnapshotSent(id, transport.ErrBusy) })
		return
	}
	p.life.work(func(ctx context.Context) {
		err := p.transfer(ctx, id, src)
		_ = src.Close()
		p.n.mu.Lock()
		delete(p.sending, id)
		p.n.mu.Unlock()
		if err == nil {
			p.n.w.count("sent snapshots")
		}
		p.later(fmt.Sprint("snapshot sent: ", err == nil), func() { p.life.handler().SnapshotSent(id, err) })
	})
}

// transfer makes attempts until one ends.
func (p *port) transfer(ctx context.Context, id kind.MemberID, src transport.Source) error {
	to := p.n.w.hostOf(id)
	if to == nil {
		return transport.ErrUnknownPeer
	}
	var err error
	for attempt := range snapshotAttempts {
		if attempt > 0 {
			p.n.w.count("resumed snapshots")
			if !p.life.sleep(300 * time.Millisecond) {
				return transport.ErrClosed
			}
		}
		err = p.attempt(to, src)
		var remote *transport.RemoteError
		if err == nil || errors.As(err, &remote) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// attempt sends a snapshot from where the receiver wants it.
func (p *port) attempt(to *host, src transport.Source) error {
	p.n.mu.Lock()
	there, back := p.n.link(p.life.host, to), p.n.link(to, p.life.host)
	usable := there.usable() && back.usable()
	p.n.mu.Unlock()
	if !usable {
		return transport.ErrUnreachable
	}
	var sink transport.Sink
	m := proto.Clone(src.Message()).(*raftpb.Message)
	if err := p.ask(there, back, "offer", func(at *life) (err error) {
		sink, err = at.offered(p.life.host.id, m, src.ID())
		return err
	}); err != nil {
		return err
	}
	for {
		// The receiver stands still while a chunk is read.
		n := sink.Next()
		chunk, err := src.Chunk(n)
		if errors.Is(err, io.EOF) {
			return p.ask(there, back, "end", func(at *life) error {
				at.receivingNoMore(p.life.host.id)
				return sink.Finish()
			})
		}
		if err != nil {
			return &transport.RemoteError{Text: err.Error()}
		}
		chunk = append([]byte(nil), chunk...)
		if there.source[transport.ClassSnapshot].chance(snapshotBreaks) {
			p.n.breakBoth(there, back)
			return transport.ErrLost
		}
		if err := p.ask(there, back, fmt.Sprint("chunk ", n), func(at *life) error { return sink.Write(n, chunk) }); err != nil {
			return err
		}
	}
}

// ask has the receiver do something and waits for it. The error is a RemoteError if the receiver's is meant.
func (p *port) ask(there, back *link, what string, do func(at *life) error) error {
	p.n.mu.Lock()
	if there.broken || !there.to.life.listens() {
		p.n.mu.Unlock()
		return transport.ErrUnreachable
	}
	c := newCall()
	p.n.open(c, there, back)
	p.n.carry(there, &frame{transport.ClassSnapshot, what, func(at *life) {
		at.work(func(context.Context) {
			err := do(at)
			p.n.mu.Lock()
			defer p.n.mu.Unlock()
			if err != nil {
				err = &transport.RemoteError{Text: err.Error()}
			}
			if c.ended {
				return
			}
			p.n.carry(back, &frame{transport.ClassSnapshot, "next", func(*life) {
				p.n.mu.Lock()
				c.end(nil, err)
				p.n.mu.Unlock()
			}})
		})
	}})
	p.n.mu.Unlock()
	defer p.n.shut(c, there, back)
	select {
	case <-c.done:
		return c.err
	case <-p.life.ended:
		return transport.ErrClosed
	}
}

// offered returns the sink of a snapshot: the one that was broken off, if it is the same.
func (l *life) offered(from kind.MemberID, m *raftpb.Message, id uint64) (transport.Sink, error) {
	l.mu.Lock()
	r := l.mu.receiving[from]
	if r != nil && r.id != id {
		delete(l.mu.receiving, from)
	}
	l.mu.Unlock()
	if r != nil {
		if r.id == id {
			return r.sink, nil
		}
		r.sink.Abort(errors.New("another snapshot is offered"))
	}
	sink, err := l.full().Snapshot(from, m, id)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.receiving == nil {
		l.mu.receiving = map[kind.MemberID]*receiving{}
	}
	l.mu.receiving[from] = &receiving{id, sink}
	return sink, nil
}

func (l *life) receivingNoMore(from kind.MemberID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.mu.receiving, from)
}
