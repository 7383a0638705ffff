package server

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/command"
	"holdfast/internal/machine"
	"holdfast/internal/mvcc"
)

// Every handler of the KV service goes the same way: decode once, check that value, authorise that value, then
// read with it or propose it. What is proposed are the bytes that arrived if the value shows all that they hold,
// otherwise the value encoded anew, so that the machine decodes what was checked.

// put serves KV.Put.
func (s *Server) put(ctx context.Context, request []byte) (*answer, error) {
	p, known, err := command.DecodePut(request)
	if err != nil {
		return nil, malformed(err)
	}
	if err := p.Check(); err != nil {
		return nil, toStatus(err)
	}
	if err := s.node.Space(); err != nil {
		return nil, toStatus(err)
	}
	if !known {
		request = command.AppendPut(nil, &p)
	}
	return propose(ctx, s, command.KindPut, &p, request)
}

// deleteRange serves KV.DeleteRange.
func (s *Server) deleteRange(ctx context.Context, request []byte) (*answer, error) {
	r, known, err := command.DecodeDeleteRange(request)
	if err != nil {
		return nil, malformed(err)
	}
	if err := r.Check(); err != nil {
		return nil, toStatus(err)
	}
	if !known {
		request = command.AppendDeleteRange(nil, &r)
	}
	return propose(ctx, s, command.KindDelete, &r, request)
}

// txn serves KV.Txn. A transaction that can only read takes the road of a Range.
func (s *Server) txn(ctx context.Context, request []byte) (*answer, error) {
	t, known, err := command.DecodeTxn(request)
	if err != nil {
		return nil, malformed(err)
	}
	if err := t.Check(s.o.MaxTxnOps); err != nil {
		return nil, toStatus(err)
	}
	if t.ReadOnly() {
		return s.readTxn(ctx, &t)
	}
	if puts(&t) {
		if err := s.node.Space(); err != nil {
			return nil, toStatus(err)
		}
	}
	if !known {
		request = command.AppendTxn(nil, &t)
	}
	return propose(ctx, s, command.KindTxn, &t, request)
}

// puts reports whether t holds a put, in whatever branch and depth.
func puts(t *command.Txn) bool {
	for _, branch := range [2][]command.Op{t.Success, t.Failure} {
		for i := range branch {
			if branch[i].Put != nil || branch[i].Txn != nil && puts(branch[i].Txn) {
				return true
			}
		}
	}
	return false
}

// readTxn serves a transaction from one view.
func (s *Server) readTxn(ctx context.Context, t *command.Txn) (*answer, error) {
	who, err := authorise(ctx, s, t)
	if err != nil {
		return nil, toStatus(err)
	}
	if !t.Serializable() {
		if err := s.node.ReadIndex(ctx); err != nil {
			return nil, s.readFailed(err)
		}
	}
	view, err := s.node.KV().View()
	if err != nil {
		return nil, s.readFailed(err)
	}
	defer view.Close()
	reply := machine.ReadTxn(view.Reader(ctx), t)
	if reply.Err != nil {
		return nil, s.readFailed(reply.Err)
	}
	if err := confirm(ctx, s, who, t); err != nil {
		reply.Release()
		return nil, toStatus(err)
	}
	return s.replyAnswer(ctx, reply), nil
}

// compact serves KV.Compact.
func (s *Server) compact(ctx context.Context, request []byte) (*answer, error) {
	c, known, err := command.DecodeCompaction(request)
	if err != nil {
		return nil, malformed(err)
	}
	if !known {
		request = command.AppendCompaction(nil, &c)
	}
	a, err := propose(ctx, s, command.KindCompact, &c, request)
	if err != nil {
		return nil, err
	}
	if c.Physical {
		if err := s.node.WaitCompacted(ctx, c.Revision); err != nil {
			return nil, s.readFailed(err)
		}
	}
	return a, nil
}

// replyAnswer makes the response of a reply of the machine; see rangeAnswer.
func (s *Server) replyAnswer(ctx context.Context, reply machine.Reply) *answer {
	a := s.newAnswer(int64(reply.Revision), reply.Body)
	if len(a.body) == 0 {
		reply.Release()
	} else {
		held := reply
		a.release = tie(ctx, held.Release)
	}
	return a
}

// rangeKeys serves KV.Range.
func (s *Server) rangeKeys(ctx context.Context, request []byte) (*answer, error) {
	r, _, err := command.DecodeRange(request)
	if err != nil {
		return nil, malformed(err)
	}
	if err := s.learnerServes(&r); err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, toStatus(err)
	}
	who, err := authorise(ctx, s, &r)
	if err != nil {
		return nil, toStatus(err)
	}
	if !r.Serializable {
		if err := s.node.ReadIndex(ctx); err != nil {
			return nil, s.readFailed(err)
		}
	}
	read, err := s.node.KV().Range(ctx, r)
	if err != nil {
		return nil, s.readFailed(err)
	}
	if err := confirm(ctx, s, who, &r); err != nil {
		read.Release()
		return nil, toStatus(err)
	}
	return s.rangeAnswer(ctx, read), nil
}

// learnerServes refuses r on a learner unless its own state will do.
func (s *Server) learnerServes(r *command.Range) error {
	if !r.Serializable && s.node.Status().Learner {
		return rpctypes.ErrGRPCNotSupportedForLearner
	}
	return nil
}

// rangeAnswer makes the response of what was read. The bytes of a large answer stay counted in the store's budget
// until the connection has taken them or has ended.
func (s *Server) rangeAnswer(ctx context.Context, read mvcc.Answer) *answer {
	a := s.newAnswer(int64(read.Revision), read.Body)
	a.count = read.Count
	if len(a.body) == 0 {
		read.Release()
	} else {
		a.release = tie(ctx, read.Release)
	}
	return a
}

// malformed is the error for bytes that are not the message that the method takes, in the words of gRPC.
func malformed(err error) error {
	return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
}
