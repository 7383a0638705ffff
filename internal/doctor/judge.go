package doctor

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"holdfast/internal/cli"
)

// judge says what is wrong with the facts. It asks nobody and is a function of them.
func judge(f *facts) []Finding {
	r := &report{}
	for _, m := range f.all {
		f.judgeConnection(r, m)
	}
	f.judgeReach(r)
	members := f.each()
	f.judgeTogether(r, members)
	f.judgeAddresses(r)
	for _, m := range members {
		f.judgeMember(r, m)
		f.judgeMetrics(r, m)
	}
	f.judgeContent(r)
	return r.sorted()
}

// group writes what members say, as "A (x and y), B (z)".
func group(members []*observed, say func(*observed) string) (values []string, text string) {
	by := map[string][]string{}
	for _, m := range members {
		v := say(m)
		if by[v] == nil {
			values = append(values, v)
		}
		by[v] = append(by[v], m.given)
	}
	slices.Sort(values)
	var parts []string
	for _, v := range values {
		parts = append(parts, v+" ("+strings.Join(by[v], " and ")+")")
	}
	return values, strings.Join(parts, ", ")
}

func termsOf(members []*observed) []string {
	values, _ := group(members, func(m *observed) string { return fmt.Sprint(m.status.RaftTerm) })
	return values
}

func clustersOf(members []*observed) []string {
	values, _ := group(members, func(m *observed) string { return fmt.Sprintf("%x", m.status.Header.ClusterId) })
	return values
}

// judgeReach says who does not answer.
func (f *facts) judgeReach(r *report) {
	members := f.each()
	reached := map[uint64]bool{}
	for _, m := range members {
		reached[m.id] = true
	}
	given, silent := []string{}, 0
	for _, m := range f.all {
		given = append(given, m.given)
		if m.silent() {
			silent++
		}
	}
	if silent == len(f.all) {
		r.add("no-endpoint-answers", "endpoints", strings.Join(given, ", "))
	}
	for _, m := range f.all {
		if !m.silent() {
			continue
		}
		if m.learned != "" && reached[m.owner] {
			r.add("advertised-unreachable", "name", printable(m.learned), "url", printable(m.given), "cause", printable(m.err.Error()))
			continue
		}
		r.add("member-silent", "endpoint", printable(m.given), "cause", printable(m.err.Error()))
	}
	voters, answering, led := 0, 0, false
	for _, m := range members {
		led = led || m.status.Leader != 0
	}
	for _, member := range f.members {
		if len(member.ClientURLs) == 0 && !reached[member.ID] {
			where := strings.Join(member.PeerURLs, " and ")
			r.add("member-silent", "endpoint", printable(where), "cause", "it has not run yet, or has not reached the others")
		}
		if !member.IsLearner {
			voters++
			if reached[member.ID] {
				answering++
			}
		}
	}
	if quorum := voters/2 + 1; answering < quorum && !led && voters > 0 {
		r.add("no-quorum", "answering", fmt.Sprint(answering), "voters", fmt.Sprint(voters), "quorum", fmt.Sprint(quorum))
	}
}

// judgeTogether compares the members with each other.
func (f *facts) judgeTogether(r *report, members []*observed) {
	if ids, text := group(members, func(m *observed) string { return fmt.Sprintf("%x", m.status.Header.ClusterId) }); len(ids) > 1 {
		r.add("cluster-mismatch", "clusters", text)
		return // nothing else about them can be compared
	}
	if terms, text := group(members, func(m *observed) string { return fmt.Sprint(m.status.RaftTerm) }); len(terms) > 1 {
		r.add("terms-differ", "terms", text)
	}
	if versions, text := group(members, func(m *observed) string { return printable(m.status.Version) }); len(versions) > 1 {
		r.add("versions-differ", "versions", text)
	}
	hashed := slices.DeleteFunc(slices.Clone(members), func(m *observed) bool {
		// Hashes after different compactions are not of the same history.
		return m.hash == nil || m.hash.CompactRevision != hashOf(members).CompactRevision
	})
	if hashes, text := group(hashed, func(m *observed) string { return fmt.Sprintf("%08x", m.hash.Hash) }); len(hashes) > 1 {
		r.add("hash-differs", "revision", fmt.Sprint(f.hashRev), "hashes", text)
	}
	voters := 0
	for _, m := range f.members {
		if !m.IsLearner {
			voters++
		}
	}
	if voters > 0 && voters%2 == 0 {
		r.add("even-voters", "voters", fmt.Sprint(voters), "fewer", fmt.Sprint(voters-1))
	}
	f.judgeClocks(r, members)
	f.judgeDistance(r, members)
}

