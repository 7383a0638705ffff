package node

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"holdfast/internal/store"
)

// passes is how often the store was read over.
func passes(s *seat) (passes, problems float64) {
	return counted(s.Metrics.scrubPasses), counted(s.Metrics.scrubProblems)
}

// fill writes so many kilobytes and flushes them.
func fill(t *testing.T, s *seat, kilobytes int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1}) // what can be compressed makes small tables
	for i := range kilobytes {
		var value [1000]byte
		_, _ = random.Read(value[:])
		write(t, s, fmt.Sprintf("key%06d", i), string(value[:]))
	}
	check(t, s.db.Flush())
}

// TestScrub: the store is read over at the pace and in the interval that the settings say; a pass that a restart interrupts
// goes on with the tables that it has not read.
func TestScrub(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const rate = 64 << 10
		_, all := seats(t, 1, func(c *Config) { c.ScrubInterval, c.ScrubBytes = 10*time.Minute, rate })
		s := all[0]
		leader(t, all)
		fill(t, s, 2000)
		<-time.After(9 * time.Minute)
		if n, _ := passes(s); n != 0 {
			t.Errorf("%v passes before the first is due", n)
		}
		began := time.Now()
		for n := 0.0; n == 0; n, _ = passes(s) {
			time.Sleep(time.Second)
			if time.Since(began) > 10*time.Minute {
				t.Fatal("there is no pass")
			}
		}
		bytes := counted(s.Metrics.scrubBytes)
		if bytes < 2_000_000 {
			t.Errorf("only %v bytes were read", bytes)
		}
		if at, known, err := s.db.Scrubbed(); err != nil || !known || at.Running || time.Since(time.Unix(at.Finished, 0)) > time.Minute {
			t.Errorf("the record is %+v, %v, %v", at, known, err)
		}
		// One is interrupted when it has read all tables.
		check(t, s.db.SetScrubbed(store.Scrubbed{Finished: time.Now().Unix(), Running: true, Next: 1 << 60}))
		check(t, s.db.Flush())
		check(t, s.stop())
		s.start()
		leader(t, all)
		began = time.Now()
		for n := 0.0; n == 0; n, _ = passes(s) {
			time.Sleep(time.Second)
			if time.Since(began) > 10*time.Minute {
				t.Fatal("the pass does not go on")
			}
		}
		if again := counted(s.Metrics.scrubBytes); again >= bytes-1_000_000 {
			t.Errorf("%v bytes were read in the rest of a pass that takes %v", again, bytes)
		}
		if _, problems := passes(s); problems != 0 || s.Status().Failed != nil {
			t.Errorf("%v problems, %v", problems, s.Status().Failed)
		}
		pace := bytes / rate
		if took := time.Since(began).Seconds(); took > 3*pace+90 {
			t.Errorf("it took %v s, and %v are enough", took, pace)
		}
	})
}

// TestScrubFindsDamage: a flipped bit that nobody reads stops the member with a sentence that names the file and says what
// to do; in a cluster the next life begins in quarantine.
func TestScrubFindsDamage(t *testing.T) {
	for members, advice := range map[int]string{1: "from a backup", 3: "holdfast member repair"} {
		bubble(t, func(t *testing.T) {
			_, all, holds := guarded(t, members, func(c *Config) { c.ScrubInterval = 5 * time.Minute })
			s := leader(t, all)
			fill(t, s, 300)
			<-time.After(time.Second) // the engine has compacted what it wants to
			tables, err := s.db.Tables()
			check(t, err)
			largest := slices.MaxFunc(tables, func(a, b store.TableFile) int { return cmp.Compare(a.Bytes, b.Bytes) })
			f, err := s.fs.OpenReadWrite(largest.Path, vfs.WriteCategoryUnspecified)
			check(t, err)
			var b [1]byte
			_, err = f.ReadAt(b[:], int64(largest.Bytes/2))
			check(t, err)
			b[0] ^= 1
			_, err = f.WriteAt(b[:], int64(largest.Bytes/2))
			check(t, err)
			check(t, f.Close())
			select {
			case <-s.Failed():
			case <-time.After(15 * time.Minute):
				t.Fatal("the damage is not found")
			}
			err = <-s.ended
			s.ended <- err
			var damage *store.Corruption
			if !errors.As(err, &damage) || !strings.Contains(err.Error(), largest.Path) || !strings.Contains(err.Error(), advice) {
				t.Errorf("it stops with %v", err)
			}
			if cause := holds.causes[s.id.Member]; (cause != "") != (members > 1) {
				t.Errorf("the quarantine of the next life is %q", cause)
			}
			_ = s.stop()
		})
	}
}

// TestScrubFindsWrongRecords: a record that does not fit the others is told, and does not stop a member whose keys are
// those of the others.
func TestScrubFindsWrongRecords(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all := seats(t, 1, func(c *Config) { c.ScrubInterval = 5 * time.Minute })
		s := all[0]
		leader(t, all)
		fill(t, s, 50)
		check(t, s.stop())
		db, err := store.Open(s.fs, "store", s.id, store.Options{})
		check(t, err)
		a, err := db.Applied()
		check(t, err)
		a.LiveBytes--
		check(t, db.Set(store.AppliedKey(), store.EncodeApplied(a), pebble.NoSync))
		check(t, db.Close(true))
		s.start()
		<-time.After(15 * time.Minute)
		if n, problems := passes(s); n == 0 || problems == 0 || s.Corrupt() || s.Status().Failed != nil {
			t.Errorf("%v passes find %v problems, %v, %v", n, problems, s.Quarantine(), s.Status().Failed)
		}
	})
}

// counted is the value of a counter.
func counted(c prometheus.Counter) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}
