package server

import (
	"encoding/binary"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"holdfast/internal/kind"
	"holdfast/internal/watch"
)

// watchAnswer is a WatchResponse in its wire encoding, in pieces: what is its own, and events that many share.
type watchAnswer struct{ pieces mem.BufferSlice }

// sharedEvent is the size from which on an event is sent from where it lies. Smaller ones are copied, which is cheaper
// than a piece of their own.
const sharedEvent = 1 << 10

// The fields of a WatchResponse after its header.
const (
	tagWatchID         = 2 << 3
	tagCreated         = 3 << 3
	tagCanceled        = 4 << 3
	tagCompactRevision = 5 << 3
	tagCancelReason    = 6<<3 | 2
	tagFragment        = 7 << 3
)

// watchSender sends the responses of one stream.
type watchSender struct {
	s      *Server
	stream grpc.ServerStream
}

// send sends r, in fragments if the client takes them and it is too large.
func (w *watchSender) send(r *watch.Response) error {
	limit := w.s.o.MaxRequestBytes + grpcOverheadBytes
	if !r.Fragment || len(r.Events) < 2 || w.fixed(r, false)+r.Bytes < limit {
		return w.one(r, r.Events, r.Bytes, false)
	}
	for rest := r.Events; len(rest) > 0; {
		n, bytes := 1, len(rest[0])
		for n < len(rest) && w.fixed(r, true)+bytes+len(rest[n]) < limit {
			bytes += len(rest[n])
			n++
		}
		if err := w.one(r, rest[:n], bytes, n < len(rest)); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// fixed is the size of what stands before the events.
func (w *watchSender) fixed(r *watch.Response, fragment bool) int {
	return len(w.head(make([]byte, 0, headerBytes+64), r, fragment))
}

// head appends everything but the events.
func (w *watchSender) head(b []byte, r *watch.Response, fragment bool) []byte {
	b = w.s.header.append(b, int64(r.Revision), uint64(w.term()))
	if r.WatchID != 0 {
		b = binary.AppendUvarint(append(b, tagWatchID), uint64(r.WatchID))
	}
	if r.Created {
		b = append(b, tagCreated, 1)
	}
	if r.Canceled {
		b = append(b, tagCanceled, 1)
	}
	if r.CompactRevision != 0 {
		b = binary.AppendUvarint(append(b, tagCompactRevision), uint64(r.CompactRevision))
	}
	if r.Reason != "" {
		b = binary.AppendUvarint(append(b, tagCancelReason), uint64(len(r.Reason)))
		b = append(b, r.Reason...)
	}
	if fragment {
		b = append(b, tagFragment, 1)
	}
	return b
}

func (w *watchSender) term() kind.Term { return w.s.node.Status().Term }

// one sends events, which are bytes in all, as one response.
func (w *watchSender) one(r *watch.Response, events [][]byte, bytes int, fragment bool) error {
	const headBytes = headerBytes + 2*binary.MaxVarintLen64 + 16
	own := 0
	for _, e := range events {
		if len(e) < sharedEvent {
			own += len(e)
		}
	}
	b := w.head(make([]byte, 0, headBytes+len(r.Reason)+own), r, fragment)
	if own == bytes {
		for _, e := range events {
			b = append(b, e...)
		}
		return w.stream.SendMsg(&watchAnswer{mem.BufferSlice{mem.SliceBuffer(b)}})
	}
	a := &watchAnswer{pieces: make(mem.BufferSlice, 0, 2*len(events)+1)}
	from := 0
	for _, e := range events {
		if len(e) < sharedEvent {
			b = append(b, e...)
			continue
		}
		if from < len(b) {
			a.pieces = append(a.pieces, mem.SliceBuffer(b[from:len(b):len(b)]))
			from = len(b)
		}
		a.pieces = append(a.pieces, mem.SliceBuffer(e))
	}
	if from < len(b) {
		a.pieces = append(a.pieces, mem.SliceBuffer(b[from:]))
	}
	return w.stream.SendMsg(a)
}
