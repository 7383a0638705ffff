package server

import (
	"context"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
)

// Options are the settings of a Server. A zero value means the default, which is etcd's where etcd has the setting.
type Options struct {
	Logger *zap.Logger // nil logs nothing
	// Registerer gets the server's metrics, and Gatherer is what /metrics shows; either may be nil.
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
	// Fail stops the member because of what it is given: a bug that a handler ran into, or damage found in the
	// store. It must not wait for calls to end. nil ends the process.
	Fail func(error)

	// HandlingTimes adds a histogram of the time that each method takes to the metrics.
	HandlingTimes bool

	MaxRequestBytes      int    // of a command; default 1.5 MiB
	MaxTxnOps            int    // of each list of a transaction; default 128
	MinLeaseTTL          int64  // in seconds; a shorter one is raised to it; default 2, as etcd's with its defaults
	MaxConcurrentStreams uint32 // of one connection; default no limit
	MaxConnections       int    // of one listener; default what the limit of open files leaves, at most 65,536
	MaxStreams           int    // streaming calls of all connections; default 65,536

	KeepAliveMinTime  time.Duration // a client that pings more often is cut off; default 5 s
	KeepAliveInterval time.Duration // a quiet client is pinged after so long; default 2 h
	KeepAliveTimeout  time.Duration // and cut off if no answer comes for so long; default 20 s

	RequestTimeout time.Duration // of a health check's read; default 7 s
	SlowRequest    time.Duration // unary requests that took longer are logged; default 300 ms
	// WatchProgressInterval is how often a watcher that asked for it is told its progress; default 10 min, at least
	// 100 ms. ElectionTimeout is what a stream that wants a leader waits by; default 1 s.
	WatchProgressInterval time.Duration
	ElectionTimeout       time.Duration

	MaxStreamAge time.Duration // a RangeStream that has not been read by then is cut off; default 10 min
	QuotaBytes   int64         // what Status reports as quota; default 2 GiB, as etcd reports it

	Tokens         Tokens // how callers prove who they are; default simple tokens
	BcryptCost     int    // of the hashes of passwords; default 10
	ClientCertAuth bool   // the name in a verified certificate of a client says who it is

	GRPC []grpc.ServerOption // further options of the gRPC server

	// Snapshot makes a snapshot of the store in etcd's format; nil if that cannot be done here.
	Snapshot func(context.Context) (SnapshotFile, error)

	Hosts    []string                        // that HTTP requests without TLS may name; none, or "*", stands for all
	Profiles bool                            // serve Go's profiles under /debug/pprof/
	WrapHTTP func(http.Handler) http.Handler // goes round all HTTP paths but those of the ports for probes; may be nil
}

// reservedFiles is how many open files the log, the store and the peers may need beside the clients.
const reservedFiles = 1024

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Fail == nil {
		log := o.Logger
		o.Fail = func(err error) { log.Fatal("the member cannot go on", zap.Error(err)) }
	}
	setDefault(&o.MaxRequestBytes, 1536<<10)
	setDefault(&o.MaxTxnOps, 128)
	setDefault(&o.MinLeaseTTL, 2)
	setDefault(&o.MaxConcurrentStreams, 1<<32-1)
	setDefault(&o.MaxConnections, defaultConnections())
	setDefault(&o.MaxStreams, 1<<16)
	setDefault(&o.KeepAliveMinTime, 5*time.Second)
	setDefault(&o.KeepAliveInterval, 2*time.Hour)
	setDefault(&o.KeepAliveTimeout, 20*time.Second)
	setDefault(&o.BcryptCost, bcrypt.DefaultCost)
	if o.Tokens == (Tokens{}) {
		o.Tokens = Tokens{simple: true, ttl: defaultTokenTTL}
	}
	setDefault(&o.RequestTimeout, 7*time.Second)
	setDefault(&o.WatchProgressInterval, 10*time.Minute)
	o.WatchProgressInterval = max(o.WatchProgressInterval, 100*time.Millisecond)
	setDefault(&o.ElectionTimeout, time.Second)
	setDefault(&o.MaxStreamAge, 10*time.Minute)
	setDefault(&o.SlowRequest, 300*time.Millisecond)
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// defaultConnections leaves a reserve of open files, but never less than half of them to clients.
func defaultConnections() int {
	const most = 1 << 16
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return most
	}
	files := min(limit.Cur, 1<<30)
	return int(min(max(files-min(files, reservedFiles), files/2, 16), most))
}
