package server

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// With HandlingTimes there is a histogram for every method, and it counts calls; without there is none.
func TestHandlingTimes(t *testing.T) {
	for _, on := range []bool{true, false} {
		registry := prometheus.NewRegistry()
		s := New(newFakeNode(t), Options{Registerer: registry, HandlingTimes: on})
		for _, m := range s.methods {
			m.took(time.Now())
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, f := range families {
			if f.GetName() == "grpc_server_handling_seconds" {
				for _, one := range f.Metric {
					found += int(one.Histogram.GetSampleCount())
				}
			}
		}
		if want := map[bool]int{true: len(s.methods), false: 0}[on]; found != want {
			t.Errorf("on %v: %d calls counted, not %d", on, found, want)
		}
	}
}
