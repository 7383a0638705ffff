package kube

import (
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestVersionGate holds which versions are asked for progress.
func TestVersionGate(t *testing.T) {
	for text, want := range map[string]bool{
		"3.7.0": true, "3.6.4": true, "3.5.13": true, "3.5.12": false, "3.5.0": false, "3.4.31": true, "3.4.30": false, "4.0.0": true,
		"3.7": false, "3.7.0-alpha.0": false, "": false, "3.x.1": false, "-3.7.1": false,
	} {
		v, err := parseVersion(text)
		if got := err == nil && supportsProgress(v); got != want {
			t.Errorf("%q: %v (%v)", text, got, err)
		}
	}
}

// TestReuse holds for how long apiserver gives one lease to objects: an hour's events share one for a minute.
func TestReuse(t *testing.T) {
	for ttl, want := range map[int64]int64{3600: 60, 15: 0, 20: 1, 600: 30} {
		if got := apiserverReuse.seconds(ttl); got != want {
			t.Errorf("%d s: %d", ttl, got)
		}
	}
}

func kv(key, value string, create, mod, version int64) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: create, ModRevision: mod, Version: version}
}

func put(now, before *mvccpb.KeyValue) *clientv3.Event {
	return &clientv3.Event{Type: clientv3.EventTypePut, Kv: now, PrevKv: before}
}

func deletion(mod int64, before *mvccpb.KeyValue) *clientv3.Event {
	return &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{Key: before.Key, ModRevision: mod}, PrevKv: before}
}

// listed returns a cache that has a at revision 5, and everything up to 10.
func listed() *Cache {
	c := NewCache(&Storage{prefix: "/"})
	c.mu.rows = map[string]*mvccpb.KeyValue{"/a": kv("/a", "1", 5, 5, 1)}
	c.mu.covered = []span{{10, 10}}
	c.mu.revision = 10
	return c
}

// TestCacheBites holds that a cache notices every way in which K1 and K2 can be broken, and nothing else.
func TestCacheBites(t *testing.T) {
	a := kv("/a", "1", 5, 5, 1)
	a2 := kv("/a", "2", 5, 11, 2)
	a3 := kv("/a", "3", 5, 12, 3)
	b := kv("/b", "1", 11, 11, 1)
	type answer = clientv3.WatchResponse
	at := func(revision int64, events ...*clientv3.Event) answer {
		return answer{Header: &pb.ResponseHeader{Revision: revision}, Events: events}
	}
	for name, c := range map[string]struct {
		answers []answer
		breach  string
	}{
		"changes in order":         {[]answer{at(12, put(a2, a), put(a3, a2)), at(13, deletion(13, a3))}, ""},
		"two keys in one revision": {[]answer{at(11, put(a2, a), put(b, nil)), at(12), at(12, put(a3, a2))}, "after everything up to 12"},
		"progress, then a change":  {[]answer{at(11), at(12, put(kv("/a", "2", 5, 12, 2), a))}, ""},
		"lost":                     {[]answer{at(12, put(a3, a2))}, "says that before"},
		"twice":                    {[]answer{at(11, put(a2, a)), at(11, put(a2, a))}, "after everything up to 11"},
		"twice in one answer":      {[]answer{at(11, put(a2, a), put(a2, a))}, "two events"},
		"out of order":             {[]answer{at(12, put(kv("/b", "1", 12, 12, 1), nil), put(a2, a))}, "comes after one of 12"},
		"split revision":           {[]answer{at(11, put(a2, a)), at(11, put(b, nil))}, "after everything up to 11"},
		"no prev_kv":               {[]answer{at(11, put(a2, nil))}, "PrevKv=nil"},
		"no prev_kv of a deletion": {[]answer{at(11, &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: kv("/a", "", 0, 11, 0)})}, "PrevKv=nil"},
		"another prev_kv":          {[]answer{at(11, put(a2, kv("/a", "other", 5, 5, 1)))}, "says that before"},
		"prev_kv of a creation":    {[]answer{at(11, put(b, a))}, "says that before"},
		"created over a row":       {[]answer{at(11, put(kv("/a", "2", 11, 11, 1), nil))}, "says that before"},
		"version skipped":          {[]answer{at(11, put(kv("/a", "2", 5, 11, 3), a))}, "does not follow"},
		"deletion of nothing":      {[]answer{at(11, deletion(11, b))}, "says that before"},
		"progress goes back":       {[]answer{at(9)}, "progress is told"},
		"progress ahead of events": {[]answer{at(11), at(11, put(a2, a))}, "after everything up to 11"},
		"header before its events": {[]answer{at(10, put(a2, a))}, "an answer at revision 10"},
	} {
		cache := listed()
		var err error
		for _, a := range c.answers {
			if err == nil {
				err = cache.apply(a)
			}
		}
		if (err == nil) != (c.breach == "") || err != nil && !strings.Contains(err.Error(), c.breach) {
			t.Errorf("%s: %v, want %q", name, err, c.breach)
		}
	}
}

