package transport

import "time"

// clock estimates how far the wall clock of a peer is ahead: of the last probes, the one with the shortest round trip
// is the most exact, as in the Network Time Protocol's clock filter (RFC 5905, section 10).
type clock struct {
	samples [8]clockSample
	count   int
}

type clockSample struct{ offset, roundTrip time.Duration }

func (c *clock) add(offset, roundTrip time.Duration) {
	c.samples[c.count%len(c.samples)] = clockSample{offset, roundTrip}
	c.count++
}

func (c *clock) best() (best clockSample, ok bool) {
	for i, s := range c.samples[:min(c.count, len(c.samples))] {
		if i == 0 || s.roundTrip < best.roundTrip {
			best = s
		}
	}
	return best, c.count > 0
}
