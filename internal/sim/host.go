package sim

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"

	"holdfast/internal/assembly"
	"holdfast/internal/config"
	"holdfast/internal/kind"
	"holdfast/internal/node"
	"holdfast/internal/server"
	"holdfast/internal/sim/check"
	"holdfast/internal/transport"
)

// host is a machine that a member runs on, if it does: a disk, a clock, a place in the network.
type host struct {
	w      *World
	number int
	name   string
	id     kind.MemberID
	clock  *clock
	disk   *disk
	hello  transport.Hello
	joins  bool // its member was added to a cluster that existed

	life  *life // under the network's lock
	lives int

	// The driver's own.
	paused    bool
	pausedAt  time.Duration
	held      []*event // what would have happened meanwhile
	downFor   string   // why no life may start; "" if one may
	removed   bool
	gone      bool  // it will never run again
	damaged   bool  // its disk was harmed: that it refuses to start, or stops, is right
	repairing *life // that fetches its state anew
	flipped   bool  // and it holds what was not written
	seen      seen
}

// The states of a life, in their order.
const (
	opening int32 = iota
	listening
	serving
	stopping
	over
)

// life is one life of a member's process.
type life struct {
	host   *host
	number int
	disk   *disk
	port   *port
	since  time.Duration
	state  atomic.Int32
	ended  chan struct{} // closed when it is over
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu struct {
		sync.Mutex
		member    *assembly.Member
		conn      grpc.ClientConnInterface
		failed    error // why it has stopped by itself
		receiving map[kind.MemberID]*receiving
		opened    bool // whether it can be stopped
	}
	told bool // of its failure, the driver's own
	busy bool // the driver has it stopping
}

func (l *life) over() bool { return l == nil || l.state.Load() >= stopping }
func (l *life) listens() bool {
	if l == nil {
		return false
	}
	s := l.state.Load()
	return s == listening || s == serving
}
func (l *life) serves() bool { return l != nil && l.state.Load() == serving }

// timed reports whether the sync of a file takes time. Of the engine's files only tables do: for the others it holds locks
// while it opens, and who waits for a lock keeps the world's time from going on.
func (l *life) timed(name string) bool {
	return l.state.Load() < stopping && (!strings.Contains(name, "/store") || strings.HasSuffix(name, ".sst"))
}

func (l *life) member() *assembly.Member {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.member
}

func (l *life) handler() *node.Node { return l.member().Node() }

// full is the member as the whole of what a transport asks for.
func (l *life) full() transport.Handler { return any(l.handler()).(transport.Handler) }

func (l *life) conn() grpc.ClientConnInterface {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.conn
}

// work runs do on a goroutine of the life.
func (l *life) work(do func(ctx context.Context)) {
	if l.over() {
		return
	}
	l.group.Go(func() { do(l.ctx) })
}

// sleep returns after d, and false if the life is over by then.
func (l *life) sleep(d time.Duration) bool {
	woken := make(chan struct{})
	l.host.w.source("sleep "+l.host.name).after(d, l, "wakes", func() { close(woken) })
	select {
	case <-woken:
		return true
	case <-l.ended:
		return false
	}
}

func (l *life) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.failed == nil {
		l.mu.failed = err
	}
}

func (l *life) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.failed
}

