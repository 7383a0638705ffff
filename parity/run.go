package parity

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	// Patience is how long a watch may take to deliver; 0 means a time that is long for any server.
	Patience time.Duration
	// Trace gets every operation and the left answer, if it is not nil.
	Trace io.Writer

	// Filled by Do.
	Outcomes Outcomes
	Failures []Failure
	// Done are the operations in their order, for Shrink.
	Done []Operation

	state      *State
	index      int
	hashes     [2]hashes
	clocks     [2]clock
	identities identities
	watchings  watchings
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
	r.clocks = [2]clock{newClock(r.Left), newClock(r.Right)}
	r.identities, r.watchings = newIdentities(), newWatchings(r.Patience)
	defer r.watchings.closeAll(r.state)
	if r.Services == nil {
		r.Services = services
	}
	if slices.ContainsFunc(r.Services, func(s Service) bool { return s.Name == watchServiceName }) {
		if done := r.watchEverything(); done {
			return nil
		}
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
		if r.RestartEvery > 0 && source.IntN(r.RestartEvery) == 0 && len(r.state.Queue) == 0 {
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

// step executes one operation on both systems, compares the answers, and then all that the operation may have changed. It reports whether
// the run has seen enough.
func (r *Run) step(title string, o Operation) (done bool, err error) {
	defer func() { r.index++ }()
	r.Done = append(r.Done, o)
	switch {
	case o.IsRestart():
		done, err = r.restart(o.Restart)
	case o.Method == "":
		done, err = r.awaitEnds(o)
	default:
		var left, right Answer
		done, left, right = r.compare(title, o)
		r.Outcomes.add(o.Name(), left.Outcome(), right.Outcome())
		if r.Trace != nil {
			fmt.Fprintf(r.Trace, "%d (%s): %s\n    %s\n", r.index, title, o, left)
		}
		if o.passes() && left.Status.Code() == 0 && right.Status.Code() == 0 {
			r.endAtOnce(o, left, right)
		}
	}
	if done || err != nil {
		return true, err
	}
	return r.compareState(title+", the state after "+o.String(), o), nil
}

// compare sends one request to both systems and records what differs. It reports whether the run has seen enough, and the answers.
func (r *Run) compare(title string, o Operation) (done bool, left, right Answer) {
	asked := time.Now()
	var reasons []string
	answers, err := r.ask(o)
	if err != nil {
		reasons = append(reasons, err.Error())
	}
	left, right = answers[0], answers[1]
	for _, d := range unexcused(r.state, o, left, right) {
		reasons = append(reasons, d.String())
	}
	for side, s := range []System{r.Left, r.Right} {
		reasons = append(reasons, ownRules(s.Name(), &r.hashes[side], r.state, o, answers[side])...)
		reasons = append(reasons, r.clocks[side].rules(s.Name(), asked, r.state, o, answers[side])...)
	}
	r.identities.learn(o, answers)
	r.learn(o, left)
	if len(reasons) == 0 {
		return false, left, right
	}
	r.Failures = append(r.Failures, Failure{r.Seed, r.index, title, o, left, right, reasons})
	return len(r.Failures) >= max(1, r.MaxFailures), left, right
}

// ask makes a request on both sides. The error is that of a stream which could not be opened.
func (r *Run) ask(o Operation) (answers [2]Answer, err error) {
	do := func(side int, s System) Answer { return Do(s.Conn(), r.identities.with(side, o)) }
	if o.Method == watchMethod {
		none := Answer{Status: status.New(codes.OK, "")}
		if o.isClosing() {
			r.watchings.close(o.Stream, r.state)
			return [2]Answer{none, none}, nil
		}
		if o.Stream != referenceStream && r.watchings.streams[referenceStream] == nil {
			r.watchEverything()
		}
		if o.Stream != identityStream {
			o.As = r.state.reader()
		}
		stream, err := r.watchings.open(o.Stream, o.As, r)
		if err != nil {
			return [2]Answer{none, none}, err
		}
		do = func(side int, _ System) Answer { return r.watchings.do(stream, side, o, r.state) }
	}
	r.both(func(side int, s System) error {
		answers[side] = do(side, s)
		return nil
	})
	return answers, nil
}

func (r *Run) learn(o Operation, a Answer) {
	switch {
	case o.Method == rangeMethod && proto.Equal(o.Request, readAll().Request):
		r.state.learn(a)
	case o.Method == watchMethod && !o.isClosing():
		r.watchings.learn(o.Stream, o, a, r.state)
	}
	r.state.learnLease(o, a)
	r.state.learnAuth(o, a)
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
	case "", putMethod, deleteMethod, txnMethod, revokeMethod:
		return true
	}
	return false
}
