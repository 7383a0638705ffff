package node

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/store"
)

// The scrubber reads the whole store over, slowly: the running digest sees what entries do, and not what a disk loses
// afterwards of what nobody reads. It reads tables past every cache, and the records through the engine's cache, which a
// single reading of everything does not sweep empty; the row cache is not touched.

// scrubShare is how many times as long as it works the scrubber rests, at least: it takes a fiftieth of a processor.
const scrubShare = 49

// scrubSoon is when a pass that is due begins after a start, so that it does not meet the rush of a start.
const scrubSoon = time.Minute

// scrubLook is how often the scrubber looks whether a pass is due.
const scrubLook = 10 * time.Second

// errInterrupted ends a pass because the node stops, or because a snapshot has taken the place of the store.
var errInterrupted = errors.New("the pass over the store is interrupted")

func (n *Node) runScrubber() {
	if n.ScrubInterval <= 0 {
		return
	}
	timer := n.Clock.NewTimer(scrubSoon)
	defer timer.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-timer.C():
		}
		if err := n.scrub(); err != nil && !errors.Is(err, errInterrupted) && !errors.Is(err, store.ErrReplaced) {
			n.Fail(fmt.Errorf("read the store over: %w", err))
			return
		}
		timer.Reset(scrubLook)
	}
}

// scrub does a pass if one is due, or what is left of one.
func (n *Node) scrub() error {
	db := n.DB()
	if err := db.Enter(); err != nil {
		return err
	}
	defer db.Leave()
	at, known, err := db.Scrubbed()
	if err != nil {
		return err
	}
	now := n.Clock.Wall().Unix()
	switch {
	case !known:
		return n.noteScrubbed(db, store.Scrubbed{Finished: now}) // a new store was written a moment ago
	case !at.Running && at.Finished <= now && now-at.Finished < int64(n.ScrubInterval/time.Second):
		return nil
	case !at.Running:
		at = store.Scrubbed{Finished: at.Finished, Running: true}
		if err := n.noteScrubbed(db, at); err != nil {
			return err
		}
	}
	started := n.now()
	pace := n.newPace(func() bool { return n.DB() != db })
	defer pace.timer.Stop()
	if err := n.scrubTables(db, &at, pace); err != nil {
		return err
	}
	problems := 0
	err = n.KV().CheckSlowly(pace.pause, func(problem string) {
		if problems++; problems <= maxProblems {
			n.Logger.Error("the store does not fit together", zap.String("problem", problem))
		}
	})
	if err != nil {
		return n.damaged(err)
	}
	n.Metrics.scrubProblems.Add(float64(problems))
	n.Metrics.scrubPasses.Inc()
	if problems > 0 {
		n.suspicious(problems)
	}
	n.Logger.Info("the whole store was read over", zap.Int64("bytes", pace.bytes), zap.Duration("took", n.now()-started), zap.Int("problems", problems))
	return n.noteScrubbed(db, store.Scrubbed{Finished: n.Clock.Wall().Unix()})
}

// noteScrubbed notes the beginning or the end of a pass so that a power cut does not forget it. What is noted in between
// becomes durable with the next flush.
func (n *Node) noteScrubbed(db *store.DB, at store.Scrubbed) error {
	if err := db.SetScrubbed(at); err != nil {
		return err
	}
	return db.Flush()
}

// maxProblems is how many problems of a pass are logged one by one.
const maxProblems = 20

// scrubTables reads every block of every table, in the order of their numbers. What is written meanwhile is left to the
// next pass.
func (n *Node) scrubTables(db *store.DB, at *store.Scrubbed, pace *pace) error {
	tables, err := db.Tables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Number < at.Next {
			continue
		}
		if err := db.CheckTable(t, pace.pause); err != nil {
			return n.damaged(err)
		}
		at.Next = t.Number + 1
		if err := db.SetScrubbed(*at); err != nil {
			return err
		}
	}
	return nil
}

// damaged counts damage.
func (n *Node) damaged(err error) error {
	var c *store.Corruption
	if !errors.As(err, &c) {
		return err
	}
	n.Metrics.scrubProblems.Inc()
	return err
}

// pace lets a long reading rest between its pieces.
type pace struct {
	node     *Node
	timer    Timer
	replaced func() bool
	since    time.Duration // when the last rest was over
	owed     time.Duration // rest that was too short to be worth it
	bytes    int64
}

// shortestRest is the shortest time that is worth a timer.
const shortestRest = 2 * time.Millisecond

func (n *Node) newPace(replaced func() bool) *pace {
	t := n.Clock.NewTimer(time.Hour)
	return &pace{node: n, timer: t, replaced: replaced, since: n.now()}
}

// pause is called before a piece of so many bytes is read.
func (p *pace) pause(bytes int) error {
	n := p.node
	p.bytes += int64(bytes)
	n.Metrics.scrubBytes.Add(float64(bytes))
	worked := n.now() - p.since
	p.owed += max(time.Duration(float64(bytes)/float64(n.ScrubBytes)*float64(time.Second)), scrubShare*worked)
	if p.owed >= shortestRest {
		p.timer.Reset(p.owed)
		p.owed = 0
		select {
		case <-n.stop:
			return errInterrupted
		case <-n.failed:
			return errInterrupted
		case <-p.timer.C():
		}
	}
	p.since = n.now()
	if p.replaced() {
		return errInterrupted
	}
	return nil
}
