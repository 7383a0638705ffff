package server

import (
	"context"
	"strconv"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/peer"

	"holdfast/internal/command"
)

// logSlow writes the line "request stats" for a call that took longer than the setting, and for every call when
// debug lines are on. It names keys and sizes, never values. request and a are nil for services other than KV
// and Lease, which are logged without details.
func (s *Server) logSlow(ctx context.Context, m *method, start time.Time, request []byte, a *answer) {
	took := time.Since(start)
	level := zap.WarnLevel
	if took <= s.o.SlowRequest {
		level = zap.DebugLevel
	}
	entry := s.log.Check(level, "request stats")
	if entry == nil {
		return
	}
	remote := "No remote client info."
	if p, ok := peer.FromContext(ctx); ok {
		remote = p.Addr.String()
	}
	requestSize, responseSize, responseCount := -1, -1, int64(-1)
	if request != nil {
		requestSize, responseSize, responseCount = len(request), 0, 0
		if a != nil {
			responseSize, responseCount = len(a.head)+len(a.body), a.count
		}
	}
	entry.Write(
		zap.Time("start time", start),
		zap.Duration("time spent", took),
		zap.String("remote", remote),
		zap.String("response type", m.full),
		zap.Int("request size", requestSize),
		zap.Int64("response count", responseCount),
		zap.Int("response size", responseSize),
		zap.String("request content", describe(m.name, request)),
	)
}

// describe says what a request of the KV or the Lease service asks, without values. It decodes the bytes again, which costs
// nothing to the requests that are not logged.
func describe(name string, request []byte) string {
	var d description
	switch name {
	case "Range":
		if r, _, err := command.DecodeRange(request); err == nil {
			d.rangeOf(&r)
		}
	case "Put":
		if p, _, err := command.DecodePut(request); err == nil {
			d.put(&p)
		}
	case "DeleteRange":
		if r, _, err := command.DecodeDeleteRange(request); err == nil {
			d.interval(r.Interval)
		}
	case "Txn":
		if t, _, err := command.DecodeTxn(request); err == nil {
			d.txn(&t)
		}
	case "Compact":
		if c, _, err := command.DecodeCompaction(request); err == nil {
			d.number("revision", int64(c.Revision))
		}
	case "LeaseGrant":
		if g, _, err := command.DecodeLeaseGrant(request); err == nil {
			d.number("lease", int64(g.ID))
			d.number("ttl", g.TTL)
		}
	case "LeaseRevoke", "LeaseTimeToLive":
		if r, _, err := command.DecodeLeaseTimeToLive(request); err == nil {
			d.number("lease", int64(r.ID))
		}
	}
	return string(d)
}

// maxDescription bounds what is logged of one request.
const maxDescription = 1 << 10

type description []byte

func (d *description) word(s string) {
	if len(*d) > maxDescription {
		return
	}
	if n := len(*d); n > 0 && (*d)[n-1] != '<' {
		*d = append(*d, ' ')
	}
	*d = append(*d, s...)
}

func (d *description) number(name string, n int64) {
	if n != 0 {
		d.word(name + ":" + strconv.FormatInt(n, 10))
	}
}

func (d *description) key(name string, key []byte) {
	const most = 256
	more := ""
	if len(key) > most {
		key, more = key[:most], "..."
	}
	d.word(name + ":" + strconv.Quote(string(key)) + more)
}

func (d *description) interval(i command.Interval) {
	key, end := i.Wire()
	d.key("key", key)
	if len(end) > 0 {
		d.key("range_end", end)
	}
}

func (d *description) rangeOf(r *command.Range) {
	d.interval(r.Interval)
	d.number("limit", r.Limit)
	d.number("revision", int64(r.Revision))
	d.number("sort_order", int64(r.Order))
	d.number("sort_target", int64(r.Target))
	for _, flag := range []struct {
		name string
		set  bool
	}{{"serializable", r.Serializable}, {"keys_only", r.KeysOnly}, {"count_only", r.CountOnly}} {
		if flag.set {
			d.word(flag.name + ":true")
		}
	}
}

func (d *description) put(p *command.Put) {
	d.key("key", p.Key)
	d.number("value_size", int64(len(p.Value)))
	d.number("lease", int64(p.Lease))
}

func (d *description) txn(t *command.Txn) {
	for i := range t.Compares {
		d.word("compare:<")
		d.interval(t.Compares[i].Interval)
		*d = append(*d, '>')
	}
	for _, branch := range []struct {
		name string
		ops  []command.Op
	}{{"success", t.Success}, {"failure", t.Failure}} {
		for i := range branch.ops {
			if len(*d) > maxDescription {
				return
			}
			o := &branch.ops[i]
			d.word(branch.name + ":<")
			switch {
			case o.Range != nil:
				d.rangeOf(o.Range)
			case o.Put != nil:
				d.put(o.Put)
			case o.Delete != nil:
				d.interval(o.Delete.Interval)
			case o.Txn != nil:
				d.txn(o.Txn)
			}
			*d = append(*d, '>')
		}
	}
}
