// Bench runs the same work on Holdfast and on etcd, one after the other, and prints what each took of processor, memory and time.
//
// Its rules, so that nobody fools himself:
//
//	B1  The peer is go.etcd.io/etcd/server/v3 v3.7.3 with its defaults except the quota, in a process of its own. Holdfast runs with its
//	    shipped defaults, the same in every row. Both sync every write.
//	B2  Processor time is what the operating system charges the server from the first request until background work has settled, divided by
//	    operations. The generator lives in another process and is not counted.
//	B3  Memory is VmRSS, after the load and after reads over all keys.
//	B4  fdatasync is the median for 4 KiB into a preallocated, written file on the same disk, interleaved with the puts it is compared with.
//	B5  Keys come in random order; half of the puts overwrite. Values are 256 bytes that do not compress.
//	    Watchers share streams, a hundred of them one, and streams connections, ten of them one; what comes over them is counted without being decoded.
//	B6  Rows of three members run a cluster of either system on this machine, each member a process of its own. CPU is that of all three, and
//	    of the leader and a follower apart. Clients are spread over all members alike unless the row says otherwise.
//	B7  Every row prints the figures of both beside the ratio, and the mark of marks.json beside that.
//
// The machine should do nothing else meanwhile. See -help.
package main

import (
	"context"

	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == etcdCommand {
		os.Exit(serveEtcd(os.Args[2:]))
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are what the flags say.
type settings struct {
	rows    string
	short   bool
	json    bool
	repeats int
	dir     string
	binary  string
	profile string
	scale   scale
}

// A scale is how much work the rows do.
type scale struct {
	Operations int           `json:"operations"`         // of a put, get or transaction row, for many clients
	Single     int           `json:"single"`             // of a row with a single client
	Preload    int           `json:"preload"`            // keys before a read row
	List       int           `json:"list"`               // keys in a list
	Lists      int           `json:"lists"`              // lists to be read
	Keys       int           `json:"keys"`               // keys of the memory and restart rows
	Reading    time.Duration `json:"readingNanoseconds"` // reads over all keys before the second look at memory
	Settle     time.Duration `json:"settleNanoseconds"`  // the longest wait for background work

	Watchers int           `json:"watchers"`           // of one key
	Fans     int           `json:"fans"`               // puts to that key
	Own      int           `json:"own"`                // watchers of own keys
	Behind   int           `json:"behind"`             // revisions that a watcher has missed
	Laggards int           `json:"laggards"`           // watchers that read all of them
	Leases   int           `json:"leases"`             // alive at once
	Horizon  time.Duration `json:"horizonNanoseconds"` // in which leases are granted that end at its end

	Kills int `json:"kills"` // of leaders of three members
	Stops int `json:"stops"` // of them, with a signal
}

var (
	fullScale = scale{
		Operations: 100_000, Single: 5_000, Preload: 100_000, List: 10_000, Lists: 500, Keys: 1_000_000, Reading: time.Minute, Settle: time.Minute,
		Watchers: 1000, Fans: 500, Own: 10_000, Behind: 100_000, Laggards: 10, Leases: 100_000, Horizon: time.Minute, Kills: 20, Stops: 10,
	}
	shortScale = scale{
		Operations: 10_000, Single: 500, Preload: 10_000, List: 10_000, Lists: 30, Keys: 30_000, Reading: 2 * time.Second, Settle: 3 * time.Second,
		Watchers: 1000, Fans: 50, Own: 2000, Behind: 20_000, Laggards: 5, Leases: 2000, Horizon: 6 * time.Second, Kills: 10, Stops: 5,
	}
)

func parse(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&s.rows, "rows", "all", "rows to run, separated by commas; \"members\" are those of three members: "+strings.Join(rowNames(), ", "))
	flags.BoolVar(&s.short, "short", false, "little work, in about five minutes; the figures say little")
	flags.BoolVar(&s.json, "json", false, "print JSON instead of a table")
	flags.IntVar(&s.repeats, "repeats", 0, "how often each row runs, holdfast and etcd in turn; medians are printed (default 3, 1 with -short)")
	flags.StringVar(&s.dir, "dir", os.TempDir(), "where the data goes; its disk is measured, so it must not be a memory file system")
	flags.StringVar(&s.binary, "holdfast", os.Getenv("HOLDFAST_BINARY"), "the holdfast program (default: built from the module around this one)")
	flags.StringVar(&s.profile, "profile", "", "a directory for processor profiles of Holdfast's members in the rows of three members; the figures are worth less with it")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("there are no arguments besides flags, but %q was given", flags.Args())
	}
	s.scale = fullScale
	if s.short {
		s.scale = shortScale
	}
	if s.repeats == 0 {
		s.repeats = 3
		if s.short {
			s.repeats = 1
		}
	}
	return s, nil
}

func run(args []string) error {
	s, err := parse(args)
	if err == flag.ErrHelp {
		return nil
	}
	if err != nil {
		return err
	}
	chosen, err := chooseRows(s.rows)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, "holdfast-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	systems, err := bothSystems(s.binary, dir, s.profile != "")
	if err != nil {
		return err
	}
	report, err := measure(ctx, s, dir, systems, chosen)
	if err != nil {
		return err
	}
	if s.json {
		return report.writeJSON(os.Stdout)
	}
	return report.writeTable(os.Stdout)
}

// chooseRows finds the rows of a list of names.
func chooseRows(names string) ([]row, error) {
	if names == "all" {
		return rows, nil
	}
	var chosen []row
	for name := range strings.SplitSeq(names, ",") {
		if name == membersGroup {
			for _, r := range rows {
				if strings.HasPrefix(r.name, membersGroup+"-") {
					chosen = append(chosen, r)
				}
			}
			continue
		}
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q; there are %s", name, strings.Join(rowNames(), ", "))
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}

// measure runs the rows, each repeated, the two systems in turn and the first of a repetition changing.
func measure(ctx context.Context, s settings, dir string, systems []system, chosen []row) (*report, error) {
	r := newReport(s, dir)
	for _, row := range chosen {
		for repeat := range s.repeats {
			order := slices.Clone(systems)
			if repeat%2 == 1 {
				slices.Reverse(order)
			}
			for _, system := range order {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				fmt.Fprintf(os.Stderr, "%s, %s, %d of %d\n", row.name, system.name, repeat+1, s.repeats)
				figures, err := row.measure(ctx, &trial{row: row.name, scale: s.scale, dir: dir, profile: s.profile, system: system})
				if err != nil {
					return nil, fmt.Errorf("%s on %s: %w", row.name, system.name, err)
				}
				r.add(row.name, system.name, figures)
			}
		}
	}
	return r, nil
}
