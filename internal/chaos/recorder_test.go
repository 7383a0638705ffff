package chaos

import (
	"encoding/json"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// recorder writes the history. Its methods may be called by many at once.
type recorder struct {
	start time.Time
	seen  atomic.Int64 // the highest revision that the witness was given

	mu       sync.Mutex
	step     uint64
	ops      []*check.Operation
	watchers []*check.Watcher
	events   []check.Event
	clients  int
	cluster  check.Cluster
	finals   []check.Final
}

func newRecorder(election time.Duration) *recorder {
	return &recorder{start: time.Now(), cluster: check.Cluster{ElectionTimeout: election, HeartbeatInterval: election / 10,
		RequestTimeout: 5*time.Second + 2*election}}
}

// moment is the next one. The lock is held.
func (r *recorder) moment() check.Moment {
	r.step++
	return check.Moment{Step: r.step, At: time.Since(r.start)}
}

// client is a new number of a client.
func (r *recorder) client() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients++
	return r.clients
}

func (r *recorder) begin(o *check.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.ID = len(r.ops)
	r.ops = append(r.ops, o)
	o.Call = r.moment()
}

// end notes what has become of an operation; note sets its result under the lock.
func (r *recorder) end(o *check.Operation, note func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.Return = r.moment()
	note()
}

func (r *recorder) event(kind check.EventKind, b *box, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := check.Event{Moment: r.moment(), Kind: kind, Text: text}
	if b != nil {
		e.Member = memberID(b)
	}
	r.events = append(r.events, e)
}

func memberID(b *box) kind.MemberID { return kind.MemberID(b.id) }

func (r *recorder) watcher(w *check.Watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.ID = len(r.watchers)
	w.Request = r.moment()
	r.watchers = append(r.watchers, w)
}

func (r *recorder) response(w *check.Watcher, response check.WatchResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	response.Moment = r.moment()
	w.Responses = append(w.Responses, response)
}

func (r *recorder) ended(w *check.Watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Ended = r.moment()
}

// history is all of it. What is still under way has no answer.
func (r *recorder) history() *check.History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &check.History{Events: slices.Clone(r.events), Cluster: r.cluster, Finals: r.finals}
	for _, o := range r.ops {
		c := *o
		if c.Return == (check.Moment{}) {
			c.Return = r.moment()
		}
		h.Operations = append(h.Operations, c)
	}
	for _, w := range r.watchers {
		c := *w
		c.Responses = slices.Clone(w.Responses)
		h.Watchers = append(h.Watchers, c)
	}
	return h
}

// counts is how many operations had which outcome.
func (r *recorder) counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[string]int{}
	for _, o := range r.ops {
		counts[o.Outcome.String()]++
	}
	return counts
}

// judge lets all checkers judge the history and fails the test if one objects.
func (r *recorder) judge(t testing.TB) {
	t.Helper()
	h := r.history()
	checkers := check.All()
	for i := range checkers {
		if _, is := checkers[i].(check.Progress); is {
			checkers[i] = check.Progress{Within: settling * h.Cluster.ElectionTimeout}
		}
	}
	report := check.Judge(h, checkers...)
	t.Logf("%v, %d watchers\n%v", r.counts(), len(h.Watchers), report)
	if err := report.Err(); err != nil {
		t.Errorf("%v\nThe history is in %s.", err, save(t, h))
	}
}

// save writes a history to a file that outlives the test.
func save(t testing.TB, h *check.History) string {
	file, err := os.CreateTemp("", "holdfast-chaos-*.json")
	if err != nil {
		t.Errorf("the history could not be kept: %v", err)
		return "no file"
	}
	defer file.Close()
	if err := json.NewEncoder(file).Encode(h); err != nil {
		t.Errorf("the history could not be kept: %v", err)
	}
	return file.Name()
}
