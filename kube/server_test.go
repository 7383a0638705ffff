package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcdCommand makes the test program an etcd server: its arguments are the data directory, the client URL and the peer URL.
const etcdCommand = "serve-etcd"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == etcdCommand {
		os.Exit(serveEtcd(os.Args[2], os.Args[3], os.Args[4]))
	}
	os.Exit(m.Run())
}

func serveEtcd(dir, client, peer string) int {
	c := embed.NewConfig()
	clientURL, _ := url.Parse(client)
	peerURL, _ := url.Parse(peer)
	c.Dir = dir
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	c.InitialCluster = c.Name + "=" + peer
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	e, err := embed.StartEtcd(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer e.Close()
	select {
	case <-signals:
		return 0
	case err := <-e.Err():
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
}

// A server is the process that is driven.
type server struct {
	t        *testing.T
	command  []string
	endpoint string
	log      string
	process  *exec.Cmd
	ended    chan struct{}
}

// startServer starts the built Holdfast (HOLDFAST_BINARY, or built from the module around this one), or etcd with KUBE_PEER=etcd.
func startServer(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	client, peer := "http://"+freeAddress(t), "http://"+freeAddress(t)
	s := &server{t: t, endpoint: client, log: filepath.Join(dir, "log")}
	data := filepath.Join(dir, "data")
	if os.Getenv("KUBE_PEER") == "etcd" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		s.command = []string{self, etcdCommand, data, client, peer}
	} else {
		s.command = []string{holdfast(t), "serve", "--data-dir", data, "--log-format", "json",
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer}
	}
	s.start()
	t.Cleanup(func() {
		s.end(syscall.SIGKILL)
		if t.Failed() {
			log, _ := os.ReadFile(s.log)
			t.Logf("the server's log ends with:\n%s", log[max(0, len(log)-4096):])
		}
	})
	return s
}

func holdfast(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("HOLDFAST_BINARY"); path != "" {
		path, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := filepath.Join(t.TempDir(), "holdfast")
	build := exec.Command("go", "build", "-o", path, "./cmd/holdfast")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build holdfast: %v\n%s", err, out)
	}
	return path
}

// start starts the process and returns when it answers.
func (s *server) start() {
	s.t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.process = exec.Command(s.command[0], s.command[1:]...)
	s.process.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "HOLDFAST_") || strings.HasPrefix(v, "ETCD_")
	})
	s.process.Stdout, s.process.Stderr = log, log
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func(process *exec.Cmd, ended chan struct{}) {
		process.Wait()
		close(ended)
	}(s.process, s.ended)
	client, err := dial(s.endpoint)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	for deadline := time.Now().Add(30 * time.Second); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := client.Kubernetes.Get(ctx, "/registry/health", kubernetes.GetOptions{})
		cancel()
		if err == nil {
			return
		}
		select {
		case <-s.ended:
			s.t.Fatalf("the server ended while starting: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server does not answer: %v", err)
		}
	}
}

func (s *server) end(signal syscall.Signal) {
	if err := s.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	<-s.ended
}

// kill ends the server without warning and starts it again.
func (s *server) kill() {
	s.t.Helper()
	s.end(syscall.SIGKILL)
	s.start()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