type compacted struct{ CompactRevision int64 }

func hashOf(members []*observed) compacted {
	for _, m := range members {
		if m.hash != nil {
			return compacted{m.hash.CompactRevision}
		}
	}
	return compacted{}
}

// judgeClocks takes what members measure of each other and, where they measure nothing, the dates of their answers,
// which count whole seconds.
func (f *facts) judgeClocks(r *report, members []*observed) {
	measured := false
	said := map[string]bool{}
	for _, m := range members {
		for _, peer := range m.metrics.values("holdfast_peer_clock_offset_seconds", "To") {
			measured = true
			offset, _ := m.metrics.get("holdfast_peer_clock_offset_seconds", "To", peer)
			apart := time.Duration(math.Abs(offset) * float64(time.Second))
			one, other := fmt.Sprintf("member %016x", m.id), "member "+printable(peer)
			if apart > f.limits.ClockOffset && !said[other+one] {
				said[one+other] = true
				r.add("clocks-apart", "one", one, "other", other, "apart", period(apart))
			}
		}
	}
	if measured {
		return
	}
	const here = "this machine"
	for _, m := range members {
		// The date is cut to a second, and up to the timeout old.
		if apart := m.ahead.Abs(); m.dated && apart > f.limits.ClockOffset+2*time.Second {
			r.add("clocks-apart", "one", m.given, "other", here, "apart", period(apart.Round(time.Second)))
		}
	}
}

// judgeDistance compares how far the members have come.
func (f *facts) judgeDistance(r *report, members []*observed) {
	front := uint64(0)
	for _, m := range members {
		front = max(front, m.status.RaftAppliedIndex)
	}
	for _, m := range members {
		behind := int64(front - m.status.RaftAppliedIndex)
		switch {
		case m.status.IsLearner && behind > f.limits.Lag:
			r.add("learner-behind", "endpoint", m.given, "entries", fmt.Sprint(behind))
		case m.status.IsLearner:
			if up := f.uptime(m); up >= f.limits.LearnerPatience && up > 0 && len(members) > 1 {
				r.add("learner-ready", "endpoint", m.given, "period", period(up), "member", fmt.Sprintf("%x", m.id))
			}
		case behind > f.limits.Lag:
			r.add("member-lagging", "endpoint", m.given, "entries", fmt.Sprint(behind))
		}
		if waiting := int64(m.status.RaftIndex) - int64(m.status.RaftAppliedIndex); waiting > f.limits.Unapplied {
			r.add("apply-behind", "endpoint", m.given, "entries", fmt.Sprint(waiting))
		}
	}
}

// uptime is how long a member has run; zero if it does not say.
func (f *facts) uptime(m *observed) time.Duration {
	start, ok := m.metrics.get("process_start_time_seconds")
	if !ok {
		return 0
	}
	return max(0, f.now.Sub(time.Unix(0, int64(start*float64(time.Second)))))
}

// judgeContent says what is remarkable about what is stored.
func (f *facts) judgeContent(r *report) {
	if f.emptyRoot {
		r.add("root-without-password")
	}
	if f.leases > f.limits.Leases {
		r.add("many-leases", "leases", fmt.Sprint(f.leases))
	}
	judgeValues(r, f.large, f.limits)
}

func judgeValues(r *report, large []largeValue, limits Limits) {
	slices.SortStableFunc(large, func(a, b largeValue) int { return cmp.Compare(b.size, a.size) })
	for _, v := range large {
		r.add("oversized-value", "key", fmt.Sprintf("%q", v.key), "size", cli.Size(v.size), "limit", cli.Size(int64(limits.ValueBytes)))
	}
}

// period writes a duration as long as it need be and no longer.
func period(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%.1f hours", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	case d >= 10*time.Second:
		return fmt.Sprintf("%d seconds", d/time.Second)
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Microsecond).String()
}
