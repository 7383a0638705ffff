package parity

import (
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A clock follows the leases of one side. What is left of a lease depends on the moment at which each side is asked, so the two are not
// compared; each is held to the time that has passed since the lease was granted or kept alive.
type clock struct {
	leases map[int64]*running
	// survives is whether a deadline survives a restart. With etcd every lease begins anew.
	survives bool
}

type running struct {
	granted int64     // seconds
	begun   time.Time // when the last grant or renewal was asked for
	left    int64     // what the last answer said
}

// toleranceSeconds is how far the time left may be from what the clock of the test says.
const toleranceSeconds = 2

func newClock(s System) clock {
	_, isEtcd := s.(*Etcd)
	return clock{leases: map[int64]*running{}, survives: !isEtcd}
}

// rules returns what an answer breaks of them, and remembers it. Asked is when the request was sent.
func (c *clock) rules(name string, asked time.Time, state *State, o Operation, a Answer) (broken []string) {
	complain := func(format string, args ...any) { broken = append(broken, name+": "+fmt.Sprintf(format, args...)) }
	for _, m := range a.Messages {
		switch m := m.(type) {
		case *pb.LeaseGrantResponse:
			if m.ID == 0 {
				complain("a lease without id")
			}
			c.leases[m.ID] = &running{m.TTL, asked, m.TTL}
		case *pb.LeaseKeepAliveResponse:
			if l := c.leases[m.ID]; l != nil && m.TTL > 0 {
				l.begun, l.left = asked, l.granted
			}
		case *pb.LeaseTimeToLiveResponse:
			l := c.leases[m.ID]
			if l == nil || m.TTL == -1 {
				break
			}
			if least := l.granted - int64(time.Since(l.begun).Seconds()) - toleranceSeconds; m.TTL < least || m.TTL > l.granted {
				complain("lease %d has %d s left, which cannot be less than %d or more than %d", m.ID, m.TTL, least, l.granted)
			}
			if c.survives && m.TTL > l.left+toleranceSeconds {
				complain("lease %d had %d s left and has %d s now, although it was not kept alive", m.ID, l.left, m.TTL)
			}
			l.left = m.TTL
			if keys := leasedKeys(state.Keys, m.ID); o.Request.(*pb.LeaseTimeToLiveRequest).Keys && len(m.Keys) != keys {
				complain("lease %d has the keys %q, and %d keys say that they have the lease", m.ID, m.Keys, keys)
			}
		}
	}
	return broken
}

// sameLeases reports whether two lists name the same leases.
func sameLeases(left, right *pb.LeaseLeasesResponse) bool {
	ids := func(r *pb.LeaseLeasesResponse) (all []int64) {
		for _, l := range r.Leases {
			all = append(all, l.ID)
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(ids(left), ids(right))
}

// sameKeys reports whether two leases have the same keys.
func sameKeys(left, right *pb.LeaseTimeToLiveResponse) bool {
	sorted := func(r *pb.LeaseTimeToLiveResponse) [][]byte {
		return slices.SortedFunc(slices.Values(r.Keys), slices.Compare[[]byte])
	}
	return slices.EqualFunc(sorted(left), sorted(right), slices.Equal[[]byte])
}

// awaitEnd returns once none of the leases lives on the system, or an error.
func awaitEnd(s System, ids []int64, as func(Operation) Operation) error {
	deadline := time.Now().Add(20 * time.Second)
	for _, id := range ids {
		for {
			a := Do(s.Conn(), as(timeToLive(id, false)))
			if len(a.Messages) == 1 && a.Messages[0].(*pb.LeaseTimeToLiveResponse).TTL == -1 {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("lease %d should have ended: %v", id, a)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}
