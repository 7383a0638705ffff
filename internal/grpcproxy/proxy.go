// Package grpcproxy serves the API of a cluster to many clients over few connections: the command "grpc-proxy start" of
// etcd. Watchers of the same keys share one watcher of the cluster.
//
// Invariants:
//
//	P1  What the proxy does not have to understand is passed on as it came, both ways, with the caller's token: it
//	    decides nothing and keeps nothing.
//	P2  A watcher gets each change of its keys from its first revision on exactly once, in order, and all changes of a
//	    revision in one message, whether it shares a watcher or not. The revision in its first message is not
//	    below that of any write that was acknowledged before it was asked for.
//	P3  Watchers share one only if they watch the same keys in the same way for the same caller: nobody sees by
//	    another's rights.
//	P4  A client that does not read its events loses its stream, and holds up nobody else.
//
// The sharing works so: a shared watcher knows up to which revision it has handed out everything. Whoever joins later
// gets what is above its own first revision and above that one. One that asks for older changes gets a watcher of its
// own.
//
// Use:
//
//	p, err := grpcproxy.New(client, grpcproxy.Options{Logger: logger})
//	p.Register(grpcServer)
package grpcproxy

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Options say what the proxy does besides passing on.
type Options struct {
	// Namespace is put before all keys of KV, Watch and Lease; empty for none.
	Namespace string
	// LeasingPrefix is where leases on keys are kept, with which reads are answered here; empty for none.
	LeasingPrefix string
	// Ordering refuses serializable reads from a member that is behind what was read before.
	Ordering bool
	// AdvertiseURL is what MemberList names as the only member, and ResolverPrefix where the proxies of a cluster register;
	// then MemberList names all of them.
	AdvertiseURL, ResolverPrefix string
	// ResolverTTL is for how long, in seconds, a proxy that has gone stays registered.
	ResolverTTL int
	Logger      *zap.Logger
}

// Proxy is the services.
type Proxy struct {
	o       Options
	client  *clientv3.Client
	kv      clientv3.KV
	watcher clientv3.Watcher
	lease   clientv3.Lease
	typed   bool // keys are understood, not passed on
	watch   *watchServer
	cluster *clusterServer
	metrics *metrics
	close   []func()
}

// orderingPause is how long is waited between two tries to read from a cluster that does not answer yet.
const orderingPause = time.Second

// New makes a proxy of a client, which stays the caller's to close, after the proxy, and is changed: its keys are those of
// the namespace from now on. With Ordering it waits for the
// cluster until ctx ends.
func New(ctx context.Context, client *clientv3.Client, o Options) (*Proxy, error) {
	p := &Proxy{o: o, client: client, kv: client.KV, watcher: client.Watcher, lease: client.Lease, metrics: newMetrics()}
	if o.Ordering {
		p.kv = ordering.NewKV(p.kv, ordering.NewOrderViolationSwitchEndpointClosure(client))
		for {
			_, err := p.kv.Get(ctx, "_", clientv3.WithKeysOnly())
			if err == nil || errors.Is(err, rpctypes.ErrPermissionDenied) || errors.Is(err, rpctypes.ErrUserEmpty) {
				break
			}
			o.Logger.Warn("ordering recovery failed, retrying in 1s", zap.Error(err))
			select {
			case <-time.After(orderingPause):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	if o.Namespace != "" {
		p.kv = namespace.NewKV(p.kv, o.Namespace)
		p.watcher = namespace.NewWatcher(p.watcher, o.Namespace)
		p.lease = namespace.NewLease(p.lease, o.Namespace)
	}
	client.KV, client.Watcher, client.Lease = p.kv, p.watcher, p.lease
	if o.LeasingPrefix != "" {
		kv, end, err := leasing.NewKV(client, o.LeasingPrefix)
		if err != nil {
			return nil, err
		}
		p.kv, client.KV = kv, kv
		p.close = append(p.close, end)
	}
	p.typed = o.Ordering || o.Namespace != "" || o.LeasingPrefix != ""
	p.watch = newWatchServer(p, clientv3.NewKV(client))
	p.cluster = newClusterServer(p)
	return p, nil
}

// Close ends what the proxy does by itself. The server has to be stopped before.
func (p *Proxy) Close() {
	p.watch.close()
	p.cluster.close()
	for _, end := range p.close {
		end()
	}
}

// ServerOptions are what a gRPC server needs to pass calls on.
func (p *Proxy) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ForceServerCodecV2(codec{}), grpc.UnknownServiceHandler(p.forward)}
}

// Register adds those services to a server that are not just passed on.
func (p *Proxy) Register(s *grpc.Server) {
	pb.RegisterWatchServer(s, p.watch)
	if p.o.AdvertiseURL != "" {
		pb.RegisterClusterServer(s, p.cluster)
	}
	if p.typed {
		pb.RegisterKVServer(s, &kvServer{p: p})
	}
	if p.o.Namespace != "" {
		pb.RegisterLeaseServer(s, &leaseServer{p: p})
	}
}

// passedOn are the headers of a call that mean something to a member.
var passedOn = []string{rpctypes.TokenFieldNameGRPC, "authorization", rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataClientAPIVersionKey}

// outgoing returns the context of the call that is made for a call.
func outgoing(ctx context.Context) context.Context {
	received, _ := metadata.FromIncomingContext(ctx)
	sent := metadata.MD{}
	for _, name := range passedOn {
		if values := received.Get(name); len(values) > 0 {
			sent[name] = values
		}
	}
	return metadata.NewOutgoingContext(ctx, sent)
}

// asStatus gives an error of the client library its code back.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return status.Error(known.Code(), known.Error())
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, err.Error())
}
