package holdfast

import (
	"net"
	"testing"

	"holdfast/internal/config"
)

// With --socket-reuse-port two may listen at one port, as long as both ask for it.
func TestReusePort(t *testing.T) {
	for _, reuse := range []bool{true, false} {
		first, err := listen("tcp", "127.0.0.1:0", true)
		if err != nil {
			t.Fatal(err)
		}
		second, err := listen("tcp", first.Addr().String(), reuse)
		if (err == nil) != reuse {
			t.Errorf("reuse %v: %v", reuse, err)
		}
		if err == nil {
			_ = second.Close()
		}
		_ = first.Close()
	}
}

// With the gate SetMemberLocalAddr connections to other members leave from the advertised address.
func TestOwnAddress(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", ""},
		{"--feature-gates=SetMemberLocalAddr=true", "127.0.0.5:0"},
	} {
		args := []string{"--initial-advertise-peer-urls=http://127.0.0.5:1,http://a.example:2"}
		if c.args != "" {
			args = append(args, c.args)
		}
		settings, _, err := config.Parse("holdfast", args, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		m := &Member{config: settings}
		got := ""
		if a := m.ownAddress("tcp"); a != nil {
			got = a.String()
		}
		if got != c.want {
			t.Errorf("%s: connections leave from %q", c.args, got)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := m.dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if from := conn.LocalAddr().(*net.TCPAddr).IP.String(); c.want != "" && from != "127.0.0.5" {
			t.Errorf("a connection leaves from %s", from)
		}
		_ = conn.Close()
		_ = l.Close()
	}
}
