package doctor

import "time"

// Limits are from where on something is worth saying.
type Limits struct {
	Lag             int64         // entries behind the others
	Unapplied       int64         // entries committed and not applied
	LearnerPatience time.Duration // how long a learner may be in sync before it is said
	ClockOffset     time.Duration // as members measure it; a comparison of HTTP dates, which count seconds, may be two more
	Sync            time.Duration // 99 of 100 syncs of the log
	Apply           time.Duration // 99 of 100 batches
	RoundTrip       time.Duration // 99 of 100 round trips between members
	ElectionFactor  float64       // an election timeout is at least so many round trips
	LeaderChanges   int           // so many changes, and
	LeaderPeriod    time.Duration // on average one in this time
	QuotaShare      float64       // of the quota
	FreeBytes       int64         // on the disk
	Certificate     time.Duration // before it ends
	Revisions       int64         // of history, without a policy
	Leases          int
	SlowWatchers    int
	ValueBytes      int   // of one value
	ScanBytes       int64 // how much of a running cluster's values is read to find large ones
	Pending         int   // writes that wait
	Observations    int   // a histogram of fewer says nothing
}

// DefaultLimits returns the limits that the command has.
func DefaultLimits() Limits {
	return Limits{
		Lag: 5000, Unapplied: 5000, LearnerPatience: 10 * time.Minute,
		ClockOffset: time.Second,
		Sync:        100 * time.Millisecond, Apply: 250 * time.Millisecond, RoundTrip: 150 * time.Millisecond,
		ElectionFactor: 10,
		LeaderChanges:  5, LeaderPeriod: 20 * time.Minute,
		QuotaShare: 0.8, FreeBytes: 1 << 30,
		Certificate: 30 * 24 * time.Hour,
		Revisions:   1_000_000, Leases: 100_000, SlowWatchers: 100,
		ValueBytes: 512 << 10, ScanBytes: 32 << 20,
		Pending: 1000, Observations: 100,
	}
}
