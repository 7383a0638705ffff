package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/replica"
)

func proposalOf(payload string) *proposal {
	return &proposal{command: command.Command{Kind: command.KindPut, Payload: []byte(payload)}, done: make(chan struct{}, 1)}
}

func added(t *testing.T, q *queue, payload string) *proposal {
	t.Helper()
	p := proposalOf(payload)
	if _, err := q.add(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestQueueIsBounded: a full queue refuses, in number and in bytes, and what is decided makes room.
func TestQueueIsBounded(t *testing.T) {
	q := newQueue(2, 10)
	a := added(t, q, "aaaa")
	b := added(t, q, "bbbb")
	if _, err := q.add(proposalOf("")); !errors.Is(err, ErrTooManyRequests) {
		t.Errorf("a third of two: %v", err)
	}
	if batch := q.take(nil, 100, 1); len(batch) != 2 || batch[0] != a || batch[1] != b {
		t.Errorf("packed: %v", batch)
	}
	// Packing makes no room: the commands are as undecided as before.
	if _, err := q.add(proposalOf("")); !errors.Is(err, ErrTooManyRequests) {
		t.Errorf("while two are undecided: %v", err)
	}
	q.deliver([]machine.Reply{{Origin: b.command.Origin, Revision: 7}})
	if reply, err := q.wait(context.Background(), b); err != nil || reply.Revision != 7 {
		t.Errorf("the reply is %+v, %v", reply, err)
	}
	// A large command finds room as often as a small one: only what is there already counts.
	large := added(t, q, "a large one")
	q.take(nil, 100, 1)
	q.deliver([]machine.Reply{{Origin: a.command.Origin}})
	if _, err := q.add(proposalOf("")); !errors.Is(err, ErrTooManyRequests) {
		t.Errorf("beside 11 of 10 bytes: %v", err)
	}
	q.deliver([]machine.Reply{{Origin: large.command.Origin}})
	added(t, q, "")
}

// TestQueueTakesOneLargeCommand: a command that --max-request-bytes allows is never too large for an empty queue.
func TestQueueTakesOneLargeCommand(t *testing.T) {
	q := newQueue(2, 10)
	large := added(t, q, "more than ten bytes")
	if _, err := q.add(proposalOf("x")); !errors.Is(err, ErrTooManyRequests) {
		t.Errorf("beside a large one: %v", err)
	}
	q.take(nil, 100, 1)
	q.deliver([]machine.Reply{{Origin: large.command.Origin}})
	added(t, q, "x")
}

// TestQueuePacks: as many as fit, in order, and a larger one alone.
func TestQueuePacks(t *testing.T) {
	q := newQueue(100, 1000)
	for _, payload := range []string{"aaa", "bbb", "ccc", "dddddddddddd", "e"} {
		added(t, q, payload)
	}
	var packs []string
	for {
		batch := q.take(nil, 7, 1)
		if len(batch) == 0 {
			break
		}
		text := ""
		for _, p := range batch {
			text += string(p.command.Payload[:1])
		}
		packs = append(packs, text)
	}
	if len(packs) != 4 || packs[0] != "ab" || packs[1] != "c" || packs[2] != "d" || packs[3] != "e" {
		t.Errorf("packs: %q", packs)
	}
}

// TestQueueDuties: the cluster's own commands have room when there is none for clients, and go first.
func TestQueueDuties(t *testing.T) {
	q := newQueue(2, 10)
	added(t, q, "aaaaa")
	added(t, q, "bbbbb")
	if _, err := q.add(proposalOf("c")); !errors.Is(err, ErrTooManyRequests) {
		t.Errorf("a third of two: %v", err)
	}
	duty := &proposal{command: command.Command{Kind: command.KindLeaseExpire}, done: make(chan struct{}, 1)}
	q.maxBytes = 20
	if _, err := q.add(duty); err != nil {
		t.Errorf("a duty: %v", err)
	}
	if batch := q.take(nil, 100, 1); len(batch) != 3 || batch[0] != duty {
		t.Errorf("packed: %v", batch)
	}
}

// TestQueueFate: what is bound to a term waits again, under a new sequence, when a later term has come or the leader of
// its own has refused it; nothing else moves it.
func TestQueueFate(t *testing.T) {
	q := newQueue(100, 1000)
	p := added(t, q, "p")
	old := p.command.Origin.Sequence
	q.take(nil, 100, 5)
	if again := q.settle(5) + q.settle(4); again != 0 {
		t.Errorf("%d wait again although their term has not ended", again)
	}
	q.requeue([]uint64{old}, 4)
	q.requeue([]uint64{old + 1}, 5)
	if n, _ := q.waiting(); n != 0 {
		t.Errorf("%d wait again for a refusal that is not theirs", n)
	}
	if again := q.settle(6); again != 1 || p.command.Origin.Sequence == old {
		t.Errorf("%d wait again, under sequence %d", again, p.command.Origin.Sequence)
	}
	if again := q.settle(7); again != 0 {
		t.Errorf("%d that wait anyway", again)
	}
	q.deliver([]machine.Reply{{Origin: command.Origin{Sequence: old}}})
	if q.pending() != 1 {
		t.Error("a reply to the old sequence was taken for one to the new")
	}
	q.take(nil, 100, 7)
	q.requeue([]uint64{p.command.Origin.Sequence}, 7)
	if n, _ := q.waiting(); n != 1 {
		t.Errorf("%d wait again after a refusal", n)
	}
}

// TestReadsOfAnotherLife holds N7: the contexts of two lives of a member are not the same, so that the late answer to a
// question of the one is not taken for one to the other.
func TestReadsOfAnotherLife(t *testing.T) {
	var contexts []uint64
	for _, boot := range []uint64{1 << 40, 1 << 50} {
		r := new(reads)
		r.init(boot)
		r.join()
		r.ask(0, r.index)
		contexts = append(contexts, r.asked...)
	}
	if len(contexts) != 2 || contexts[0] == contexts[1] {
		t.Errorf("asked with %v", contexts)
	}
}

// TestQueueProposesOnce holds N1: what its caller has given up is not packed, and what was packed is not packed again.
func TestQueueProposesOnce(t *testing.T) {
	q := newQueue(100, 1000)
	left, stays := added(t, q, "left"), added(t, q, "stays")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := q.wait(ctx, left); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that leaves: %v", err)
	}
	batch := q.take(nil, 100, 1)
	if len(batch) != 1 || batch[0] != stays {
		t.Fatalf("packed: %v", batch)
	}
	if again := q.take(nil, 100, 1); len(again) != 0 {
		t.Errorf("packed again: %v", again)
	}
	// A caller that leaves after the packing is answered by nobody, and its reply meets nobody.
	if _, err := q.wait(ctx, stays); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that leaves later: %v", err)
	}
	q.deliver([]machine.Reply{{Origin: stays.command.Origin}})
	if q.pending() != 0 {
		t.Errorf("%d are undecided", q.pending())
	}
}

