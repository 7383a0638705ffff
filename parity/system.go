package parity

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// A System is one of the two servers that are compared: a single member with its data in a directory of its own.
type System interface {
	// Name says which side this is, for reports.
	Name() string
	// Conn is the connection to the running server. It is replaced by Restart.
	Conn() *grpc.ClientConn
	// Restart ends the server and starts it again on the same data. It returns once the server answers.
	Restart(how Restart) error
	// Close ends the server and frees what it holds. Its data directory belongs to the caller.
	Close() error
	// Diagnosis returns the last words of the server's log, to be printed beside a failure.
	Diagnosis() string
}

// Restart says how a server is ended before it is started again.
type Restart int

// The ways to end a server. An embedded etcd cannot be killed without the test itself, so there both are a clean stop: what is compared
// is that a kill loses nothing.
const (
	Clean Restart = iota // as an operator does, with SIGTERM
	Kill                 // with SIGKILL
)

func (r Restart) String() string { return [...]string{"clean restart", "kill -9 and restart"}[r] }

// Settings are the flags that both servers get.
type Settings struct {
	QuotaBytes int64 // --quota-backend-bytes
}

// DefaultSettings hold for every run that does not test a limit.
var DefaultSettings = Settings{QuotaBytes: 2 << 30}

// Both servers run with these: quick elections, which make the least TTL of a lease one second, cheap hashes, and tokens that outlive a run.
const (
	tickMilliseconds     = 10
	electionMilliseconds = 100
	bcryptCost           = 4
	tokenSeconds         = 1_000_000
)

// maxAnswerBytes lets a client accept answers larger than any run makes.
const maxAnswerBytes = 64 << 20

func dial(address string, interceptors ...grpc.DialOption) (*grpc.ClientConn, error) {
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes), grpc.MaxCallSendMsgSize(maxAnswerBytes)),
	}, interceptors...)
	return grpc.NewClient("passthrough:///"+address, options...)
}

// freeAddress returns a loopback address that nothing listens on. It lies below the ports that the system gives to outgoing connections,
// and in a block that is this process's own among its neighbours, lest somebody sits on it while the server restarts.
func freeAddress() (string, error) {
	const lowest, blocks, blockPorts = 11_000, 500, 40
	first := lowest + os.Getpid()%blocks*blockPorts
	for range blockPorts {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+int(nextPort.Add(1))%blockPorts))
		if err == nil {
			defer l.Close()
			return l.Addr().String(), nil
		}
	}
	return "", fmt.Errorf("find a free port: all from %d on are taken, %d in number", first, blockPorts)
}

// nextPort goes round the block, so that an address is not given out again at once.
var nextPort atomic.Int64

// waitServing returns once the server answers Status with its storage version decided, or with the last error after the given time.
// etcd decides the version a moment after it begins to serve; until then its answers are not yet those of a running member.
func waitServing(conn *grpc.ClientConn, within time.Duration, ended <-chan struct{}) error {
	deadline := time.Now().Add(within)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		version, err := storageVersion(ctx, conn)
		cancel()
		// With authentication on, the refusal of a caller without a token is an answer of a running member.
		if (err == nil && version != "") || status.Convert(err).Message() == userEmpty {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("Status.storageVersion is still empty")
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not serving after %v: %w", within, err)
		}
		select {
		case <-ended:
			return fmt.Errorf("the server ended while starting: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
