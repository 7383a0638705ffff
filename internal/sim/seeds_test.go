package sim

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"holdfast/internal/sim/check"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "TestSeed: the seed to run")
	eventsFlag = flag.String("events", "", "TestSeed: write everything that happens to this file, and beside it what the members log and what happens in the second run")
	firstFlag  = flag.Uint64("first", 1, "TestSeeds: the first seed")
	countFlag  = flag.Uint64("seeds", 0, "TestSeeds: how many seeds; 0 means 240, and 40 with -short")
	shardFlag  = flag.String("shard", "", "TestSeeds: this process runs the seeds that are i modulo n, written i/n")
	openFlag   = flag.Bool("any-counts", false, "TestSeeds: a counter may stay at zero, because the seeds are not the fixed ones")
)

// twice is of how many seeds one is run twice, to compare the traces.
const twice = 8

// TestSeed runs one seed, twice, and says everything about it. It is what a failure of TestSeeds names.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("-seed names a seed")
	}
	o, again := Options{}, Options{}
	if *eventsFlag != "" {
		create := func(name string) *os.File {
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			return f
		}
		o.Trace, again.Trace = create(*eventsFlag), create(*eventsFlag+".again")
		l := create(*eventsFlag + ".log")
		o.Logger = zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.AddSync(l), zapcore.DebugLevel))
	}
	first, plan, report := runSeed(t, *seedFlag, o)
	second, _, _ := runSeed(t, *seedFlag, again)
	t.Logf("the plan:\n%s", plan)
	t.Logf("%d events in %v of the world's time, trace %x", first.Events, first.Took, first.Trace)
	t.Logf("counts: %v", first.Counts)
	t.Logf("checkers:\n%s", report)
	if text := verdict(*seedFlag, first, plan, report); text != "" {
		t.Error(text)
	}
	if first.Trace != second.Trace {
		t.Logf("the second run has another trace, %x; -events writes both down", second.Trace)
	}
}

// runSeed runs a seed on one processor, and collects garbage after it: so Go's scheduler decides the same each time.
func runSeed(t *testing.T, seed uint64, o Options) (Result, string, check.Report) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(2 << 30))
	r, plan := Seed(t, seed, o)
	return r, plan, check.Judge(r.History)
}

// verdict is empty if all is well with a run; otherwise it says what is not, and how to see it again.
func verdict(seed uint64, r Result, plan string, report check.Report) string {
	err := report.Err()
	if err == nil && len(r.Problems) == 0 {
		return ""
	}
	text := fmt.Sprintf("seed %d: go test ./internal/sim -run 'TestSeed$' -seed=%d -events=events -v\n%s", seed, seed, plan)
	for _, p := range r.Problems {
		text += p + "\n"
	}
	if err != nil {
		text += err.Error()
	}
	return text
}

// TestSeeds holds everything that package check says, over a fixed set of seeds; that over all of them whatever is
// Wanted has happened; and that a seed is the same world each time.
func TestSeeds(t *testing.T) {
	if *shardFlag != "" {
		shard(t)
		return
	}
	count := *countFlag
	if count == 0 {
		count = 240
		if testing.Short() {
			count = 40
		}
	}
	// A world runs on one processor, so several processes make use of all.
	processes := runtime.NumCPU()
	var mu sync.Mutex
	counts := map[string]int{}
	var all sync.WaitGroup
	for i := range processes {
		all.Go(func() {
			text, found := child(i, processes, count)
			mu.Lock()
			defer mu.Unlock()
			if text != "" {
				t.Error(text)
			}
			for what, n := range found {
				counts[what] += n
			}
		})
	}
	all.Wait()
	t.Logf("%d seeds from %d: %v", count, *firstFlag, counts)
	if *openFlag || count < 200 {
		return
	}
	// What the libraries decide by themselves shows where a busy machine takes the processor away in the middle of a
	// step. If the world itself were not the seed's, hardly any two traces would agree.
	if same, other := counts["same traces"], counts["other traces"]; same < other {
		t.Errorf("only %d of %d seeds had the same trace twice", same, same+other)
	}
	for _, what := range Wanted {
		if counts[what] == 0 {
			t.Errorf("over %d seeds there were no %s", count, what)
		}
	}
}

// silence is how long a child may be busy with one seed.
const silence = 2 * time.Minute

// child runs a part of the seeds in a process of its own, and returns what is wrong and what was counted.
func child(i, of int, count uint64) (text string, counts map[string]int) {
	args := []string{"-test.run=^TestSeeds$", "-test.timeout=0", fmt.Sprintf("-shard=%d/%d", i, of), fmt.Sprintf("-first=%d", *firstFlag), fmt.Sprintf("-seeds=%d", count)}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err.Error(), nil
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err.Error(), nil
	}
	watchdog := time.AfterFunc(silence, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	seed := "none"
	var lines []string
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 1<<26)
	for scanner.Scan() {
		line := scanner.Text()
		if s, ok := strings.CutPrefix(line, "at seed "); ok {
			watchdog.Reset(silence)
			seed = s
			continue
		}
		if s, ok := strings.CutPrefix(line, "counted "); ok {
			_ = json.Unmarshal([]byte(s), &counts)
			continue
		}
		lines = append(lines, line)
	}
	watchdog.Stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Sprintf("%v at seed %s\n%s", err, seed, strings.Join(lines[:min(len(lines), 400)], "\n")), counts
	}
	return "", counts
}

// shard is what a child does.
func shard(t *testing.T) {
	var i, of uint64
	if _, err := fmt.Sscanf(*shardFlag, "%d/%d", &i, &of); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for seed := *firstFlag; seed < *firstFlag+*countFlag; seed++ {
		if seed%of != i {
			continue
		}
		fmt.Printf("at seed %d\n", seed)
		r, plan, report := runSeed(t, seed, Options{})
		for what, n := range r.Counts {
			counts[what] += n
		}
		if text := verdict(seed, r, plan, report); text != "" {
			t.Error(text)
		}
		if seed/of%twice == 0 {
			again, _, _ := runSeed(t, seed, Options{})
			if again.Trace == r.Trace {
				counts["same traces"]++
			} else {
				counts["other traces"]++
			}
		}
	}
	data, err := json.Marshal(counts)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("counted %s\n", data)
}
