package kube

import (
	"context"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// resources are a small cluster's.
var resources = []Resource{
	{Name: "pods", Objects: 100, Writers: 4, Pause: 3 * time.Millisecond},
	{Name: "configmaps", Objects: 5, Writers: 4, Pause: 3 * time.Millisecond}, // everybody wants the same few
	{Name: "nodes", Objects: 1000, Writers: 1, Pause: 100 * time.Millisecond}, // seldom written: its cache lives on progress
	{Name: "events", Objects: 1000, Writers: 2, TTL: 2, Reuse: reuse{0.5, 60}, Pause: 5 * time.Millisecond},
	{Name: "masterleases", Objects: 1, Writers: 1, TTL: 4, Reuse: reuse{0.25, 60}, Renew: true, Pause: 500 * time.Millisecond},
}

// endsWithin is how much longer than granted a leased object may stay: the time without a leader after a kill, an election and a tick.
const endsWithin = 10 * time.Second

func duration(t *testing.T) time.Duration {
	text := os.Getenv("KUBE_SECONDS")
	if text == "" {
		if testing.Short() {
			return 3 * time.Second
		}
		return 6 * time.Second
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("KUBE_SECONDS: %v", err)
	}
	return time.Duration(n) * time.Second
}

// TestApiservers has two apiservers write, read, list, watch and compact for a while, over one kill -9 in the middle, and holds K1 to K6.
func TestApiservers(t *testing.T) {
	s := startServer(t)
	ledger, statistics := &Ledger{}, &Statistics{}
	var apiservers []*Apiserver
	for _, name := range []string{"one", "another"} {
		a, err := NewApiserver(name, s.endpoint, resources, ledger)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		apiservers = append(apiservers, a)
	}
	caching, stopCaches := context.WithCancel(context.Background())
	defer stopCaches()
	caches, caching := errgroup.WithContext(caching)
	working, stopWork := context.WithCancel(caching)
	defer stopWork()
	work, working := errgroup.WithContext(working)
	var compactors []*Compactor
	for _, a := range apiservers {
		caches.Go(func() error { return a.Caches(caching) })
		work.Go(func() error { return a.Work(working, statistics) })
		client, err := dial(s.endpoint)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		c := &Compactor{client: client, interval: 700 * time.Millisecond}
		compactors = append(compactors, c)
		work.Go(func() error { return c.Run(working) })
		caches.Go(func() error { return c.Watch(caching) })
	}
	half := duration(t) / 2
	pause(working, half)
	killed := time.Now()
	s.kill()
	back := time.Since(killed)
	pause(working, half)
	stopWork()
	if err := work.Wait(); err != nil {
		t.Error(err)
	}
	settle(t, caching, apiservers, ledger)
	stopCaches()
	if err := caches.Wait(); err != nil {
		t.Error(err)
	}
	report(t, s, apiservers, compactors, ledger, statistics, back)
}

// settle holds, when all writes have ended, that leased objects end and that all caches have seen everything.
func settle(t *testing.T, ctx context.Context, apiservers []*Apiserver, ledger *Ledger) {
	t.Helper()
	var leased time.Duration
	for _, r := range resources {
		leased = max(leased, time.Duration(r.TTL+r.Reuse.seconds(r.TTL))*time.Second)
	}
	deadline := time.Now().Add(leased + endsWithin)
	for _, a := range apiservers {
		for _, s := range a.served {
			for how := range ways {
				if _, compared, err := s.cache.ConsistentRead(ctx, how); err != nil || !compared {
					t.Errorf("%s: the last read: compared %v, %v", a.name, compared, err)
				}
			}
			for s.TTL > 0 && ctx.Err() == nil {
				rows, _ := s.cache.Rows()
				if len(rows) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("%s: %d %s are still there after their leases", a.name, len(rows), s.Name)
					break
				}
				pause(ctx, 20*time.Millisecond)
			}
			if err := ledger.Hold(s.cache, endsWithin); err != nil {
				t.Errorf("%s: %v", a.name, err)
			}
		}
	}
}

// report prints what was done, and holds that all of it was.
func report(t *testing.T, s *server, apiservers []*Apiserver, compactors []*Compactor, ledger *Ledger, statistics *Statistics, back time.Duration) {
	t.Helper()
	counts := ledger.Count()
	t.Logf("%d writes acknowledged, %d refused, %d unanswered; %d consistent reads, %d compared; %v from kill -9 to the next answer",
		counts[acknowledged], counts[refused], counts[unknown], statistics.reads.Load(), statistics.comparisons.Load(), back.Round(time.Millisecond))
	slices.Sort(statistics.waited)
	if n := len(statistics.waited); n > 0 {
		t.Logf("a cache reached the store after %v in the median, %v at the 99th percentile", statistics.waited[n/2], statistics.waited[n*99/100])
	}
	for _, a := range apiservers {
		for _, r := range resources {
			c := a.served[r.Name].cache
			c.mu.Lock()
			t.Logf("%s, %s: %d changes over %d watches and %d lists, %d answers of progress", a.name, r.Name, len(c.mu.changes), c.mu.watches, c.mu.lists, c.mu.progress)
			if len(c.mu.changes) == 0 || c.mu.watches < 2 {
				t.Errorf("%s: the cache of %s saw little", a.name, r.Name)
			}
			if r.Name == "nodes" && c.mu.progress == 0 {
				t.Errorf("%s: nothing was told of progress", a.name)
			}
			c.mu.Unlock()
		}
		events := a.served["events"].storage
		if granted := events.leases.count(); granted == 0 || granted > counts[acknowledged]/2 {
			t.Errorf("%s: %d leases were granted for events: they are not shared", a.name, granted)
		}
	}
	won := compactors[0].won.Load() + compactors[1].won.Load()
	t.Logf("%d rounds of compaction, up to revision %d", won, compactors[0].compacted.Load())
	if won < 2 || compactors[0].compacted.Load() == 0 || compactors[0].compacted.Load() != compactors[1].compacted.Load() {
		t.Errorf("compactors won %d rounds and saw revisions %d and %d", won, compactors[0].compacted.Load(), compactors[1].compacted.Load())
	}
	if statistics.comparisons.Load() == 0 || counts[refused] == 0 || counts[acknowledged] == 0 {
		t.Error("the run did too little to hold anything")
	}
}
