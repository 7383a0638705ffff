package node

import "time"

// Clock is a member's time. The simulator has one for each member, which drifts, jumps and stops.
type Clock interface {
	// Now is monotonic: the time since some moment before the node was made. It never goes back.
	Now() time.Duration
	// Wall is the time of day, for people. No answer depends on its being right.
	Wall() time.Time
	// NewTicker returns a Timer that fires every d, which is positive; ticks that nobody takes are left out.
	NewTicker(d time.Duration) Timer
	// NewTimer returns a Timer that fires once after d.
	NewTimer(d time.Duration) Timer
}

// Timer fires on its channel.
type Timer interface {
	C() <-chan time.Time
	// Reset lets it fire d from now, in the case of a ticker every d; what it has not delivered yet is dropped.
	Reset(d time.Duration)
	Stop()
}

// SystemClock is the clock of the machine that the process runs on.
func SystemClock() Clock { return systemClock{time.Now()} }

type systemClock struct{ started time.Time }

func (c systemClock) Now() time.Duration              { return time.Since(c.started) }
func (c systemClock) Wall() time.Time                 { return time.Now() }
func (c systemClock) NewTicker(d time.Duration) Timer { return ticker{time.NewTicker(d)} }
func (c systemClock) NewTimer(d time.Duration) Timer  { return timer{time.NewTimer(d)} }

type ticker struct{ *time.Ticker }

func (t ticker) C() <-chan time.Time { return t.Ticker.C }

type timer struct{ *time.Timer }

func (t timer) C() <-chan time.Time   { return t.Timer.C }
func (t timer) Reset(d time.Duration) { t.Timer.Reset(d) }
func (t timer) Stop()                 { t.Timer.Stop() }