// TestQueueExpires: a command whose time has passed is answered, and not packed later.
func TestQueueExpires(t *testing.T) {
	q := newQueue(100, 1000)
	late, young := proposalOf("late"), proposalOf("young")
	late.deadline, young.deadline = time.Second, time.Minute
	for _, p := range []*proposal{late, young} {
		if _, err := q.add(p); err != nil {
			t.Fatal(err)
		}
	}
	timeout := func(time.Duration) error { return ErrTimeout }
	if n := q.expire(time.Second-1, timeout); n != 0 {
		t.Errorf("%d expired early", n)
	}
	if n := q.expire(time.Second, timeout); n != 1 {
		t.Errorf("%d expired, not 1", n)
	}
	if _, err := q.wait(context.Background(), late); !errors.Is(err, ErrTimeout) {
		t.Errorf("the answer is %v", err)
	}
	if batch := q.take(nil, 100, 1); len(batch) != 1 || batch[0] != young {
		t.Errorf("packed: %v", batch)
	}
}

// TestQueueWithoutLeader: what nobody packs and nobody waits for any more is let go of.
func TestQueueWithoutLeader(t *testing.T) {
	q := newQueue(100, 1000)
	gone, late := added(t, q, "gone"), proposalOf("late")
	late.deadline = time.Second
	gone.deadline = time.Hour
	if _, err := q.add(late); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := q.wait(ctx, gone); !errors.Is(err, context.Canceled) {
		t.Errorf("the answer is %v", err)
	}
	q.expire(time.Minute, func(time.Duration) error { return ErrTimeout })
	if count, bytes := q.waiting(); count != 0 || bytes != 0 {
		t.Errorf("%d commands of %d bytes stay in the queue", count, bytes)
	}
}

