package servertest

import (
	"errors"
	"syscall"
	"testing"
)

// Member says how one server of several is started. A test that starts several picks the URLs itself, by FreeAddress or in
// networks of its own.
type Member struct {
	Name    string
	DataDir string
	Client  string   // URL at which it serves clients, and that it advertises
	Peer    string   // URL at which it listens to other members
	Flags   []string // all others: what it advertises to members, who they are, …
	Through []string // a command that the binary is started by, which must become it (as "ip netns exec NAME" does)
}

func (m *Member) args() []string {
	return append([]string{"serve", "--name", m.Name, "--data-dir", m.DataDir,
		"--listen-client-urls", m.Client, "--advertise-client-urls", m.Client, "--listen-peer-urls", m.Peer, "--log-format", "json"}, m.Flags...)
}

// NewMember returns a server that does not run yet: members of a new cluster wait for each other, so that they are all
// launched before the first is waited for. The test's cleanup ends it.
func NewMember(t testing.TB, m Member) *Server {
	t.Helper()
	s := &Server{t: t, dataDir: m.DataDir, client: m.Client, peer: m.Peer, own: &m, output: &output{}}
	t.Cleanup(func() {
		s.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("member %s wrote:\n%s", m.Name, s.Output())
		}
	})
	return s
}

// Launch starts a server that does not run, and returns at once.
func (s *Server) Launch() {
	s.t.Helper()
	if s.process != nil {
		s.t.Fatal("the server runs already")
	}
	if err := s.launch(); err != nil {
		s.t.Fatalf("the server was not started: %v", err)
	}
}

// Ready waits until a launched server answers a serializable read. The error tells what it waited for in vain.
func (s *Server) Ready() error {
	if s.process == nil {
		return errors.New("the server does not run")
	}
	return s.ready(s.process)
}

// SetFlags replaces the flags of a server that was made by NewMember, from its next start on.
func (s *Server) SetFlags(flags ...string) { s.own.Flags = flags }

// Signal sends a signal to the server's process, as SIGSTOP and SIGCONT, and does not wait for what comes of it.
func (s *Server) Signal(signal syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatal("the server does not run")
	}
	if err := s.process.cmd.Process.Signal(signal); err != nil {
		s.t.Fatalf("signal %v: %v", signal, err)
	}
}

// Terminate asks the server to end, with SIGTERM, and returns at once; End waits until it has.
func (s *Server) Terminate() { s.Signal(syscall.SIGTERM) }

// End waits until a server that was told to end has done so. The test fails if it takes too long or exits with anything
// but 0.
func (s *Server) End() {
	s.t.Helper()
	if err := s.Wait(stopTimeout); err != nil {
		s.t.Errorf("the server did not stop as asked: %v\nIt wrote:\n%s", err, s.Output())
	}
}

// Alive reports whether the server's process runs.
func (s *Server) Alive() bool { return s.process != nil && !ended(s.process) }

// FreeAddress returns a loopback address, with a port, at which nobody listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	return freeAddress(t)
}
