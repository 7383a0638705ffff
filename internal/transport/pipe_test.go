package transport

import (
	"bytes"
	"net"
)

// pipeOf is a connection from which b can be read, and then no more.
func pipeOf(b []byte) net.Conn { return &staticConn{r: bytes.NewReader(b)} }

type staticConn struct {
	net.Conn
	r *bytes.Reader
}

func (c *staticConn) Read(b []byte) (int, error) { return c.r.Read(b) }
