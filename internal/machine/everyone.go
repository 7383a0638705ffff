package machine

import "holdfast/internal/member"

// Everyone returns the members of the cluster and those that were removed, ordered by id. Any goroutine may call it; the
// caller must not change the answer. It is another slice whenever something about a member has changed.
func (m *Machine) Everyone() []member.Member { return *m.members.Load() }
