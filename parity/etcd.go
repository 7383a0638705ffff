package parity

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"go.etcd.io/etcd/server/v3/embed"
)

// Etcd is an embedded etcd, the side that is right by definition.
type Etcd struct {
	name         string
	dir          string
	settings     Settings
	client, peer string
	dialOptions  []grpc.DialOption
	server       *embed.Etcd
	conn         *grpc.ClientConn
}

// StartEtcd starts an etcd in dir. The dial options let a test stand between it and its clients.
func StartEtcd(name, dir string, settings Settings, dialOptions ...grpc.DialOption) (*Etcd, error) {
	e := &Etcd{name: name, dir: dir, settings: settings, dialOptions: dialOptions}
	var err error
	if e.client, err = freeAddress(); err != nil {
		return nil, err
	}
	if e.peer, err = freeAddress(); err != nil {
		return nil, err
	}
	return e, e.start()
}

func (e *Etcd) start() error {
	c := embed.NewConfig()
	client, peer := url.URL{Scheme: "http", Host: e.client}, url.URL{Scheme: "http", Host: e.peer}
	c.Dir = e.dir
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = "default=" + peer.String()
	c.QuotaBackendBytes = e.settings.QuotaBytes
	// Neither changes an answer: the first saves disk syncs that no run depends on, the others make a restart quick.
	c.UnsafeNoFsync = true
	c.TickMs, c.ElectionMs = tickMilliseconds, electionMilliseconds
	c.BcryptCost, c.AuthTokenTTL = bcryptCost, tokenSeconds
	c.LogLevel = "error"
	c.LogOutputs = []string{filepath.Join(e.dir, "..", filepath.Base(e.dir)+".log")}
	server, err := embed.StartEtcd(c)
	// Close may return a moment before etcd has let go of its addresses.
	for tries := 0; errors.Is(err, syscall.EADDRINUSE) && tries < 100; tries++ {
		time.Sleep(50 * time.Millisecond)
		server, err = embed.StartEtcd(c)
	}
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	e.server = server
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		server.Close()
		return fmt.Errorf("start etcd: not ready after 30 s")
	}
	if e.conn, err = dial(e.client, e.dialOptions...); err != nil {
		return err
	}
	if err := waitServing(e.conn, 30*time.Second, server.Server.StopNotify()); err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	return nil
}

// Name implements System.
func (e *Etcd) Name() string { return e.name }

// Conn implements System.
func (e *Etcd) Conn() *grpc.ClientConn { return e.conn }

// Restart implements System; both ways are a clean stop.
func (e *Etcd) Restart(Restart) error {
	if err := e.Close(); err != nil {
		return err
	}
	return e.start()
}

// Close implements System.
func (e *Etcd) Close() error {
	if e.server == nil {
		return nil
	}
	e.conn.Close()
	e.server.Close()
	e.server = nil
	return nil
}

// Diagnosis implements System.
func (e *Etcd) Diagnosis() string {
	return tail(filepath.Join(e.dir, "..", filepath.Base(e.dir)+".log"))
}
