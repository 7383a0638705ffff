package sim

import (
	"flag"
	"os"
	"runtime"
	"testing"
	"time"

	"holdfast/internal/sim/check"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this seed alone")
	traceFlag = flag.String("events", "", "write the trace of -seed to this file")
	firstFlag = flag.Uint64("first", 1, "")
	countFlag = flag.Uint64("count", 20, "")
)

func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip()
	}
	o := Options{}
	if *traceFlag != "" {
		f, err := os.Create(*traceFlag)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		o.Trace = f
	}
	judge(t, *seedFlag, o)
}

func judge(t *testing.T, seed uint64, o Options) Result {
	real := time.Now()
	r, plan := Seed(t, seed, o)
	took := time.Since(real)
	report := check.Judge(r.History)
	t.Logf("seed %d: %v virtual, %v real, judged %v, %d events, %d ops, trace %x, counts %v", seed, r.Took, took, time.Since(real)-took, r.Events, len(r.History.Operations), r.Trace, r.Counts)
	if err := report.Err(); err != nil || len(r.Problems) > 0 {
		t.Errorf("seed %d:\n%s\n%v\n%v", seed, plan, r.Problems, err)
	}
	if testing.Verbose() && *seedFlag != 0 {
		t.Logf("%s\n%s", plan, report.String())
	}
	runtime.GC()
	return r
}

func TestSeeds(t *testing.T) {
	for i := range *countFlag {
		judge(t, *firstFlag+i, Options{})
	}
}
