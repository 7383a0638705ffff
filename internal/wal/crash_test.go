package wal

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// TestPowerCuts holds W1 and W2: a power cut before every single change of the file system leaves a log that holds all
// that was synced and nothing that was not appended, that can be written, and that survives a second cut.
func TestPowerCuts(t *testing.T) {
	seeds, steps := uint64(12), 60
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			fs := newHookFS()
			a := newAuthor(seed)
			create(t, fs, smallLog)
			a.log = open(t, fs, kind.Position{}, smallLog)
			crashes := 0
			rng := rand.New(rand.NewPCG(seed, 7))
			fs.before = func(op, path string) {
				crashes++
				for _, percent := range []int{0, 20, 50, 80, 100} {
					if percent%50 != 0 && rng.IntN(3) > 0 {
						continue
					}
					after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
					a.survives(t, after, fmt.Sprintf("crash %d (before %s %s, %d percent)", crashes, op, path, percent))
				}
				for range 3 {
					a.survives(t, fs.torn(t, rng, a.log.tail.path), fmt.Sprintf("crash %d (before %s %s, torn)", crashes, op, path))
				}
			}
			for range steps {
				must(t, a.step())
			}
			must(t, a.log.Close())
			t.Logf("%d moments", crashes)
		})
	}
}

// survives opens the log on the disk that a crash left, checks it, writes to it, cuts the power again and checks again.
func (a *author) survives(t testing.TB, fs *vfs.MemFS, when string) {
	t.Helper()
	l, err := Open(fs, testDir, testID, Witness{a.applied, a.adopted}, smallLog)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	c := a.check(t, l)
	found := all(t, l)
	// A crash right after Open finds the same: what Open gave out is durable.
	again := open(t, fs.CrashClone(vfs.CrashCloneCfg{}), a.applied, smallLog)
	sameEntries(t, all(t, again), found)

	term := max(stateOf(l.HardState()).term, 1)
	more := entriesOf(uint64(c.last().Index)+1, uint64(c.last().Index)+2, term+100, 700)
	must(t, l.Append(more, hard(term+100, 1, uint64(c.last().Index))))
	must(t, l.Sync())
	l = open(t, fs.CrashClone(vfs.CrashCloneCfg{}), a.applied, smallLog)
	sameEntries(t, all(t, l), append(found, more...))
	if got, want := stateOf(l.HardState()), (state{term + 100, 1, uint64(c.last().Index), true}); got != want {
		t.Fatalf("%s: hard state %+v, want %+v", when, got, want)
	}
	must(t, l.Close())
}
