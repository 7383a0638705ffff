package holdfast

import (
	"math"
	"testing"
	"time"
)

// TestKeepAliveOff: 0 for the interval or for the time to answer switches the pings off, as their help says.
func TestKeepAliveOff(t *testing.T) {
	const never time.Duration = math.MaxInt64
	for _, c := range []struct{ interval, timeout, want time.Duration }{
		{time.Hour, time.Second, time.Hour}, {0, time.Second, never}, {time.Hour, 0, never}, {0, 0, never},
	} {
		settings := DefaultConfig()
		settings.GRPCKeepAliveInterval, settings.GRPCKeepAliveTimeout = c.interval, c.timeout
		if got := keepAliveInterval(&settings); got != c.want {
			t.Errorf("interval %v and timeout %v: pings after %v, want %v", c.interval, c.timeout, got, c.want)
		}
	}
}
