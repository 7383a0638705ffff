package server

import (
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// frame is a request as it arrived. data is exactly as long as the message and belongs to the receiver for ever:
// a command keeps it as its payload.
type frame struct{ data []byte }

// answer is a response in its wire encoding: the bytes of head, then those of body.
type answer struct {
	head []byte
	body []byte
	// count is what the slow request log calls the response count.
	count int64
	// release, if any, is called by buffers or by the last of the buffers that it returns; see tie.
	release func()
}

// smallBody is the size up to which a body is copied behind its header, which is cheaper than sending two buffers.
const smallBody = 2 << 10

// newAnswer returns the response of a header and a body.
func (s *Server) newAnswer(revision int64, body []byte) *answer {
	term := uint64(s.node.Status().Term)
	if len(body) <= smallBody {
		head := s.header.append(make([]byte, 0, headerBytes+len(body)), revision, term)
		return &answer{head: append(head, body...)}
	}
	return &answer{head: s.header.append(make([]byte, 0, headerBytes), revision, term), body: body}
}

// Codec is the protobuf codec of the server. The requests and responses of the KV service pass it as they are;
// every other message is encoded and decoded by the protobuf library. A registrar given to Register must use it.
// It counts what it sees; its zero value is ready.
type Codec struct {
	received atomic.Uint64
	sent     atomic.Uint64
}

// Name returns the content subtype.
func (c *Codec) Name() string { return "proto" }

// Marshal encodes v, a protobuf message or a response of the KV service.
func (c *Codec) Marshal(v any) (mem.BufferSlice, error) {
	if a, ok := v.(*answer); ok {
		c.sent.Add(uint64(len(a.head) + len(a.body)))
		return a.buffers(), nil
	}
	if a, ok := v.(*watchAnswer); ok {
		c.sent.Add(uint64(a.pieces.Len()))
		return a.pieces, nil
	}
	m := messageOf(v)
	if m == nil {
		return nil, fmt.Errorf("cannot encode a %T, which is no protobuf message", v)
	}
	data, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	c.sent.Add(uint64(len(data)))
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

// Unmarshal decodes data into v, a protobuf message or a request of the KV service. data may be reused as soon as
// it returns.
func (c *Codec) Unmarshal(data mem.BufferSlice, v any) error {
	c.received.Add(uint64(data.Len()))
	if f, ok := v.(*frame); ok {
		f.data = data.Materialize()
		return nil
	}
	m := messageOf(v)
	if m == nil {
		return fmt.Errorf("cannot decode into a %T, which is no protobuf message", v)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	return proto.Unmarshal(buffer.ReadOnlyData(), m)
}

func messageOf(v any) proto.Message {
	switch v := v.(type) {
	case proto.Message:
		return v
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(v)
	}
	return nil
}

// buffers hands the bytes over to the transport, and with them the duty to release.
func (a *answer) buffers() mem.BufferSlice {
	if a.release == nil {
		if len(a.body) == 0 {
			return mem.BufferSlice{mem.SliceBuffer(a.head)}
		}
		return mem.BufferSlice{mem.SliceBuffer(a.head), mem.SliceBuffer(a.body)}
	}
	release := a.release
	a.release = nil
	if len(a.body) == 0 || mem.IsBelowBufferPoolingThreshold(cap(a.body)) {
		// Such a buffer is never given back by the transport, and is too small to matter.
		release()
		return mem.BufferSlice{mem.SliceBuffer(a.head), mem.SliceBuffer(a.body)}
	}
	body := a.body
	return mem.BufferSlice{mem.SliceBuffer(a.head), mem.NewBuffer(&body, releaser(release))}
}

// releaser is a pool from which nothing is ever taken: it learns when the transport has done with a buffer.
type releaser func()

func (r releaser) Get(length int) *[]byte { b := make([]byte, length); return &b }
func (r releaser) Put(*[]byte)            { r() }
