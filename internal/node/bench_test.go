package node

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time that the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPut measures what a put costs all members of a cluster together, their disks and network in memory, with
// callers at the leader and at a follower.
func BenchmarkPut(b *testing.B) {
	for _, members := range []int{1, 3} {
		for _, at := range []string{"leader", "follower"} {
			for _, clients := range []int{1, 64, 1000} {
				if members == 1 && at == "follower" {
					continue
				}
				b.Run(fmt.Sprintf("members=%d/%s/clients=%d", members, at, clients), func(b *testing.B) {
					net, all := seats(b, members, nil)
					net.delay = 0
					s := leader(b, all)
					if at == "follower" {
						s = others(all, s)[0]
					}
					value := strings.Repeat("x", 256)
					var next atomic.Int64
					net.mu.Lock()
					clear(net.mu.sent)
					net.mu.sends = 0
					net.mu.Unlock()
					before := cpu(b)
					b.ResetTimer()
					var group sync.WaitGroup
					for range clients {
						group.Go(func() {
							for {
								i := next.Add(1)
								if i > int64(b.N) {
									return
								}
								if _, err := s.Propose(context.Background(), put(fmt.Sprintf("key%d", i%100_000), value)); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					group.Wait()
					b.StopTimer()
					b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
					net.mu.Lock()
					b.ReportMetric(float64(net.mu.sends)/float64(b.N), "sends/op")
					net.mu.Unlock()
				})
			}
		}
	}
}
