package assembly

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/config"
	"holdfast/internal/kind"
	"holdfast/internal/node"
	"holdfast/internal/store"
	"holdfast/internal/transport"
)

// wire joins the members of a test: what one sends another has at once, as long as that one is there.
type wire struct {
	mu   sync.Mutex
	ends map[kind.MemberID]*wireEnd
}

// wireEnd is a member's side: its node.Transport.
type wireEnd struct {
	w    *wire
	id   kind.MemberID
	box  chan []transport.Message
	gone chan struct{}

	mu   sync.Mutex
	node *node.Node
}

func (w *wire) join(id kind.MemberID) *wireEnd {
	e := &wireEnd{w: w, id: id, box: make(chan []transport.Message, 4096), gone: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends[id] = e
	return e
}

func (w *wire) end(id kind.MemberID) *node.Node {
	w.mu.Lock()
	e := w.ends[id]
	w.mu.Unlock()
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.node
}

func (e *wireEnd) run(n *node.Node) {
	e.mu.Lock()
	e.node = n
	e.mu.Unlock()
	for {
		select {
		case ms := <-e.box:
			n.Receive(ms)
		case <-e.gone:
			return
		}
	}
}

func (e *wireEnd) leave() {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if e.w.ends[e.id] == e {
		delete(e.w.ends, e.id)
	}
	close(e.gone)
}

func (e *wireEnd) SetPeers([]transport.Peer, []kind.MemberID) {}

func (e *wireEnd) Send(ms []transport.Message) {
	for _, m := range ms {
		e.w.mu.Lock()
		to := e.w.ends[m.To]
		e.w.mu.Unlock()
		if to != nil {
			select {
			case to.box <- []transport.Message{m}:
			default:
			}
		}
	}
}

// SendSnapshot pumps the chunks from the source into the sink; every second one is asked for twice.
func (e *wireEnd) SendSnapshot(src transport.Source) {
	go func() {
		to := kind.MemberID(src.Message().GetTo())
		err := e.pump(src, e.w.end(to))
		_ = src.Close()
		if own := e.w.end(e.id); own != nil {
			own.SnapshotSent(to, err)
		}
	}()
}

func (e *wireEnd) pump(src transport.Source, to *node.Node) error {
	if to == nil {
		return transport.ErrUnreachable
	}
	sink, err := to.Snapshot(e.id, src.Message(), src.ID())
	if err != nil {
		return err
	}
	for n := sink.Next(); ; n++ {
		chunk, err := src.Chunk(n)
		if n%2 == 1 && err == nil {
			chunk, err = src.Chunk(n)
		}
		if err == io.EOF {
			return sink.Finish()
		}
		if err == nil {
			err = sink.Write(n, chunk)
		}
		if err != nil {
			sink.Abort(err)
			return err
		}
	}
}

func (e *wireEnd) Call(ctx context.Context, to kind.MemberID, method string, request []byte) ([]byte, error) {
	n := e.w.end(to)
	if n == nil {
		return nil, transport.ErrUnreachable
	}
	return n.Call(ctx, e.id, method, request)
}

func (e *wireEnd) Active(id kind.MemberID) (time.Time, bool)        { return time.Time{}, e.w.end(id) != nil }
func (e *wireEnd) Hello(kind.MemberID) (h transport.Hello, ok bool) { return h, false }

// rig is one member of a test while it runs.
type rig struct {
	*Member
	t       *testing.T
	end     *wireEnd
	cancel  context.CancelFunc
	started chan struct{} // closed when Start has returned
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settings are those of member number i of three.
func settings(t testing.TB, i int) *config.Config {
	c := config.Default("holdfast")
	c.InitialCluster = nil
	for k := range 3 {
		u, err := url.Parse(fmt.Sprintf("http://127.0.0.1:%d", 2380+k))
		must(t, err)
		c.InitialCluster = append(c.InitialCluster, config.InitialMember{Name: fmt.Sprint("m", k), PeerURLs: []url.URL{*u}})
	}
	c.Name, c.DataDir = fmt.Sprint("m", i), "data"
	c.InitialAdvertisePeerURLs = c.InitialCluster[i].PeerURLs
	c.HeartbeatInterval, c.ElectionTimeout = 10*time.Millisecond, 100*time.Millisecond
	return &c
}

// begin opens and starts member number i of three on a disk.
func (w *wire) begin(t *testing.T, i int, fs vfs.FS) (*rig, error) {
	r := &rig{t: t}
	var err error
	r.Member, err = Open(settings(t, i), Options{
		FS: fs, Logger: zap.NewNop(), Registerer: prometheus.NewRegistry(),
		Sizes: Sizes{SegmentBytes: 16 << 10, MemTableBytes: 256 << 10, FlushLogEntries: 20, KeepLogBytes: 1},
		Transport: func(id kind.Identity) (node.Transport, error) {
			r.end = w.join(id.Member)
			return r.end, nil
		},
	})
	if err != nil {
		return nil, err
	}
	go r.end.run(r.Node())
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.started = cancel, make(chan struct{})
	go func() {
		defer close(r.started)
		_ = r.Start(ctx, func(error) {})
	}()
	return r, nil
}

// halt ends a member.
func (r *rig) halt() {
	r.end.leave()
	r.cancel()
	<-r.started
	r.Stop()
	r.Close(false)
}

func until(t testing.TB, what string, met func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !met() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// leading waits for a leader that takes proposals.
func leading(t testing.TB, all ...*rig) *rig {
	t.Helper()
	var found *rig
	until(t, "a leader", func() bool {
		for _, r := range all {
			if r == nil {
				continue
			}
			if _, leads := r.Node().ClusterTime(); leads {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

func (r *rig) put(key string, value []byte) {
	r.t.Helper()
	reply, err := r.Node().Propose(context.Background(), command.Command{Kind: command.KindPut,
		Payload: command.AppendPut(nil, &command.Put{Key: []byte(key), Value: value})})
	must(r.t, err)
	must(r.t, reply.Err)
}

// standing is where a member's store stands.
func (r *rig) standing() store.Applied {
	a, err := store.ReadApplied(r.Node().DB().DB)
	must(r.t, err)
	return a
}

// holds reports whether two members hold the same.
func (r *rig) holds(other *rig) error {
	if a, b := r.standing(), other.standing(); a != b {
		return fmt.Errorf("the stores stand at %+v and %+v", a, b)
	}
	// A batch is in the store a little before it is published.
	for _, m := range []*rig{r, other} {
		until(r.t, "what the store holds to be published", func() bool { return m.Node().Status().Applied == m.standing().Position.Index })
	}
	a, err := r.Node().KV().Hash(context.Background())
	if err != nil {
		return err
	}
	b, err := other.Node().KV().Hash(context.Background())
	if err == nil && a != b {
		err = fmt.Errorf("the keys hash to %x and %x", a, b)
	}
	return err
}
