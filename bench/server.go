package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A system is one of the two that are compared.
type system struct {
	name string
	// command is the program with the arguments that make it a server.
	command func(p place) []string
}

// A place is what a server is told: where its data lies, where it listens, and with whom.
type place struct {
	dir          string
	client, peer string // addresses
	name         string
	cluster      string // the initial cluster
	state        string // "new" or "existing"
}

// bothSystems returns Holdfast, built into dir unless a binary is given and giving profiles if wanted, and etcd.
func bothSystems(binary, dir string, profiles bool) ([]system, error) {
	if binary == "" {
		binary = filepath.Join(dir, "binary") // not the name of a system, whose data gets that
		build := exec.Command("go", "build", "-o", binary, "./cmd/holdfast")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build holdfast (bench runs in its own directory): %w\n%s", err, out)
		}
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var more []string
	if profiles {
		more = append(more, "--enable-pprof")
	}
	return []system{
		{"holdfast", func(p place) []string {
			client, peer := "http://"+p.client, "http://"+p.peer
			return append([]string{binary, "serve", "--data-dir", p.dir, "--log-format", "json", "--name", p.name,
				"--listen-client-urls", client, "--advertise-client-urls", client,
				"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
				"--initial-cluster", p.cluster, "--initial-cluster-state", p.state}, more...)
		}},
		{"etcd", func(p place) []string {
			return []string{self, etcdCommand, p.dir, "http://" + p.client, "http://" + p.peer, p.name, p.cluster, p.state}
		}},
	}, nil
}

// A server is a running process of a system.
type server struct {
	place
	system  system
	process *exec.Cmd
	ended   chan struct{}
	exit    error
}

// startTimeout bounds how long a server may take until it answers, with a million keys after a kill.
const startTimeout = 5 * time.Minute

// launch starts a server on dir, a cluster of one, and does not wait for it.
func launch(s system, dir string) (*server, error) {
	v, err := locate(s, dir, "default")
	if err != nil {
		return nil, err
	}
	v.cluster, v.state = v.entry(), "new"
	return v, v.exec()
}

// locate finds addresses for a server that is to be started.
func locate(s system, dir, name string) (*server, error) {
	client, err := freeAddress()
	if err != nil {
		return nil, err
	}
	peer, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return &server{system: s, place: place{dir: dir, client: client, peer: peer, name: name}}, nil
}

// entry is the server's part of an initial cluster.
func (p place) entry() string { return p.name + "=http://" + p.peer }

func (v *server) exec() error {
	command := v.system.command(v.place)
	v.process = exec.Command(command[0], command[1:]...)
	// Settings come from the command alone (B1).
	v.process.Env = slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "HOLDFAST_") || strings.HasPrefix(e, "ETCD_")
	})
	log, err := os.OpenFile(v.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	v.process.Stdout, v.process.Stderr = log, log
	// No server may outlive the bench.
	v.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := v.process.Start(); err != nil {
		return fmt.Errorf("start %s: %w", v.system.name, err)
	}
	v.ended = make(chan struct{})
	go func(process *exec.Cmd, ended chan struct{}) {
		v.exit = process.Wait()
		close(ended)
	}(v.process, v.ended)
	return nil
}

// start launches a server on an empty directory and waits until it answers.
func start(ctx context.Context, s system, dir string) (*server, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	v, err := launch(s, dir)
	if err != nil {
		return nil, err
	}
	if _, err := v.answers(ctx, nil); err != nil {
		v.stop(syscall.SIGKILL)
		return nil, err
	}
	return v, nil
}

// answers waits until a linearizable read of the key succeeds, and finds it unless it is nil. It returns how long that took.
func (v *server) answers(ctx context.Context, key []byte) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := v.dial()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	wanted := key
	if wanted == nil {
		wanted = []byte("absent")
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		r, err := pb.NewKVClient(conn).Range(attempt, &pb.RangeRequest{Key: wanted})
		cancel()
		took := time.Since(began)
		switch {
		case err == nil && key != nil && len(r.Kvs) == 0:
			return took, fmt.Errorf("%s has lost the key %q", v.system.name, key)
		case err == nil:
			return took, nil
		}
		select {
		case <-v.ended:
			return took, fmt.Errorf("%s ended while starting (%w):\n%s", v.system.name, v.exit, v.lastWords())
		case <-ctx.Done():
			return took, fmt.Errorf("%s does not answer: %w\n%s", v.system.name, err, v.lastWords())
		case <-time.After(time.Millisecond):
		}
	}
}

// stop sends the signal and waits for the end of the process.
func (v *server) stop(signal syscall.Signal) error {
	if err := v.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-v.ended:
		return nil
	case <-time.After(time.Minute):
		v.process.Process.Kill()
		<-v.ended
		return fmt.Errorf("%s did not end within a minute of %v and was killed", v.system.name, signal)
	}
}

func (v *server) pid() int { return v.process.Process.Pid }

func (v *server) lastWords() string {
	log, _ := os.ReadFile(v.dir + ".log")
	return string(log[max(0, len(log)-2048):])
}

func (v *server) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+v.client,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)),
		// A server that starts is asked every few milliseconds.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 2 * time.Millisecond, Multiplier: 1, MaxDelay: 2 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
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
