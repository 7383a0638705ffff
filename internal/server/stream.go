package server

import (
	"context"
	"encoding/binary"

	"google.golang.org/grpc"

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
	if _, err := authorise(ctx, s, &r); err != nil {
		return toStatus(err)
	}
	if !r.Serializable {
		if err := s.node.ReadIndex(ctx); err != nil {
			return s.readFailed(err)
		}
	}
	err = s.node.KV().RangeStream(ctx, r, s.o.MaxRequestBytes, func(chunk mvcc.Answer) error {
		return stream.SendMsg(s.chunkAnswer(ctx, chunk))
	})
	if err != nil {
		return s.readFailed(err)
	}
	return nil
}

// chunkAnswer makes a RangeStreamResponse, whose only field, range_response 1, is the RangeResponse.
func (s *Server) chunkAnswer(ctx context.Context, chunk mvcc.Answer) *answer {
	const fieldOne = 1<<3 | 2
	var header []byte
	if chunk.Revision != 0 {
		header = s.header.append(make([]byte, 0, headerBytes), int64(chunk.Revision), uint64(s.node.Status().Term))
	}
	head := make([]byte, 0, 1+binary.MaxVarintLen64+len(header))
	head = append(head, fieldOne)
	head = binary.AppendUvarint(head, uint64(len(header)+len(chunk.Body)))
	a := &answer{head: append(head, header...), body: chunk.Body}
	a.release = tie(ctx, chunk.Release)
	return a
}
