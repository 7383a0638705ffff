package server

import (
	"encoding/binary"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/command"
	"holdfast/internal/mvcc"
)

// rangeStream serves KV.RangeStream: a Range whose answer comes in chunks. Only the last one has a header, more
// and count; its revision is the store's when the stream began.
func (s *Server) rangeStream(_ any, stream grpc.ServerStream) error {
	var f frame
	if err := stream.RecvMsg(&f); err != nil {
		return err
	}
	ctx := stream.Context()
	r, _, err := command.DecodeRange(f.data)
	if err != nil {
		return malformed(err)
	}
	if err := r.CheckStream(); err != nil {
		return toStatus(err)
	}
	who, err := authorise(ctx, s, &r)
	if err != nil {
		return toStatus(err)
	}
	if !r.Serializable {
		if err := s.node.ReadIndex(ctx); err != nil {
			return s.readFailed(err)
		}
	}
	view, err := s.node.KV().View()
	if err != nil {
		return s.readFailed(err)
	}
	if err := confirm(ctx, s, who, &r); err != nil {
		_ = view.Close()
		return toStatus(err)
	}
	// A client that does not read must not pin old versions for ever. The stream ends when the handler returns,
	// which also frees the goroutine from a send that nobody takes.
	sent := make(chan error, 1)
	var panicked any
	go func() {
		var err error
		defer func() {
			if panicked = recover(); panicked == nil {
				_ = view.Close()
			}
			sent <- err
		}()
		err = view.RangeStream(ctx, r, s.o.MaxRequestBytes, func(chunk mvcc.Answer) error {
			// The transport queues a chunk for a client that does not read, so it counts against the budget for as
			// long as the transport holds it, not until SendMsg returns.
			a := s.chunkAnswer(chunk)
			a.release = tie(ctx, chunk.Release)
			err := stream.SendMsg(a)
			if err != nil {
				chunk.Release()
			}
			return err
		})
	}()
	limit := time.NewTimer(s.o.MaxStreamAge)
	defer limit.Stop()
	select {
	case err = <-sent:
	case <-s.node.Refusing():
		return rpctypes.ErrGRPCCorrupt
	case <-limit.C:
		return status.Errorf(codes.DeadlineExceeded, "the stream was not read to its end within %v: read faster, or ask for less at a time", s.o.MaxStreamAge)
	}
	if panicked != nil {
		panic(panicked)
	}
	if err != nil {
		return s.readFailed(err)
	}
	return nil
}

// chunkAnswer makes a RangeStreamResponse, whose only field, range_response 1, is the RangeResponse. A chunk
// without a revision gets no header.
func (s *Server) chunkAnswer(chunk mvcc.Answer) *answer {
	const fieldOne = 1<<3 | 2
	var header []byte
	if chunk.Revision != 0 {
		header = s.header.append(make([]byte, 0, headerBytes), int64(chunk.Revision), uint64(s.node.Status().Term))
	}
	head := make([]byte, 0, 1+binary.MaxVarintLen64+len(header))
	head = append(head, fieldOne)
	head = binary.AppendUvarint(head, uint64(len(header)+len(chunk.Body)))
	return &answer{head: append(head, header...), body: chunk.Body}
}
