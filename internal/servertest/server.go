// Package servertest runs the built holdfast binary as a process, for tests that need the real thing: sockets,
// signals, a data directory.
//
// What a test may rely on:
//
//	P1  Start and Restart return only when the server answers a read; a server that does not come up fails the
//	    test with everything it wrote.
//	P2  No server outlives its test, nor the test process, however either ends.
//	P3  A server listens on the loopback interface only, on ports that were free, and keeps them, and its data
//	    directory, over a Restart.
//
// Use:
//
//	func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }
//
//	func TestPut(t *testing.T) {
//		s := servertest.Start(t, "--quota-backend-bytes=1000000")
//		client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}})
//		...
//		s.Kill()
//		s.Restart()
//	}
package servertest

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// readyTimeout is how long a server may take until it answers; a machine under load needs a part of it.
const readyTimeout = 60 * time.Second

// stopTimeout is how long a server may take to end after SIGTERM.
const stopTimeout = 30 * time.Second

// Server is one holdfast server. Its methods are called by the test's own goroutine, one at a time, except
// Output, Endpoint and DataDir.
type Server struct {
	t       testing.TB
	flags   []string
	tls     *tls.Config // nil: it is spoken to without TLS
	client  string      // URL
	peer    string      // URL
	dataDir string
	output  *output

	own     *Member  // how it is started, if it is one of several; nil: as the one member of its cluster
	process *process // nil when it does not run
}

// process is one run of a server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended, after err was set
	err  error
}

// Start builds the binary if this process has not yet, starts it as a cluster of one member in a new data
// directory and waits until it answers. Flags follow those that Start gives, so they can replace them, except
// for the URLs. The test's cleanup ends the server.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	return StartIn(t, filepath.Join(t.TempDir(), "data"), flags...)
}

// StartTLS is Start for a server that serves clients with TLS: flags say by which certificate, and config how the
// question whether it answers is put.
func StartTLS(t testing.TB, config *tls.Config, flags ...string) *Server {
	t.Helper()
	return start(t, filepath.Join(t.TempDir(), "data"), config, flags)
}

// StartIn is Start with a data directory that the caller chose; the server makes it if it does not exist.
func StartIn(t testing.TB, dataDir string, flags ...string) *Server {
	t.Helper()
	return start(t, dataDir, nil, flags)
}

func start(t testing.TB, dataDir string, config *tls.Config, flags []string) *Server {
	t.Helper()
	scheme := "http://"
	if config != nil {
		scheme = "https://"
	}
	s := &Server{t: t, flags: flags, tls: config, dataDir: dataDir, output: &output{}}
	t.Cleanup(func() {
		s.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the server wrote:\n%s", s.Output())
		}
	})
	// A port is free when it is chosen; another process may take it before the server does.
	for attempt := 1; ; attempt++ {
		s.client, s.peer = scheme+freeAddress(t), "http://"+freeAddress(t)
		err := s.run()
		if err == nil {
			return s
		}
		if attempt == 3 || !strings.Contains(s.Output(), "address already in use") {
			t.Fatalf("the server did not come up: %v\nIt wrote:\n%s", err, s.Output())
		}
	}
}

// Endpoint is the URL at which the server serves clients.
func (s *Server) Endpoint() string { return s.client }

// DataDir is the server's data directory.
func (s *Server) DataDir() string { return s.dataDir }

// Output is what the server has written to standard output and standard error, in all its runs. Of very much
// it is the end.
func (s *Server) Output() string { return s.output.String() }

// Pid is the number of the server's process, or 0 when it does not run.
func (s *Server) Pid() int {
	if s.process == nil {
		return 0
	}
	return s.process.cmd.Process.Pid
}

// Kill ends the server with SIGKILL, so that it has no time to put anything in order, and waits until it is
// gone. It does nothing to a server that does not run.
func (s *Server) Kill() {
	s.t.Helper()
	s.end(syscall.SIGKILL)
}

// Stop asks the server to end, with SIGTERM, and waits until it has. The test fails if it takes too long or
// exits with anything but 0. It does nothing to a server that does not run.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.end(syscall.SIGTERM); err != nil {
		s.t.Errorf("the server did not stop as asked: %v\nIt wrote:\n%s", err, s.Output())
	}
}

// Restart starts the server again on the data and ports it had; one that still runs is stopped first.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.run(); err != nil {
		s.t.Fatalf("the server did not come up again: %v\nIt wrote:\n%s", err, s.Output())
	}
}

// Wait returns when the server has ended by itself, with the error of its exit: nil if it exited with 0.
func (s *Server) Wait(timeout time.Duration) error {
	if s.process == nil {
		return nil
	}
	select {
	case <-s.process.done:
		err := s.process.err
		s.process = nil
		return err
	case <-time.After(timeout):
		return errors.New("the server still runs")
	}
}

// run starts the process and waits until it answers.
func (s *Server) run() error {
	if err := s.launch(); err != nil {
		return err
	}
	if err := s.ready(s.process); err != nil {
		s.end(syscall.SIGKILL)
		return err
	}
	return nil
}

// launch starts the process.
func (s *Server) launch() error {
	if s.own != nil {
		return s.exec(append(s.own.Through, append([]string{Binary(s.t)}, s.own.args()...)...))
	}
	args := []string{Binary(s.t), "serve",
		"--data-dir", s.dataDir,
		"--listen-client-urls", s.client, "--advertise-client-urls", s.client,
		"--listen-peer-urls", s.peer, "--initial-advertise-peer-urls", s.peer,
		"--initial-cluster", "default=" + s.peer,
		"--log-format", "json",
	}
	return s.exec(append(args, s.flags...))
}

func (s *Server) exec(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = s.output, s.output
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	s.process = p
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return nil
}

// ready waits until the server answers a serializable read, which needs no leader and changes nothing.
func (s *Server) ready(p *process) error {
	// The first attempts come before the server listens; the usual pause of a second after each would be most
	// of what a test waits for.
	pause := backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1.5, MaxDelay: 100 * time.Millisecond}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{s.client},
		TLS:         s.tls,
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: time.Second})},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		attempt, stop := context.WithTimeout(ctx, time.Second)
		_, err := client.Get(attempt, "ready", clientv3.WithSerializable())
		stop()
		switch {
		case err == nil:
			return nil
		case ended(p):
			return errors.New("it ended by itself: " + exitText(p.err))
		case ctx.Err() != nil:
			return errors.New("no answer within " + readyTimeout.String() + ": " + err.Error())
		}
	}
}

// end sends the signal and waits until the process is gone; if that takes too long it is killed. The error is
// that of the exit, or nil after SIGKILL.
func (s *Server) end(signal syscall.Signal) error {
	p := s.process
	if p == nil {
		return nil
	}
	s.process = nil
	_ = p.cmd.Process.Signal(signal) // It fails only if the process is gone already.
	if signal == syscall.SIGKILL {
		<-p.done
		return nil
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
		return errors.New("it still ran " + stopTimeout.String() + " after the signal, and was killed")
	}
}

func ended(p *process) bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// freeAddress returns a loopback address whose port nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// environment is this process's, without the settings of a server or client that a developer may have there.
func environment() []string {
	var env []string
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "HOLDFAST") || strings.HasPrefix(entry, "ETCD") {
			continue
		}
		env = append(env, entry)
	}
	return env
}
