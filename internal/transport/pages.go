package transport

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// pages answers HTTP on the peer port.
type pages struct {
	t      *Transport
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
	once   sync.Once

	mu struct {
		sync.Mutex
		closed bool
		open   map[*pageConn]struct{}
	}
}

// httpTimeout is how long a request, its answer and the wait for the next may take, each.
const httpTimeout = 10 * time.Second

func newPages(t *Transport) *pages {
	p := &pages{t: t, conns: make(chan net.Conn), done: make(chan struct{})}
	p.mu.open = map[*pageConn]struct{}{}
	p.server = &http.Server{
		Handler:           http.HandlerFunc(p.answer),
		ReadHeaderTimeout: t.limits.HelloTimeout,
		ReadTimeout:       httpTimeout,
		WriteTimeout:      httpTimeout,
		IdleTimeout:       httpTimeout,
		MaxHeaderBytes:    16 * kib,
		BaseContext:       func(net.Listener) context.Context { return t.ctx },
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	return p
}

// serve answers until close.
func (p *pages) serve() { _ = p.server.Serve(p) }

func (p *pages) close() {
	p.mu.Lock()
	p.mu.closed = true
	open := slices.Collect(maps.Keys(p.mu.open))
	p.mu.Unlock()
	p.once.Do(func() {
		close(p.done)
		_ = p.server.Close()
	})
	for _, c := range open {
		_ = c.Close() // the server may not know of all yet
	}
}

// take hands a connection to the server; one too many is closed.
func (p *pages) take(conn net.Conn) {
	c := &pageConn{Conn: conn, pages: p}
	p.mu.Lock()
	full := len(p.mu.open) >= p.t.limits.HTTPConnections
	if full || p.mu.closed {
		p.mu.Unlock()
		_ = conn.Close()
		if full {
			p.t.reject(conn.RemoteAddr(), errors.New("too many HTTP connections are open"))
		}
		return
	}
	p.mu.open[c] = struct{}{}
	p.mu.Unlock()
	select {
	case p.conns <- c:
	case <-p.done:
		_ = c.Close()
	}
}

// pageConn gives its place back when it is closed.
type pageConn struct {
	net.Conn
	pages *pages
}

// Close closes the connection; closing again does nothing more.
func (c *pageConn) Close() error {
	c.pages.mu.Lock()
	delete(c.pages.mu.open, c)
	c.pages.mu.Unlock()
	return c.Conn.Close()
}

// Accept returns the next connection; pages is a listener for its own server.
func (p *pages) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close ends accepting.
func (p *pages) Close() error { return nil }

// Addr returns no address of use: there may be several.
func (p *pages) Addr() net.Addr { return &net.TCPAddr{} }

// pagePaths are what may be asked for.
var pagePaths = map[string]bool{"/version": true, "/health": true, "/members": true}

// answer answers a request. Every answer names the cluster, as etcd's do: a member that joins learns it there.
func (p *pages) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Etcd-Cluster-ID", p.t.config.Identity.Cluster.String())
	if !pagePaths[r.URL.Path] {
		http.Error(w, "There is nothing here; this is the port for the members of a cluster.", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	code, body := 0, []byte(nil)
	if p.t.config.Page != nil {
		code, body = p.t.config.Page(r.Context(), r.URL.Path)
	}
	if code == 0 {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}
