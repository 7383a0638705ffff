package parity

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A Run drives two systems through the same operations.
type Run struct {
	Seed uint64
	// Operations is how many are drawn, after the corners.
	Operations int
	// RestartEvery is after how many drawn operations both systems restart, on average; 0 for never.
	RestartEvery int
	// MaxFailures is how many differences end the run; 0 means the first does.
	MaxFailures int
	Left, Right System
	// Services make the operations; nil means all.
	Services []Service
	// Trace gets every operation and the left answer, if it is not nil.
	Trace io.Writer

	// Filled by Do.
	Outcomes Outcomes
	Failures []Failure
	// Done are the operations in their order, for Shrink.
	Done []Operation

	state  *State
	index  int
	hashes [2]hashes
}

// A Failure is an operation that the two systems answered differently, or that broke a rule of one side.
type Failure struct {
	Seed        uint64
	Index       int // how many operations came before, corners included
	Title       string
	Operation   Operation
	Left, Right Answer
	Reasons     []string
}

func (f Failure) String() string {
	return fmt.Sprintf("seed %d, operation %d (%s): %s\n  differs:\n    %s\n  left:  %s\n  right: %s", f.Seed, f.Index, f.Title, f.Operation,
		strings.Join(f.Reasons, "\n    "), f.Left, f.Right)
}

// Do runs the corners and then the drawn operations, until it has found MaxFailures differences. The error is of the systems: one
// that did not start again, for example.
func (r *Run) Do() error {
	r.Outcomes, r.Failures, r.Done, r.state, r.index = Outcomes{}, nil, nil, NewState(), 0
	r.hashes = [2]hashes{newHashes(r.Left), newHashes(r.Right)}
	if r.Services == nil {
		r.Services = services
	}
	for _, service := range r.Services {
		for _, corner := range service.Corners {
			for _, step := range corner.Steps {
				if done, err := r.step(corner.Title, step(r.state)); done || err != nil {
					return err
				}
			}
		}
	}
	source := rand.New(rand.NewPCG(r.Seed, 0))
	for range r.Operations {
		o := draw(source, r.Services, r.state)
		if r.RestartEvery > 0 && source.IntN(r.RestartEvery) == 0 {
			o = Operation{Restart: pick(source, Clean, Kill)}
		}
		if done, err := r.step("drawn", o); done || err != nil {
			return err
		}
	}
	if r.RestartEvery > 0 {
		for _, how := range []Restart{Clean, Kill} {
			if done, err := r.step("at the end", Operation{Restart: how}); done || err != nil {
				return err
			}
		}
	}
	return nil
}

// step executes one operation on both systems and compares. It reports whether the run has seen enough.
func (r *Run) step(title string, o Operation) (done bool, err error) {
	defer func() { r.index++ }()
	r.Done = append(r.Done, o)
	if o.IsRestart() {
		if err := r.both(func(_ int, s System) error { return s.Restart(o.Restart) }); err != nil {
			return true, fmt.Errorf("seed %d, operation %d: %w", r.Seed, r.index, err)
		}
		r.Outcomes.add(o.Name(), "ok", "ok")
	} else {
		done, left, right := r.compare(title, o)
		r.Outcomes.add(o.Name(), left.Outcome(), right.Outcome())
		if r.Trace != nil {
			fmt.Fprintf(r.Trace, "%d (%s): %s\n    %s\n", r.index, title, o, left)
		}
		if done {
			return true, nil
		}
	}
	if !o.mayWrite() {
		return false, nil
	}
	done, _, _ = r.compare(title+", the state after "+o.String(), readAll())
	return done, nil
}

// compare sends one request to both systems and records what differs. It reports whether the run has seen enough, and the answers.
func (r *Run) compare(title string, o Operation) (done bool, left, right Answer) {
	var answers [2]Answer
	r.both(func(side int, s System) error {
		answers[side] = Do(s.Conn(), o)
		return nil
	})
	left, right = answers[0], answers[1]
	var reasons []string
	for _, d := range unexcused(r.state, o, left, right) {
		reasons = append(reasons, d.String())
	}
	for side, s := range []System{r.Left, r.Right} {
		reasons = append(reasons, ownRules(s.Name(), &r.hashes[side], r.state, o, answers[side])...)
	}
	r.learn(o, left)
	if len(reasons) == 0 {
		return false, left, right
	}
	r.Failures = append(r.Failures, Failure{r.Seed, r.index, title, o, left, right, reasons})
	return len(r.Failures) >= max(1, r.MaxFailures), left, right
}

func (r *Run) learn(o Operation, a Answer) {
	if o.Method == rangeMethod && proto.Equal(o.Request, readAll().Request) {
		r.state.learn(a)
	}
	if t, ok := o.Request.(*pb.TxnRequest); ok {
		r.state.learnTxn(t, a)
	}
	if c, ok := o.Request.(*pb.CompactionRequest); ok {
		r.state.learnCompaction(c, a)
	}
}

// both calls f for the two systems at once and returns the first error.
func (r *Run) both(f func(side int, s System) error) error {
	var failed [2]error
	var wait sync.WaitGroup
	for side, s := range []System{r.Left, r.Right} {
		wait.Go(func() {
			if err := f(side, s); err != nil {
				failed[side] = fmt.Errorf("%s: %w", s.Name(), err)
			}
		})
	}
	wait.Wait()
	if failed[0] != nil {
		return failed[0]
	}
	return failed[1]
}

// mayWrite reports whether the state has to be read again after the operation.
func (o Operation) mayWrite() bool {
	switch o.Method {
	case "", putMethod, deleteMethod, txnMethod:
		return true
	}
	return false
}
