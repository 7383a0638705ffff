package sim

import (
	"context"
	"slices"

	"holdfast/internal/kind"
	"holdfast/internal/transport"
)

// call is a question under way, or anything else that waits for an arrival.
type call struct {
	ended  bool // under the network's lock
	done   chan struct{}
	answer []byte
	err    error
}

func newCall() *call { return &call{done: make(chan struct{})} }

// end decides it; the first time counts. It is called under the network's lock.
func (c *call) end(answer []byte, err error) {
	if c.ended {
		return
	}
	c.ended = true
	c.answer, c.err = answer, err
	close(c.done)
}

// open puts a call on both directions of a connection: it is lost with either.
func (n *network) open(c *call, there, back *link) {
	there.calls = append(there.calls, c)
	back.calls = append(back.calls, c)
}

func (n *network) shut(c *call, there, back *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	same := func(o *call) bool { return o == c }
	there.calls = slices.DeleteFunc(there.calls, same)
	back.calls = slices.DeleteFunc(back.calls, same)
}

// Call asks a peer.
func (p *port) Call(ctx context.Context, id kind.MemberID, method string, request []byte) ([]byte, error) {
	to := p.n.w.hostOf(id)
	if to == nil {
		return nil, transport.ErrUnknownPeer
	}
	p.n.mu.Lock()
	there, back := p.n.link(p.life.host, to), p.n.link(to, p.life.host)
	if !there.usable() || !back.usable() {
		p.n.mu.Unlock()
		return nil, transport.ErrUnreachable
	}
	c := newCall()
	p.n.open(c, there, back)
	p.n.carry(there, &frame{transport.ClassCall, "call " + method, func(at *life) {
		if at.port.turnsAway(p.life.host.id) {
			p.refuse(id, transport.ErrRemoved)
			p.n.mu.Lock()
			c.end(nil, transport.ErrUnreachable)
			p.n.mu.Unlock()
			return
		}
		at.work(func(serving context.Context) {
			serving, cancel := context.WithCancel(serving)
			defer cancel()
			go func() {
				select {
				case <-c.done: // the caller has gone, or the connection
					cancel()
				case <-serving.Done():
				}
			}()
			answer, err := at.full().Call(serving, p.life.host.id, method, request)
			if err != nil {
				err = &transport.RemoteError{Text: err.Error()}
			}
			p.n.mu.Lock()
			defer p.n.mu.Unlock()
			if c.ended {
				return
			}
			p.n.carry(back, &frame{transport.ClassCall, "answer " + method, func(*life) {
				p.n.mu.Lock()
				c.end(answer, err)
				p.n.mu.Unlock()
			}})
		})
	}})
	p.n.mu.Unlock()
	defer p.n.shut(c, there, back)
	select {
	case <-c.done:
		return c.answer, c.err
	case <-ctx.Done():
		p.n.mu.Lock()
		c.end(nil, ctx.Err())
		p.n.mu.Unlock()
		return nil, ctx.Err()
	case <-p.life.ended:
		return nil, transport.ErrClosed
	}
}