// start begins a new life from what is on the disk.
func (h *host) start() {
	w := h.w
	h.lives++
	l := &life{host: h, number: h.lives, disk: h.disk, since: w.now(), ended: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.port = &port{n: w.net, life: l}
	h.disk.life = l
	w.net.mu.Lock()
	h.life = l
	w.net.mu.Unlock()
	w.event(check.Started, h.id, 0, "")
	w.record("start %s life %d", h.name, h.lives)
	h.seen.begin()
	go l.run(h.settings())
}

// settings are those of a member on this host.
func (h *host) settings() *config.Config {
	c := config.Default("holdfast")
	c.Name = h.name
	c.DataDir = "/data"
	c.InitialClusterToken = clusterToken
	c.HeartbeatInterval = h.w.o.Heartbeat
	c.ElectionTimeout = h.w.o.Election
	c.BlockCacheBytes = 1 << 20
	c.CacheBytes = 1 << 20
	c.WatchCacheBytes = 16 << 10
	c.MinFreeBytes = 64 << 10
	c.PreVote = true
	c.CatchUpEntries = 20
	c.ScrubInterval = 3 * time.Second
	c.InitialAdvertisePeerURLs = []url.URL{h.url()}
	for _, first := range h.w.hosts[:h.w.o.Members] {
		c.InitialCluster = append(c.InitialCluster, config.InitialMember{Name: first.name, PeerURLs: []url.URL{first.url()}})
	}
	h.w.tune(&c)
	return &c
}

// birth is how its member begins.
func (h *host) birth() (b assembly.Birth, err error) {
	if h.joins {
		b.Join.Cluster, b.Join.Member = h.w.cluster, h.id
		return b, nil
	}
	b.Token = clusterToken
	for _, first := range h.w.hosts[:h.w.o.Members] {
		b.Members = append(b.Members, config.InitialMember{Name: first.name, PeerURLs: []url.URL{first.url()}})
	}
	return b, nil
}

const clusterToken = "sim"

func (h *host) url() url.URL { return url.URL{Scheme: "http", Host: h.name + ":2380"} }

// run is the life of a member's process: what main does, without ports.
func (l *life) run(c *config.Config) {
	w := l.host.w
	logger := w.logger(l)
	m, err := assembly.Open(c, assembly.Options{
		FS:                l.disk,
		Logger:            logger,
		Registerer:        prometheus.NewRegistry(),
		Sizes:             w.sizes(),
		Birth:             l.host.birth,
		Transport:         func(kind.Identity) (node.Transport, error) { return l.port, nil },
		Clock:             lifeClock{l.host.clock, l},
		ManualCompactions: true,
	})
	if err != nil {
		l.fail(fmt.Errorf("open: %w", err))
		return
	}
	l.mu.Lock()
	l.mu.member = m
	l.mu.opened = true
	l.mu.Unlock()
	if !l.state.CompareAndSwap(opening, listening) {
		m.Close(false)
		l.mu.Lock()
		l.mu.opened = false
		l.mu.Unlock()
		return
	}
	if err := m.Start(l.ctx, l.fail); err != nil {
		if l.ctx.Err() == nil {
			l.fail(err)
		}
		return
	}
	m.Attend()
	s := server.New(m.Node(), server.Options{
		Logger:          logger.Named("server"),
		Fail:            m.Node().Fail,
		MinLeaseTTL:     1,
		BcryptCost:      4,
		ElectionTimeout: c.ElectionTimeout,
		// Half a second lets watchers be told of their progress many times in a short run.
		WatchProgressInterval: 500 * time.Millisecond,
	})
	l.mu.Lock()
	l.mu.conn = s.Local()
	l.mu.Unlock()
	l.state.CompareAndSwap(listening, serving)
}

// end makes a life be over, without waiting for what of it still moves.
func (l *life) end() {
	l.state.Store(over)
	close(l.ended)
	l.cancel()
}

// crash ends the member's process at once. cut says that the disk's power goes as well.
func (h *host) crash(cut bool, why string) {
	l := h.life
	if l == nil {
		return
	}
	w := h.w
	if cut {
		h.disk = l.disk.powerCut(w.rng("power " + h.name))
	} else {
		h.disk = l.disk.handOver()
	}
	l.end()
	l.disk.leave()
	h.lost()
	w.event(check.Crashed, h.id, 0, why)
	w.record("crash %s: %s", h.name, why)
	w.bury(l)
}

// lost is what follows for the others when a life has ended.
func (h *host) lost() {
	w := h.w
	l := h.life
	w.net.mu.Lock()
	h.life = nil
	w.net.mu.Unlock()
	w.net.reset(h)
	w.disconnect(l)
	if h.paused {
		h.paused = false
		w.event(check.Resumed, h.id, 0, "its process has ended")
		h.clock.set(h.clock.rate(), false)
	}
	for _, e := range h.held {
		if e.timer {
			e.at = w.now() // what is left of the life may wait by its clock
			w.again(e)
		}
	}
	h.held = nil
	h.seen.end(w, h)
}

// bury waits for the goroutines of a life that is over. Its clock goes on for them, since some of them wait by it.
func (w *World) bury(l *life) {
	buried := make(chan struct{})
	w.graves++
	w.await(buried, func() { w.graves-- })
	go func() {
		defer close(buried)
		if m := l.member(); m != nil && l.mu.opened {
			// It has no time left to hand anything over.
			m.Node().Fail(errEnded)
			m.Stop()
			l.group.Wait()
			m.Close(false)
		}
	}()
}

// stop asks the member's process to end and sees to the rest when it has.
func (h *host) stop() {
	l := h.life
	if l == nil || l.busy || !l.serves() || h.paused {
		return
	}
	w := h.w
	l.busy = true
	w.record("stop %s", h.name)
	stopped := make(chan struct{})
	w.graves++
	go func() {
		defer close(stopped)
		l.member().Stop()
		l.state.Store(stopping)
		l.cancel()
		l.group.Wait()
		l.member().Close(true)
	}()
	w.await(stopped, func() {
		w.graves--
		if h.life != l {
			return // it crashed meanwhile
		}
		h.disk = l.disk.handOver()
		l.disk.leave()
		l.end()
		h.lost()
		w.event(check.StoppedClean, h.id, 0, "")
		w.record("stopped %s", h.name)
	})
}

// pause makes the process stand still; with clock its monotonic clock too, as in a virtual machine that is stopped.
func (h *host) pause(clock bool) {
	if h.life == nil || h.paused || h.life.busy {
		return
	}
	h.paused, h.pausedAt = true, h.w.now()
	h.clock.set(h.clock.rate(), clock)
	h.w.event(check.Paused, h.id, 0, "")
	h.w.record("pause %s", h.name)
}

// resume lets it go on: what would have happened meanwhile happens now, in order.
func (h *host) resume() {
	if !h.paused {
		return
	}
	w := h.w
	stood := h.clock.mu.stands
	h.clock.set(h.clock.rate(), false)
	h.paused = false
	held := h.held
	h.held = nil
	now := w.now()
	for i, e := range held {
		if e.timer && stood {
			e.at += now - h.pausedAt
		} else {
			e.at = now + time.Duration(i)
		}
		w.again(e)
	}
	w.event(check.Resumed, h.id, 0, "")
	w.record("resume %s", h.name)
}

var errEnded = errors.New("the process has ended")

func (w *World) logger(l *life) *zap.Logger {
	counts := counting{zapcore.DebugLevel, w}
	if w.o.Logger == nil {
		return zap.New(counts)
	}
	both := zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewTee(c, counts) })
	return w.o.Logger.WithOptions(both).Named(fmt.Sprintf("%s.%d", l.host.name, l.number))
}
