// Package server speaks the etcd v3 API: gRPC for clients, and health, version and metrics over HTTP/1 on the same
// listener. It holds no state of the store; it decodes, checks, authorises, asks the node, and words the answer.
//
// Invariants:
//
//  1. The value that is checked and authorised is decoded from the bytes that the log gets, or they are its
//     encoding.
//  2. Every RPC of etcd's eight services is registered. One that is not served answers Unimplemented.
//  3. Every refusal that a client sees comes from the one table in errors.go, with etcd's code and text.
//  4. A handler that panics stops the member and is never answered. No bytes from a socket make one panic.
//  5. Everything read from a socket has a bound: the size of a request and of its headers, the streams of a
//     connection and of all, the connections, the unfinished handshakes, and the time that a silent connection may
//     take. Of connections and streams one address may have three quarters.
//
// Services are registered through grpc.ServiceRegistrar with handlers that carry their own checks, counts and
// recovery, so that they work behind any transport that uses Codec. The requests and responses of the KV service
// stay bytes: a Put's request is copied once out of the transport and is then the command's payload; an answer is
// a header and the bytes that the store built.
//
// Use: New, then Serve with a listener for each client address, and GracefulStop.
package server

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/node"
	"holdfast/internal/watch"
)

// Node is what the server asks of the member. All methods may be called from any goroutine.
type Node interface {
	ClusterID() kind.ClusterID
	MemberID() kind.MemberID
	// Status returns where the member stands. It is called several times for every request and must be cheap.
	Status() node.Status
	// Sizes returns the bytes that the store takes on disk, and those of the live keys and values.
	Sizes() (disk, live int64)
	// Alarms lists the alarms that are raised in the cluster.
	Alarms() []machine.Alarm
	// Downgrading reports whether the cluster is to go to the minor version before.
	Downgrading() bool
	// KV is the store of keys.
	KV() *mvcc.Store
	// Leases is the table of leases.
	Leases() *lease.Table
	// Watch is the hub of watchers.
	Watch() *watch.Hub
	// Auth is the users, roles and tokens.
	Auth() *auth.Store
	// TokenUsed notes that the log should learn of the last use of a token.
	TokenUsed(*auth.Token)
	// ClusterTime returns the time by which leases end, in nanoseconds, and whether this member leads.
	ClusterTime() (elapsed uint64, leading bool)
	// Propose puts a command into the log, fills in its origin, and returns what the machine replied. It gives up
	// by itself after the request timeout, with one of the timeouts of package node.
	Propose(ctx context.Context, c command.Command) (machine.Reply, error)
	// ReadIndex returns when the published state holds every write that was acknowledged before the call. It
	// gives up by itself after the request timeout.
	ReadIndex(ctx context.Context) error
	// Space refuses commands that grow the store while there is no room for them: node.ErrNoSpace.
	Space() error
	// Members lists the members, after a read index if linearizable.
	Members(ctx context.Context, linearizable bool) ([]member.Member, error)
	// NewMemberID returns an id for a member that is to be added.
	NewMemberID(peerURLs []string) kind.MemberID
	// ChangeMembers changes the membership; the body of the reply has the fields of a MemberListResponse. The refusals
	// of package member come as errors, the others are those of Propose.
	ChangeMembers(ctx context.Context, change command.MemberChange) (machine.Reply, error)
	// TransferLeadership hands leadership over and returns when to leads: node.ErrNotLeader, ErrBadLeaderTransferee and
	// ErrTimeoutLeaderTransfer.
	TransferLeadership(ctx context.Context, to kind.MemberID) error
	// WaitCompacted returns when this member has deleted what the compaction at revision made unneeded.
	WaitCompacted(ctx context.Context, revision kind.Revision) error
	// Corrupt reports whether the member refuses reads and writes because its state is known to be wrong, or no majority
	// agrees on one. It is called for every request and must be cheap.
	Corrupt() bool
	// Refusing returns a channel that is closed while Corrupt.
	Refusing() <-chan struct{}
	// Quarantine says why, empty if not Corrupt.
	Quarantine() string
	// Repair fetches the state of the member anew from the others, and ends the quarantine.
	Repair(ctx context.Context) (node.Repaired, error)
}

// Server is the API of one member. All methods may be called from any goroutine.
type Server struct {
	node   Node
	o      Options
	log    *zap.Logger
	header header
	codec  *Codec

	passwords *passwords

	methods        []*method // every registered RPC, in the order of registration
	unaryVersions  clientVersions
	streamVersions clientVersions
	registrations  []registration
	streams        *streams
	grpcHealth     *health.Server
	health         *healthChecks
	stopping       chan struct{} // closed when streams without an end of their own are to end
	stopOnce       sync.Once

	grpc    *grpc.Server
	mux     *http.ServeMux
	http    *http.Server
	metrics *http.Server // of the ports that serve only health and metrics
}

// New makes the server of a node. It registers its metrics with o.Registerer; it listens to nothing yet.
func New(n Node, o Options) *Server {
	o.setDefaults()
	s := &Server{
		node:       n,
		o:          o,
		log:        o.Logger,
		header:     newHeader(n.ClusterID(), n.MemberID()),
		codec:      new(Codec),
		passwords:  newPasswords(o.BcryptCost),
		grpcHealth: health.NewServer(),
		streams:    newStreams(o.MaxStreams),
		stopping:   make(chan struct{}),
	}
	s.grpcHealth.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	s.health = newHealthChecks(s)
	s.registrations = s.services()
	s.grpc = s.newGRPC()
	s.mux = s.newMux()
	s.http = s.newHTTP(s.HTTPHandler())
	probes := http.NewServeMux()
	s.installProbes(probes)
	s.metrics = s.newHTTP(s.recovering(probes))
	if o.Registerer != nil && o.HandlingTimes {
		o.Registerer.MustRegister(s.handlingTimes())
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(collector{s})
	}
	return s
}

