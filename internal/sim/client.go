package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"holdfast/internal/sim/check"
)

// giveUp is how long a client waits for an answer. It is longer than a member takes to give one by itself.
const giveUp = 12 * time.Second

// asking is a request under way.
type asking struct {
	op     *check.Operation
	life   *life // that has got it; nil while it is on its way there
	cancel context.CancelFunc
	ended  bool
	then   func(*check.Operation)
}

// clientAddress is where calls come from.
type clientAddress string

func (clientAddress) Network() string  { return "sim" }
func (a clientAddress) String() string { return string(a) }

var _ net.Addr = clientAddress("")

// clientPeer is what the server sees of who calls.
var clientPeer = &peer.Peer{Addr: clientAddress("client")}

// Ask sends a request to a member. op says what is asked; then is called with the outcome filled in. A member that is not
// there refuses.
func (w *World) Ask(h *host, client int, op *check.Operation, then func(*check.Operation)) {
	op.ID = len(w.ops)
	op.Client = client
	op.Member = h.id
	op.Call = w.moment()
	w.ops = append(w.ops, op)
	a := &asking{op: op, then: then}
	w.open = append(w.open, a)
	s := w.source(fmt.Sprint("client ", client, " ", h.name)) // a client asks one thing at a time
	w.record("client %d asks %s: %s", client, h.name, summary(op))
	l := h.life
	if !l.serves() {
		s.after(time.Millisecond, nil, "connection refused", func() {
			w.answer(a, nil, status.Error(codes.Unavailable, "connection refused"), check.Refused)
		})
		return
	}
	ctx, cancel := context.WithCancel(w.proving(peer.NewContext(l.ctx, clientPeer), client))
	a.cancel = cancel
	giving := s.after(giveUp, nil, "gives up", func() {
		w.answer(a, nil, context.DeadlineExceeded, check.Unknown)
	})
	a.life = l
	s.after(s.between(50*time.Microsecond, 2*time.Millisecond), l, "request", func() {
		conn := l.conn()
		l.work(func(context.Context) {
			result, err := execute(ctx, conn, op)
			s.after(s.between(50*time.Microsecond, 2*time.Millisecond), l, "answer", func() {
				w.callOff(giving)
				w.answer(a, result, err, fate(op, err))
			})
		})
	})
}

// answer ends a request.
func (w *World) answer(a *asking, result func(), err error, outcome check.Outcome) {
	if a.ended {
		return
	}
	a.ended = true
	if a.cancel != nil {
		a.cancel()
	}
	if i := slices.Index(w.open, a); i >= 0 {
		w.open = slices.Delete(w.open, i, i+1)
	}
	op := a.op
	op.Return = w.moment()
	op.Outcome = outcome
	if err != nil {
		st := status.Convert(err)
		op.Code, op.Error = st.Code().String(), st.Message()
		w.count("refused or lost requests")
	} else {
		result()
	}
	w.record("client %d is told: %v %s %s", op.Client, outcome, op.Error, outcomeSummary(op))
	if a.then != nil {
		a.then(op)
	}
}

// disconnect tells the clients of a life that has ended.
func (w *World) disconnect(l *life) {
	for _, a := range slices.Clone(w.open) {
		if a.life == l {
			w.answer(a, nil, status.Error(codes.Unavailable, "the connection was lost"), check.Unknown)
		}
	}
	for _, x := range slices.Clone(w.watches) {
		if x.life == l {
			x.finish("the connection was lost")
		}
	}
}

// refusals are the answers by which a member says that a command was certainly not done, nor ever will be.
var refusals = func() []string {
	var texts []string
	for _, err := range []error{
		rpctypes.ErrGRPCNoSpace, rpctypes.ErrGRPCRequestTooManyRequests, rpctypes.ErrGRPCRequestTooLarge, rpctypes.ErrGRPCLeaderChanged,
		rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCNotLeader, rpctypes.ErrGRPCKeyNotFound, rpctypes.ErrGRPCLeaseNotFound,
		rpctypes.ErrGRPCLeaseExist, rpctypes.ErrGRPCLeaseTTLTooLarge, rpctypes.ErrGRPCCompacted, rpctypes.ErrGRPCFutureRev,
		rpctypes.ErrGRPCDuplicateKey, rpctypes.ErrGRPCCorrupt, rpctypes.ErrGRPCNotSupportedForLearner,
		rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCUserEmpty, rpctypes.ErrGRPCUserNotFound, rpctypes.ErrGRPCUserAlreadyExist,
		rpctypes.ErrGRPCRoleAlreadyExist, rpctypes.ErrGRPCRoleNotFound, rpctypes.ErrGRPCAuthNotEnabled,
		rpctypes.ErrGRPCInvalidAuthToken, rpctypes.ErrGRPCAuthOldRevision,
		rpctypes.ErrGRPCMemberNotFound, rpctypes.ErrGRPCMemberExist, rpctypes.ErrGRPCPeerURLExist, rpctypes.ErrGRPCMemberNotLearner,
		rpctypes.ErrGRPCLearnerNotReady, rpctypes.ErrGRPCTooManyLearners, rpctypes.ErrGRPCMemberNotEnoughStarted, rpctypes.ErrGRPCUnhealthy,
	} {
		texts = append(texts, status.Convert(err).Message())
	}
	return texts
}()

// fate says what an answer tells of what was asked.
func fate(op *check.Operation, err error) check.Outcome {
	if err == nil {
		return check.Done
	}
	text := status.Convert(err).Message()
	if slices.ContainsFunc(refusals, func(r string) bool { return strings.Contains(text, r) }) {
		return check.Refused
	}
	if op.Range != nil || op.Remaining != nil || op.HashKV != nil {
		return check.Refused // what only reads does nothing
	}
	return check.Unknown
}

var errNoAnswer = errors.New("the stream ended without an answer")

// execute asks and returns what fills the result in.
func execute(ctx context.Context, conn grpc.ClientConnInterface, op *check.Operation) (fill func(), err error) {
	switch {
	case op.Range != nil:
		return executeRange(ctx, conn, op.Range)
	case op.Put != nil:
		return executePut(ctx, conn, op.Put)
	case op.Delete != nil:
		return executeDelete(ctx, conn, op.Delete)
	case op.Txn != nil:
		return executeTxn(ctx, conn, op.Txn)
	case op.Compact != nil:
		return executeCompact(ctx, conn, op.Compact)
	case op.Grant != nil:
		return executeGrant(ctx, conn, op.Grant)
	case op.Revoke != nil:
		return executeRevoke(ctx, conn, op.Revoke)
	case op.KeepAlive != nil:
		return executeKeepAlive(ctx, conn, op.KeepAlive)
	case op.Remaining != nil:
		return executeRemaining(ctx, conn, op.Remaining)
	case op.HashKV != nil:
		return executeHashKV(ctx, conn, op.HashKV)
	case op.Auth != nil:
		return executeAuth(ctx, conn, op.Auth)
	case op.Change != nil:
		return executeChange(ctx, conn, op.Change)
	}
	return nil, errors.New("nothing is asked")
}
