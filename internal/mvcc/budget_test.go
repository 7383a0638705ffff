package mvcc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
)

// everything is the interval of all keys.
var everything = command.NewInterval([]byte{0}, []byte{0})

// fillLarge writes rows of 64 KiB, mebibytes MiB in all.
func (w *world) fillLarge(mebibytes int) {
	w.t.Helper()
	value := make([]byte, 64<<10)
	for i := range mebibytes {
		w.do(func(wr *Writer) {
			for j := range 16 {
				wr.Put(fmt.Appendf(nil, "%04d-%02d", i, j), value, 0)
			}
		})
	}
}

// Many large answers that grow at once, in every order of rows, all come through a budget that holds only one or two
// of them, and nothing is left reserved (V6).
func TestLargeAnswersShareTheBudget(t *testing.T) {
	const budget = 12 << 20
	w := newWorld(t, vfs.NewMem(), Options{AnswerBudgetBytes: budget})
	w.fillLarge(4)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			q := command.Range{Interval: everything}
			switch i % 4 {
			case 1:
				q.Order = command.OrderDescend
				q.Limit = 60
			case 2:
				q.Order, q.Target = command.OrderAscend, command.TargetValue
			case 3:
				q.Order, q.Target = command.OrderDescend, command.TargetMod
			}
			a, err := w.s.Range(context.Background(), q)
			if err != nil {
				t.Errorf("%+v: %v", q, err)
				return
			}
			if want := 64; a.Count != int64(want) || q.Limit == 0 && a.Kvs != want {
				t.Errorf("%+v: %d keys of %d", q, a.Kvs, a.Count)
			}
			a.Release()
			a.Release()
		}()
	}
	wg.Wait()
	w.s.budget.mu.Lock()
	defer w.s.budget.mu.Unlock()
	if w.s.budget.mu.free != budget || len(w.s.budget.mu.line) != 0 {
		t.Errorf("%d of %d bytes are free afterwards, %d wait", w.s.budget.mu.free, budget, len(w.s.budget.mu.line))
	}
}

// An answer larger than the whole budget is refused with a sentence that says what to do, a small one is not.
func TestAnswerTooLarge(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), Options{AnswerBudgetBytes: 1 << 20})
	w.fillLarge(2)
	ctx := context.Background()
	_, err := w.s.Range(ctx, command.Range{Interval: everything})
	if !errors.Is(err, ErrAnswerTooLarge) || !strings.Contains(err.Error(), "answer-budget-bytes") || !strings.Contains(err.Error(), "RangeStream") {
		t.Fatalf("error %v", err)
	}
	for _, q := range []command.Range{{Interval: everything, KeysOnly: true}, {Interval: everything, Limit: 3}, {Interval: everything, CountOnly: true}} {
		a, err := w.s.Range(ctx, q)
		if err != nil || a.Count != 32 {
			t.Errorf("%+v: %d, %v", q, a.Count, err)
		}
		a.Release()
	}
	bytes := 0
	if err := w.s.RangeStream(ctx, command.Range{Interval: everything}, 100<<10, func(a Answer) error {
		defer a.Release()
		bytes += len(a.Body)
		return nil
	}); err != nil || bytes < 2<<20 {
		t.Errorf("the stream sent %d bytes, %v", bytes, err)
	}
	// The applier neither waits nor is refused.
	w.do(func(wr *Writer) {
		a, err := wr.Range(command.Range{Interval: everything})
		if err != nil || a.Kvs != 32 {
			t.Errorf("in the applier: %d keys, %v", a.Kvs, err)
		}
		a.Release()
	})
	if free := w.s.budget.mu.free; free != 1<<20 {
		t.Errorf("%d bytes are free afterwards", free)
	}
}

// Whoever waits for the budget gives up with its context and leaves the line, and the next one is served.
func TestWaiterGivesUp(t *testing.T) {
	b := newBudget(10)
	first, second, third := &reservation{budget: b}, &reservation{budget: b}, &reservation{budget: b}
	if !first.try(8) {
		t.Fatal("an empty budget has no room")
	}
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error)
	go func() { gone <- second.wait(ctx, 9) }()
	for waits(b) < 1 {
		runtime.Gosched()
	}
	served := make(chan error)
	go func() { served <- third.wait(context.Background(), 2) }()
	for waits(b) < 2 {
		runtime.Gosched()
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	first.release()
	third.release()
	if b.mu.free != 10 {
		t.Fatalf("%d free", b.mu.free)
	}
}

func waits(b *budget) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.mu.line)
}