// TestQueueCloses holds N5: everybody is answered, those who come later too, with the first reason.
func TestQueueCloses(t *testing.T) {
	q := newQueue(100, 1000)
	waits, packed := added(t, q, "waits"), added(t, q, "packed")
	q.take(nil, 1, 1)
	q.close(ErrStopped)
	q.close(ErrCorrupt)
	for _, p := range []*proposal{waits, packed} {
		if _, err := q.wait(context.Background(), p); !errors.Is(err, ErrStopped) {
			t.Errorf("answered with %v", err)
		}
	}
	if _, err := q.add(proposalOf("x")); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
	q.deliver([]machine.Reply{{Origin: packed.command.Origin}}) // N4: acknowledges nothing
	q.fail([]uint64{waits.command.Origin.Sequence}, 1, ErrTooManyRequests)
}

// reads notes which contexts were asked for.
type reads struct {
	readQueue
	asked []uint64
}

func newReads() *reads {
	r := new(reads)
	r.init(0)
	return r
}

func (r *reads) index(context uint64) { r.asked = append(r.asked, context) }

func released(b *readBatch) bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// TestReadsShareAnAttempt: who asks while an attempt is under way waits for the next one.
func TestReadsShareAnAttempt(t *testing.T) {
	r := newReads()
	a, first, _ := r.join()
	b, second, _ := r.join()
	if a != b || !first || second {
		t.Errorf("two that ask together: %v, %v, %v", a == b, first, second)
	}
	r.ask(0, r.index)
	c, _, _ := r.join()
	if c == a {
		t.Error("who asks later is served by an index that was asked for before")
	}
	r.ask(0, r.index)
	r.ask(0, r.index)
	if len(r.asked) != 2 {
		t.Errorf("asked for %v", r.asked)
	}
	r.indexed(replica.Read{Context: r.asked[0], Index: 10})
	r.answer(9)
	if released(a) {
		t.Error("released before its index is applied")
	}
	r.answer(10)
	if !released(a) || released(c) {
		t.Errorf("released: %v, %v", released(a), released(c))
	}
}

// TestReadsAskAgain: an attempt that brings nothing is followed by one with a context of its own, and the answer to
// the lost one is then of no use to anybody.
func TestReadsAskAgain(t *testing.T) {
	r := newReads()
	a, _, _ := r.join()
	r.ask(0, r.index)
	r.retry(readRetry-1, r.index)
	if len(r.asked) != 1 {
		t.Fatalf("asked again too early: %v", r.asked)
	}
	r.retry(readRetry, r.index)
	if len(r.asked) != 2 || r.asked[0] == r.asked[1] {
		t.Fatalf("asked for %v", r.asked)
	}
	r.indexed(replica.Read{Context: r.asked[0], Index: 1})
	r.answer(kind.Index(1 << 40))
	if released(a) {
		t.Error("the answer to a lost attempt was taken for this one")
	}
	r.indexed(replica.Read{Context: r.asked[1], Index: 2})
	r.answer(2)
	if !released(a) || a.err != nil {
		t.Errorf("released: %v, %v", released(a), a.err)
	}
}

// TestReadsClose holds N5 for reads, in whatever state they are.
func TestReadsClose(t *testing.T) {
	r := newReads()
	indexed, _, _ := r.join()
	r.ask(0, r.index)
	r.indexed(replica.Read{Context: r.asked[0], Index: 5})
	asked, _, _ := r.join()
	r.ask(0, r.index)
	waits, _, _ := r.join()
	r.close(ErrStopped)
	r.close(ErrCorrupt)
	for name, b := range map[string]*readBatch{"indexed": indexed, "asked": asked, "waits": waits} {
		if !released(b) || !errors.Is(b.err, ErrStopped) {
			t.Errorf("%s: %v, %v", name, released(b), b.err)
		}
	}
	if _, _, err := r.join(); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}
