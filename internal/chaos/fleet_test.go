package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"holdfast/internal/servertest"
	"holdfast/internal/sim/check"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// maxMembers is how many members a fleet can have over its life, those that were replaced included.
const maxMembers = 12

// expect reads exactly text, or says what came within a short while instead.
func expect(conn net.Conn, text string) error {
	if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return err
	}
	buffer := make([]byte, len(text))
	n, err := conn.Read(buffer)
	if err != nil || string(buffer[:n]) != text {
		return fmt.Errorf("%q came instead of %q: %w", buffer[:n], text, err)
	}
	return nil
}

// fleet is a cluster of processes. Its methods are called by the test's own goroutine.
type fleet struct {
	t        testing.TB
	election time.Duration
	dir      string
	members  []*box
	network  network
	record   *recorder
	token    string
	flags    []string
	pids     [maxMembers]atomic.Int64
}

// box is one member: its process, and how it is reached.
type box struct {
	*servertest.Server
	index   int
	name    string
	address string // URL at which other members reach it
	id      uint64 // once it has answered
	client  *clientv3.Client
	gone    atomic.Bool // removed for good: its clients go home
}

// newFleet starts a cluster and waits until all members serve.
func newFleet(t testing.TB, members int, election time.Duration, flags ...string) *fleet {
	t.Helper()
	f := emptyFleet(t, election, flags...)
	for range members {
		f.add("")
	}
	f.start()
	return f
}

// emptyFleet is a fleet to which members are still to be added.
func emptyFleet(t testing.TB, election time.Duration, flags ...string) *fleet {
	t.Helper()
	var f *fleet
	f = fleetOn(t, newLinks(t, func(member int) int { return int(f.pids[member].Load()) }), election, flags...)
	return f
}

// fleetOn is emptyFleet on a network of the caller's.
func fleetOn(t testing.TB, n network, election time.Duration, flags ...string) *fleet {
	t.Helper()
	return &fleet{t: t, election: election, dir: t.TempDir(), network: n, record: newRecorder(election), token: "chaos", flags: flags}
}

// add makes one more member, without starting it. dataDir may be empty.
func (f *fleet) add(dataDir string) *box {
	b := &box{index: len(f.members), name: fmt.Sprintf("m%d", len(f.members)+1)}
	if dataDir == "" {
		dataDir = filepath.Join(f.dir, b.name)
	}
	at := f.network.place(b.index)
	b.address = "http://" + at.reached
	b.Server = servertest.NewMember(f.t, servertest.Member{Name: b.name, DataDir: dataDir,
		Client: "http://" + at.client, Peer: "http://" + at.peer, Through: at.through})
	f.members = append(f.members, b)
	return b
}

// initial is the list of members that does not change with them: those that are not gone.
func (f *fleet) initial() string {
	var list []string
	for _, b := range f.members {
		if !b.gone.Load() {
			list = append(list, b.name+"="+b.address)
		}
	}
	return strings.Join(list, ",")
}

func (f *fleet) setFlags(b *box, state string) {
	b.SetFlags(append([]string{"--initial-advertise-peer-urls", b.address, "--initial-cluster", f.initial(), "--initial-cluster-state", state,
		"--initial-cluster-token", f.token, fmt.Sprintf("--election-timeout=%d", f.election.Milliseconds()),
		fmt.Sprintf("--heartbeat-interval=%d", f.election.Milliseconds()/10)}, f.flags...)...)
}

// start launches all members of a new cluster.
func (f *fleet) start() {
	f.t.Helper()
	for _, b := range f.members {
		f.setFlags(b, "new")
		f.launch(b)
	}
	for _, b := range f.members {
		f.ready(b)
	}
}

func (f *fleet) launch(b *box) {
	f.t.Helper()
	b.Launch()
	f.pids[b.index].Store(int64(b.Pid()))
	f.record.event(check.Started, b, "")
}

