package server

import (
	"net"
	"sync/atomic"
	"time"
)

// wire is the bare connection of a client in the lobby and afterwards: it says again what was read to see who speaks,
// and tells the lobby when a handshake waits for the client.
type wire struct {
	net.Conn
	spoken []byte // what has been read already; only one goroutine reads at a time

	lobby *lobby
	guest *guest // nil when no handshake is under way

	closing atomic.Bool // the goodbye is being said
}

// Read returns what was read before first.
func (w *wire) Read(b []byte) (n int, err error) {
	if len(w.spoken) > 0 {
		n = copy(b, w.spoken)
		w.spoken = w.spoken[n:]
		return n, nil
	}
	if w.guest == nil {
		return w.Conn.Read(b)
	}
	w.lobby.wait(w.guest)
	n, err = w.Conn.Read(b)
	w.lobby.turn(w.guest)
	return n, err
}

// Write writes b.
func (w *wire) Write(b []byte) (int, error) {
	if w.guest != nil {
		w.lobby.answered(w.guest)
	}
	return w.Conn.Write(b)
}

// closeWriteTimeout is how long saying goodbye may take.
const closeWriteTimeout = 100 * time.Millisecond

// SetWriteDeadline shortens the deadline of five seconds that crypto/tls sets for its goodbye: a member that stops has
// many clients to take leave of.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if soon := time.Now().Add(closeWriteTimeout); w.closing.Load() && t.After(soon) {
		t = soon
	}
	return w.Conn.SetWriteDeadline(t)
}