// Register registers all services with r, whose codec must be that of Codec.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	for _, g := range s.registrations {
		r.RegisterService(g.desc, g.srv)
	}
}

// Codec returns the codec that a registrar given to Register has to use.
func (s *Server) Codec() *Codec { return s.codec }

// GRPCServer returns the gRPC server that Serve uses.
func (s *Server) GRPCServer() *grpc.Server { return s.grpc }

// The overhead that a gRPC message may have over max-request-bytes, as in etcd.
const grpcOverheadBytes = 512 << 10

// Settings of the transport that are no flags of etcd's.
const (
	maxHeaderListBytes = 64 << 10 // compression makes a large header cheap for who sends it
	maxStreamsOfOne    = 1 << 16  // calls of one connection; also those whose request has not come yet count
	handshakeTimeout   = 10 * time.Second
	transportBuffer    = 32 << 10
)

func (s *Server) newGRPC() *grpc.Server {
	g := grpc.NewServer(append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(s.codec),
		grpc.MaxRecvMsgSize(s.o.MaxRequestBytes + grpcOverheadBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(min(s.o.MaxConcurrentStreams, maxStreamsOfOne)),
		grpc.MaxHeaderListSize(maxHeaderListBytes),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             s.o.KeepAliveMinTime,
			PermitWithoutStream: false,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:    s.o.KeepAliveInterval,
			Timeout: s.o.KeepAliveTimeout,
		}),
		grpc.WriteBufferSize(transportBuffer),
		grpc.ReadBufferSize(transportBuffer),
		grpc.Creds(settled{}),
	}, s.o.GRPC...)...)
	s.Register(g)
	return g
}

// Serve serves gRPC and HTTP/1 to the plain connections of l until GracefulStop, and closes l. It returns nil after
// GracefulStop, and otherwise why accepting failed. It may run for several listeners at the same time.
func (s *Server) Serve(l net.Listener) error { return s.ServeTLS(l, nil, true) }

// Protocols are what the settings given to ServeKind have to offer (ALPN), in this order: a client that can speak both
// is a browser and gets HTTP/1.1, one that speaks only h2 is for gRPC.
func Protocols(kind Kind) []string {
	switch kind {
	case OnlyGRPC:
		return []string{"h2"}
	case OnlyHTTP, OnlyProbes:
		return []string{"http/1.1"}
	}
	return []string{"http/1.1", "h2"}
}

// Kind says what a port is for.
type Kind int

// The kinds of ports.
const (
	Everything Kind = iota // gRPC and HTTP/1
	OnlyGRPC               // HTTP/1 has a port of its own
	OnlyHTTP               // HTTP/1 alone
	OnlyProbes             // HTTP/1, and there health and metrics alone
)

// ServeTLS is Serve for clients that speak TLS by the given settings. If plain is true clients may do without it, on the
// same port; secure may be nil then.
func (s *Server) ServeTLS(l net.Listener, secure *tls.Config, plain bool) error {
	return s.ServeKind(l, secure, plain, Everything)
}

// ServeKind is ServeTLS for a port of a kind. A connection that speaks what the port does not serve is closed.
func (s *Server) ServeKind(l net.Listener, secure *tls.Config, plain bool, kind Kind) error {
	split := newSplitter(l, secure, plain, s.o.MaxConnections, s.log)
	served := make(chan error, 2)
	web := s.http
	if kind == OnlyProbes {
		web = s.metrics
	}
	serving := 0
	if kind == Everything || kind == OnlyGRPC {
		serving++
		go func() { served <- s.grpc.Serve(split.grpc) }()
	} else {
		_ = split.grpc.Close()
	}
	if kind != OnlyGRPC {
		serving++
		go func() {
			err := web.Serve(split.http)
			if err == http.ErrServerClosed {
				err = nil
			}
			served <- err
		}()
	} else {
		_ = split.http.Close()
	}
	accepted := make(chan error, 1)
	go func() { accepted <- split.run() }()
	var err error
	select {
	case err = <-accepted:
		// The servers end with their branches, but keep the connections that they have.
	case <-served:
		serving--
		split.close()
		err = <-accepted
	}
	for range serving {
		<-served
	}
	return err
}

// GracefulStop stops accepting, lets calls under way end until ctx ends, then cuts what is left. All Serve calls
// return.
func (s *Server) GracefulStop(ctx context.Context) {
	s.grpcHealth.Shutdown()
	s.stopOnce.Do(func() { close(s.stopping) })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.grpc.GracefulStop()
	}()
	for _, web := range []*http.Server{s.http, s.metrics} {
		if err := web.Shutdown(ctx); err != nil {
			_ = web.Close()
		}
	}
	select {
	case <-stopped:
	case <-ctx.Done():
		s.grpc.Stop()
		<-stopped
	}
}

// currentHeader returns the header of an answer about the present.
func (s *Server) currentHeader() *pb.ResponseHeader {
	return s.header.message(s.node.KV().Revision(), s.node.Status().Term)
}
