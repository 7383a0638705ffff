package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/machine"
)

// jumping is a clock whose time a test moves on.
type jumping struct {
	Clock
	ahead atomic.Int64
}

func (c *jumping) Now() time.Duration   { return c.Clock.Now() + time.Duration(c.ahead.Load()) }
func (c *jumping) jump(d time.Duration) { c.ahead.Add(int64(d)) }

// duty proposes what the member's duty about its alarm is now, if anything, and tells what it was.
func duty(t *testing.T, r *rig) command.AlarmAction {
	t.Helper()
	c, due := r.AlarmDue()
	if !due {
		return command.AlarmGet
	}
	if reply, err := r.Propose(context.Background(), c); err != nil || reply.Err != nil {
		t.Fatal(err, reply.Err)
	}
	a, known, err := command.DecodeAlarm(c.Payload)
	if err != nil || !known {
		t.Fatal(err)
	}
	return a.Action
}

// A member over its quota raises its alarm, once; writes stay refused until the alarm is cleared: by hand, or by the
// member when it has been well under the quota for a minute. An alarm of another member counts as well.
func TestQuotaAlarm(t *testing.T) {
	clock := &jumping{Clock: SystemClock()}
	r := start(t, vfs.NewMem(), func(c *Config) { c.QuotaBytes, c.Clock = 1000, clock })
	own := machine.Alarm{Member: r.Identity.Member, Type: command.AlarmNoSpace}
	propose := func(c command.Command) {
		t.Helper()
		if reply, err := r.Propose(context.Background(), c); err != nil || reply.Err != nil {
			t.Fatal(err, reply.Err)
		}
	}
	expect := func(what string, action command.AlarmAction, refused bool, alarms ...machine.Alarm) {
		t.Helper()
		if got := duty(t, r); got != action {
			t.Errorf("%s: the duty is %d, want %d", what, got, action)
		}
		if err := r.Space(); errors.Is(err, ErrNoSpace) != refused || !slices.Equal(r.Alarms(), alarms) {
			t.Errorf("%s: %v, alarms %v", what, err, r.Alarms())
		}
	}
	remove := func(key string) command.Command {
		d := command.DeleteRange{Interval: command.NewInterval([]byte(key), nil)}
		return command.Command{Kind: command.KindDelete, Payload: command.AppendDeleteRange(nil, &d)}
	}
	change := func(action command.AlarmAction, a machine.Alarm) command.Command {
		return command.Command{Kind: command.KindAlarm, Payload: command.AppendAlarm(nil, &command.Alarm{Action: action, Member: a.Member, Type: a.Type})}
	}
	expect("empty", command.AlarmGet, false)
	propose(put("large", strings.Repeat("x", 2000)))
	if err := r.Space(); !errors.Is(err, ErrNoSpace) || !slices.Equal(r.Alarms(), []machine.Alarm{own}) {
		t.Errorf("before the alarm is in the log: %v, %v", err, r.Alarms())
	}
	expect("over the quota", command.AlarmRaise, true, own)
	expect("over the quota still", command.AlarmGet, true, own)
	propose(change(command.AlarmClear, own))
	expect("cleared by hand too early", command.AlarmRaise, true, own)

	propose(remove("large"))
	propose(put("some", strings.Repeat("x", 900)))
	expect("hardly under the quota", command.AlarmGet, true, own)
	clock.jump(2 * roomFor)
	expect("hardly under the quota for long", command.AlarmGet, true, own)
	propose(remove("some"))
	expect("well under the quota", command.AlarmGet, true, own)
	clock.jump(roomFor - 10*time.Second)
	expect("for nearly a minute", command.AlarmGet, true, own)
	clock.jump(10 * time.Second)
	expect("for a minute", command.AlarmClear, false)
	expect("and then", command.AlarmGet, false)

	other := machine.Alarm{Member: own.Member + 1, Type: command.AlarmNoSpace}
	propose(change(command.AlarmRaise, other))
	expect("another member has no room", command.AlarmGet, true, other)
	clock.jump(2 * roomFor)
	expect("it is not ours to clear", command.AlarmGet, true, other)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// When room is back on the disk the alarm goes at once.
func TestDiskAlarm(t *testing.T) {
	r := start(t, vfs.NewMem(), func(c *Config) { c.QuotaBytes = 1000 })
	r.space.short.Store(true)
	if got := duty(t, r); got != command.AlarmRaise || len(r.Alarms()) != 1 {
		t.Errorf("without room the duty is %d, alarms %v", got, r.Alarms())
	}
	r.space.short.Store(false)
	if err := r.Space(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("while the alarm is raised: %v", err)
	}
	if got := duty(t, r); got != command.AlarmClear || len(r.Alarms()) != 0 || r.Space() != nil {
		t.Errorf("with room the duty is %d, alarms %v", got, r.Alarms())
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}