// TestLedgerBites holds that the ledger notices what K4 and K5 forbid.
func TestLedgerBites(t *testing.T) {
	began := time.Now()
	leased := kv("/a", "v", 11, 11, 1)
	leased.Lease = 7
	other := kv("/b", "w", 12, 12, 1)
	other.Lease = 7
	for name, c := range map[string]struct {
		writes  []*write
		changes []change
		breach  string
	}{
		"seen as told":          {[]*write{{key: "/a", value: "v", outcome: acknowledged, revision: 11}}, []change{{key: "/a", value: "v", revision: 11}}, ""},
		"unanswered and there":  {[]*write{{key: "/a", value: "v"}}, []change{{key: "/a", value: "v", revision: 11}}, ""},
		"unanswered and absent": {[]*write{{key: "/a", value: "v"}}, nil, ""},
		"before the first list": {[]*write{{key: "/a", value: "v", outcome: acknowledged, revision: 10}}, nil, ""},
		"lost":                  {[]*write{{key: "/a", value: "v", outcome: acknowledged, revision: 11}}, nil, "never seen"},
		"a lost deletion":       {[]*write{{key: "/a", deletes: true, outcome: acknowledged, revision: 11}}, nil, "never seen"},
		"elsewhere":             {[]*write{{key: "/a", value: "v", outcome: acknowledged, revision: 11}}, []change{{key: "/a", value: "v", revision: 12}}, "seen at 12"},
		"refused and there":     {[]*write{{key: "/a", value: "v", outcome: refused}}, []change{{key: "/a", value: "v", revision: 11}}, "was refused"},
		"put by nobody":         {nil, []change{{key: "/a", value: "v", revision: 11}}, "nobody put"},
		"another key":           {[]*write{{key: "/b", value: "v", outcome: unknown}}, []change{{key: "/a", value: "v", revision: 11}}, "seen in"},
		"deleted by nobody":     {nil, []change{{key: "/a", deleted: true, revision: 11, previous: kv("/a", "v", 5, 5, 1)}}, "by nobody"},
		"ended in time": {[]*write{{key: "/a", value: "v", asked: began, ttl: time.Second, atMost: 2 * time.Second}},
			[]change{{key: "/a", deleted: true, revision: 12, previous: leased, at: began.Add(2 * time.Second)}}, ""},
		"ended early": {[]*write{{key: "/a", value: "v", asked: began, ttl: time.Second, atMost: 2 * time.Second}},
			[]change{{key: "/a", deleted: true, revision: 12, previous: leased, at: began.Add(time.Second / 2)}}, "deleted after"},
		"ended late": {[]*write{{key: "/a", value: "v", asked: began, ttl: time.Second, atMost: 2 * time.Second}},
			[]change{{key: "/a", deleted: true, revision: 12, previous: leased, at: began.Add(4 * time.Second)}}, "at most"},
		"ended apart": {[]*write{{key: "/a", value: "v", asked: began, ttl: time.Second, atMost: 2 * time.Second}, {key: "/b", value: "w", asked: began, ttl: time.Second, atMost: 2 * time.Second}},
			[]change{{key: "/a", deleted: true, revision: 13, previous: leased, at: began.Add(2 * time.Second)},
				{key: "/b", deleted: true, revision: 14, previous: other, at: began.Add(2 * time.Second)}}, "lease 7 went at revision 13 and at 14"},
	} {
		cache := listed()
		cache.mu.covered = []span{{10, 20}}
		cache.mu.changes = c.changes
		err := (&Ledger{writes: c.writes}).Hold(cache, time.Second)
		if (err == nil) != (c.breach == "") || err != nil && !strings.Contains(err.Error(), c.breach) {
			t.Errorf("%s: %v, want %q", name, err, c.breach)
		}
	}
}

// TestComparisonBites holds that a cache which differs from the list in anything is noticed.
func TestComparisonBites(t *testing.T) {
	rows := map[string]*mvccpb.KeyValue{"/a": kv("/a", "1", 5, 5, 1), "/b": kv("/b", "1", 6, 6, 1)}
	for want, list := range map[string][]*mvccpb.KeyValue{
		"":              {kv("/a", "1", 5, 5, 1), kv("/b", "1", 6, 6, 1)},
		"the list 1":    {kv("/a", "1", 5, 5, 1)},
		"is listed":     {kv("/b", "1", 6, 6, 1), kv("/a", "1", 5, 5, 1)},
		"the cache has": {kv("/a", "1", 5, 5, 1), kv("/b", "1", 6, 7, 2)},
		"lacks":         {kv("/a", "1", 5, 5, 1), kv("/b", "1", 6, 6, 1), kv("/c", "1", 7, 7, 1)},
	} {
		if err := equal(rows, list); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
