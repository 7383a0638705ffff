package sim

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"holdfast/internal/sim/check"
)

// The users of a world in which auth is on. The world itself, its operator and its watchers are root. Who is nobody sends
// no token.
const (
	root     = "root"
	worker   = "worker"   // may read and write every key
	stranger = "stranger" // may do nothing
	nobody   = "nobody"
)

// founding is what has to be done, in this order, before auth is on.
var founding = []string{
	"user add " + root, "role add " + root, "grant " + root + " " + root,
	"user add " + worker, "role add all", "allow all ! ~", "grant " + worker + " all",
	"user add " + stranger, "enable",
}

// rights are who is who in a world, and how they prove it. They belong to the driver.
type rights struct {
	on     bool
	users  map[int]string    // by the number of a client; who is not in here is root
	tokens map[string]string // by user
}

// protect switches auth on, and has the users say who they are. It waits until all that is done.
func (w *World) protect(h *host) bool {
	w.rights.users = map[int]string{}
	w.rights.tokens = map[string]string{}
	for _, what := range founding {
		done := false
		w.persist(h, 900, func() *check.Operation { return &check.Operation{Auth: &check.Auth{What: what}} }, func(*check.Operation) { done = true })
		if !w.Until(patience, func() bool { return done }) {
			w.wrong("auth is not switched on: %q is not done: %s", what, w.standing())
			return false
		}
	}
	w.rights.on = true
	for _, user := range []string{root, worker, stranger} {
		l := h.life
		done, finished := make(chan struct{}), false
		var token string
		l.work(func(ctx context.Context) {
			defer close(done)
			ctx, cancel := context.WithTimeout(peer.NewContext(ctx, clientPeer), giveUp)
			defer cancel()
			if r, err := pb.NewAuthClient(l.conn()).Authenticate(ctx, &pb.AuthenticateRequest{Name: user, Password: "secret"}); err == nil {
				token = r.GetToken()
			}
		})
		w.await(done, func() { finished = true })
		if !w.Until(2*giveUp, func() bool { return finished }) || token == "" {
			w.wrong("%s gets no token", user)
			return false
		}
		w.rights.tokens[user] = token
	}
	w.count("worlds with auth")
	return true
}

// proving is a context with what a client proves by who it is.
func (w *World) proving(ctx context.Context, client int) context.Context {
	user := w.rights.users[client]
	if user == "" {
		user = root
	}
	if token := w.rights.tokens[user]; token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	return ctx
}

// trespass asks for one thing after another without the right to.
func (s *someone) trespass() {
	op := s.request()
	for op.Grant != nil { // everybody may have a lease
		op = s.request()
	}
	s.ask(op, func(op *check.Operation) {
		if op.Outcome == check.Done {
			s.w.wrong("%s has no rights, and this was done: %v", s.user, op)
		} else if op.Code == "PermissionDenied" || op.Code == "InvalidArgument" {
			s.w.count("refused for want of rights")
		}
		s.trespass()
	})
}
