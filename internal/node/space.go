package node

import (
	"sync"
	"sync/atomic"

	"holdfast/internal/command"
)

// space is the guard of free disk space. Commands that grow the store are refused while there is still room for
// two flushes, a compaction step and a log segment; deletes, compactions and reads use that reserve.
type space struct {
	short atomic.Bool
	told  bool // what the log was told last; the keeper's
	alarm ownAlarm
	mu    struct {
		sync.Mutex
		spare error // why the next log segment could not be made; nil when it is there
	}
}

// spareFailed notes that there was no room for the next log segment. Growth is refused from here on, not from the
// next look on: at full speed the segment in use is full much sooner than that.
func (s *space) spareFailed(err error) {
	s.mu.Lock()
	s.mu.spare = err
	s.mu.Unlock()
	s.short.Store(true)
}

// spareReady notes that the next log segment is there. The next look says whether there is room.
func (s *space) spareReady() {
	s.mu.Lock()
	s.mu.spare = nil
	s.mu.Unlock()
}

// look asks the disk. A file system that cannot tell its free space is taken to have enough, as long as the next
// log segment can be made.
func (s *space) look(n *Node) {
	s.mu.Lock()
	cause := s.mu.spare
	s.mu.Unlock()
	short := cause != nil
	var free uint64
	if n.MinFreeBytes > 0 {
		if usage, err := n.FS.GetDiskUsage(n.Dir); err == nil {
			free = usage.AvailBytes
			// It takes an eighth more than the limit to come back, so that the state does not flap.
			want := n.MinFreeBytes
			if s.short.Load() {
				want += want / 8
			}
			short = short || free < want
		}
	}
	s.short.Store(short)
	if s.told != short {
		s.told = short
		n.logSpace(short, free, n.MinFreeBytes, cause)
	}
}

// Space returns ErrNoSpace while commands that grow the store are refused, otherwise nil: while this member has no room
// for them, and while the alarm about any member's room is raised. The caller asks before it proposes such a command.
//
// The quota counts live keys and values, so deleting brings it down by itself. It is looked at before a command is
// proposed, so what is under way at that moment may pass it by as much.
func (n *Node) Space() error {
	if n.noRoom() || n.alarmed(command.AlarmNoSpace) {
		return ErrNoSpace
	}
	return nil
}

// noRoom reports whether this member has no room for commands that grow the store.
func (n *Node) noRoom() bool { return n.space.short.Load() || n.overQuota() }

func (n *Node) overQuota() bool {
	return n.QuotaBytes > 0 && n.applied.Load().LiveBytes >= n.QuotaBytes
}
