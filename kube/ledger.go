package kube

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// outcome is what became of a write.
type outcome int

const (
	unknown outcome = iota // asked, and never answered: it may be there or not
	acknowledged
	refused
)

// A write is one attempt. Values are unique, so a put is known again by its value.
type write struct {
	key, value string
	deletes    bool
	ttl        time.Duration // 0 without a lease
	atMost     time.Duration // the lease's whole time
	asked      time.Time     // before the attempt
	outcome    outcome
	revision   int64 // of an acknowledged one
}

// A Ledger knows every write of a run.
type Ledger struct {
	mu     sync.Mutex
	writes []*write
}

func (l *Ledger) intend(key, value string, leases *leases) *write {
	w := &write{key: key, value: value, asked: time.Now()}
	if leases != nil {
		w.ttl = time.Duration(leases.ttl) * time.Second
		w.atMost = w.ttl + time.Duration(leases.reuse.seconds(leases.ttl))*time.Second
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes = append(l.writes, w)
	return w
}

func (l *Ledger) intendDelete(key string) *write {
	w := l.intend(key, "", nil)
	w.deletes = true
	return w
}

func (l *Ledger) settle(w *write, succeeded bool, revision int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
	case succeeded:
		w.outcome, w.revision = acknowledged, revision
	default:
		w.outcome = refused
	}
}

// place is where a write is found: a key has at most one change in a revision.
type place struct {
	key      string
	revision int64
}

// Hold compares what a cache has seen with the writes (K1, K4, K5). It is called when all writes have ended and the cache has reached the
// store. slack is how much longer than granted a leased object may stay.
func (l *Ledger) Hold(c *Cache, slack time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	puts, deletes, mayDelete := map[string]*write{}, map[place]*write{}, map[string]bool{}
	for _, w := range l.writes {
		switch {
		case !w.deletes:
			puts[w.value] = w
		case w.outcome == acknowledged:
			deletes[place{w.key, w.revision}] = w
		case w.outcome == unknown:
			mayDelete[w.key] = true
		}
	}
	seen := map[place]bool{}
	ended := map[int64]int64{} // by lease, the revision in which its objects went
	for _, e := range c.mu.changes {
		seen[place{e.key, e.revision}] = true
		if !e.deleted {
			if err := wasPut(puts[e.value], e); err != nil {
				return err
			}
			continue
		}
		if deletes[place{e.key, e.revision}] != nil {
			continue
		}
		// Nobody is known to have deleted it: its lease must have ended.
		lease := e.previous.Lease
		if lease == 0 {
			if mayDelete[e.key] {
				continue
			}
			return fmt.Errorf("%q was deleted at revision %d by nobody", e.key, e.revision)
		}
		if mayDelete[e.key] {
			continue
		}
		w := puts[string(e.previous.Value)]
		if w == nil {
			continue // Put before this cache's first list by nobody of this run.
		}
		if lived := e.at.Sub(w.asked); lived < w.ttl {
			return fmt.Errorf("%q was put for %v with lease %x and deleted after %v, at revision %d", e.key, w.ttl, lease, lived, e.revision)
		} else if lived > w.atMost+slack {
			return fmt.Errorf("%q was put with lease %x for at most %v and deleted after %v, at revision %d", e.key, lease, w.atMost, lived, e.revision)
		}
		if before, ok := ended[lease]; ok && before != e.revision {
			return fmt.Errorf("the objects of lease %x went at revision %d and at %d", lease, before, e.revision)
		}
		ended[lease] = e.revision
	}
	for _, w := range l.writes {
		if w.outcome == acknowledged && strings.HasPrefix(w.key, c.storage.prefix) && covers(c.mu.covered, w.revision) && !seen[place{w.key, w.revision}] {
			return fmt.Errorf("the write of %q to %q, acknowledged at revision %d, was never seen", w.key, w.value, w.revision)
		}
	}
	return nil
}

func wasPut(w *write, e change) error {
	switch {
	case w == nil:
		return fmt.Errorf("nobody put %q into %q, but it was seen at revision %d", e.value, e.key, e.revision)
	case w.key != e.key:
		return fmt.Errorf("%q was put into %q, and seen in %q at revision %d", e.value, w.key, e.key, e.revision)
	case w.outcome == refused:
		return fmt.Errorf("the put of %q into %q was refused, and seen at revision %d", e.value, e.key, e.revision)
	case w.outcome == acknowledged && w.revision != e.revision:
		return fmt.Errorf("the put of %q into %q was acknowledged at revision %d, and seen at %d", e.value, e.key, w.revision, e.revision)
	}
	return nil
}

func covers(spans []span, revision int64) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.after < revision && revision <= s.upTo })
}

// Count returns how many writes were acknowledged, refused and never answered.
func (l *Ledger) Count() (counts [3]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.writes {
		counts[w.outcome]++
	}
	return counts
}
