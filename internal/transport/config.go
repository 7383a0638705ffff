package transport

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"holdfast/internal/kind"
)

// Config is what a Transport is made of. The zero values of all but Identity are of use.
type Config struct {
	// Identity is this member's: its cluster and its id.
	Identity kind.Identity
	// URLs are this member's own peer URLs, which it tells the peers, so that one that does not know it yet can answer.
	// When SetPeers names this member too, the URLs that it gives count.
	URLs []string
	// Hello is what this member tells the others of its versions.
	Hello Hello
	// Handler may also be set later, by SetHandler, before SetPeers, Serve and Send.
	Handler Handler
	// ClientTLS returns the settings with which the https or unixs URL of a peer with that host is called, anew for each
	// connection; nil means that such URLs cannot be called.
	ClientTLS func(host string) *tls.Config
	// Page answers HTTP GET of /version, /health and /members on the peer port with JSON; nil, or the status 0, answers
	// "not found".
	Page func(ctx context.Context, path string) (status int, body []byte)
	// Limits bound what peers and strangers cost.
	Limits Limits
	// SnapshotBytesPerSecond bounds what the snapshots that are being sent take together; 0 sets no bound.
	SnapshotBytesPerSecond int64
	// Dial opens connections: network is tcp or unix. nil means the net package.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Wall is the clock that is shown to peers; nil means time.Now.
	Wall func() time.Time
	// Logger is told when peers come and go; nil logs nothing.
	Logger *zap.Logger
	// Registerer gets the metrics, under etcd's names; nil registers nothing.
	Registerer prometheus.Registerer
}