// ready waits until a launched member serves.
func (f *fleet) ready(b *box) {
	f.t.Helper()
	for attempt := 1; ; attempt++ {
		err := b.Ready()
		if err == nil {
			break
		}
		// A connection of somebody else may have taken the port for its own end meanwhile.
		if attempt == 3 || !strings.Contains(b.Output(), "address already in use") {
			f.t.Fatalf("member %s did not come up: %v\nIt wrote:\n%s", b.name, err, b.Output())
		}
		_ = b.Wait(time.Second) // Its exit code says no more than its output.
		f.launch(b)
	}
	if b.client == nil {
		b.client = f.connect(b.Endpoint())
	}
	deadline := time.Now().Add(30 * time.Second)
	for b.id == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		status, err := b.client.Status(ctx, b.Endpoint())
		cancel()
		if err == nil {
			b.id = status.Header.MemberId
		} else if time.Now().After(deadline) {
			f.t.Fatalf("member %s does not tell its id: %v", b.name, err)
		}
	}
	f.record.event(check.Ready, b, "")
}

// connect returns a client of some endpoints; the test's cleanup closes it.
func (f *fleet) connect(endpoints ...string) *clientv3.Client {
	f.t.Helper()
	pause := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: time.Second})}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { client.Close() })
	return client
}

func (f *fleet) endpoints() (all []string) {
	for _, b := range f.members {
		if !b.gone.Load() {
			all = append(all, b.Endpoint())
		}
	}
	return all
}

// live returns the members that run.
func (f *fleet) live() (live []*box) {
	for _, b := range f.members {
		if !b.gone.Load() && b.Alive() && b.client != nil {
			live = append(live, b)
		}
	}
	return live
}

// leader waits until a majority of the members knows one leader that runs, and returns it.
func (f *fleet) leader() *box {
	f.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		votes := map[uint64]int{}
		var errs []error
		for _, b := range f.live() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			status, err := b.client.Status(ctx, b.Endpoint())
			cancel()
			if err != nil {
				errs = append(errs, err)
				continue
			}
			votes[status.Leader]++
		}
		for _, b := range f.live() {
			if votes[b.id] > len(f.endpoints())/2 {
				return b
			}
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("no leader: %v, %v", votes, errors.Join(errs...))
		}
		time.Sleep(f.election / 20)
	}
}

// kill ends a member without warning.
func (f *fleet) kill(b *box) {
	b.Kill()
	f.pids[b.index].Store(0)
	f.record.event(check.Crashed, b, "kill -9")
}

// restart launches a member that does not run and waits until it serves.
func (f *fleet) restart(b *box) {
	f.t.Helper()
	f.launch(b)
	f.ready(b)
}

// stop asks a member to end and waits until it has.
func (f *fleet) stop(b *box) {
	f.t.Helper()
	b.Terminate()
	b.End()
	f.pids[b.index].Store(0)
	f.record.event(check.StoppedClean, b, "")
}

func (f *fleet) pause(b *box) {
	b.Signal(syscall.SIGSTOP)
	f.record.event(check.Paused, b, "SIGSTOP")
}

func (f *fleet) resume(b *box) {
	b.Signal(syscall.SIGCONT)
	f.record.event(check.Resumed, b, "SIGCONT")
}

// isolate cuts a member off from all others: what it sends, what it is sent, or both.
func (f *fleet) isolate(b *box, sends, receives bool) {
	for _, other := range f.members {
		if other != b && !other.gone.Load() {
			f.network.set(b.index, other.index, sends)
			f.network.set(other.index, b.index, receives)
		}
	}
	f.record.event(check.FaultBegins, b, fmt.Sprintf("cut off: sends %v, receives %v", sends, receives))
}

// split cuts the members into two groups that do not hear each other.
func (f *fleet) split(group []*box) {
	in := map[*box]bool{}
	for _, b := range group {
		in[b] = true
	}
	for _, a := range f.members {
		for _, b := range f.members {
			if in[a] != in[b] {
				f.network.set(a.index, b.index, true)
			}
		}
	}
	f.record.event(check.FaultBegins, nil, fmt.Sprintf("%d members cut off", len(group)))
}

func (f *fleet) heal() {
	f.network.heal()
	f.record.event(check.FaultEnds, nil, "the network is whole")
}

// pass lets time go by in which clients work under a fault.
func (f *fleet) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}
