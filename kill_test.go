package holdfast_test

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast/internal/servertest"
)

// TestKill holds I1: the binary is killed without warning under mixed load, again and again, and what was
// acknowledged is there. HOLDFAST_KILLS is how often.
func TestKill(t *testing.T) {
	kills := int(fromEnv(t, "HOLDFAST_KILLS", 20))
	seed := seed(t)
	rng := rand.New(rand.NewPCG(seed, 99))
	l := newLedger(seed, 6, 40)
	s := servertest.Start(t)
	for kill := range kills {
		loadAndKill(t, s, l, time.Duration(50+rng.IntN(500))*time.Millisecond)
		if kill%3 == 2 {
			killWhileStarting(t, s, time.Duration(rng.IntN(60))*time.Millisecond)
		}
		s.Restart()
		if err := l.verify(within(t), client(t, s.Endpoint())); err != nil {
			t.Fatalf("after kill %d: %v", kill+1, err)
		}
	}
	if l.writes() < 10*kills {
		t.Errorf("only %d writes were acknowledged before %d kills", l.writes(), kills)
	}
	t.Logf("%d writes were acknowledged, %d kills", l.writes(), kills)
	s.Stop()
}

// loadAndKill lets all clients work for a while and kills the server under them.
func loadAndKill(t *testing.T, s *servertest.Server, l *ledger, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var dying atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx, func() (*clientv3.Client, error) { return connect(s.Endpoint()) },
			func() bool { return !dying.Load() }, func(err error) { t.Error(err) })
	}()
	<-time.After(after)
	dying.Store(true)
	s.Kill()
	// The clients that wait for an answer notice at once; those that would ask again are stopped.
	cancel()
	<-done
	if t.Failed() {
		t.FailNow()
	}
}

// killWhileStarting starts the server on the same directory and kills it before it has come far.
func killWhileStarting(t *testing.T, s *servertest.Server, after time.Duration) {
	t.Helper()
	cmd := exec.Command(servertest.Binary(t), "serve", "--data-dir", s.DataDir(), "--listen-client-urls", s.Endpoint(), "--log-format", "json")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-time.After(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
}
