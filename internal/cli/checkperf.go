package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// perfLoad is a load of check perf.
type perfLoad struct {
	rate     int // writes a second, over all clients
	clients  int
	duration time.Duration
}

var perfLoads = map[string]perfLoad{
	"s":  {150, 50, time.Minute},
	"m":  {1000, 200, time.Minute},
	"l":  {8000, 500, time.Minute},
	"xl": {15000, 1000, time.Minute},
}

// What a cluster has to reach to pass.
const (
	perfShare     = 0.9 // of the load's writes a second
	perfSlowest   = 0.5 // seconds
	perfDeviation = 0.1 // seconds

	perfKeyBytes, perfValueBytes = 256, 1024
)

func (f *family) checkPerfCommand() *cobra.Command {
	flags := &checkFlags{}
	cmd := &cobra.Command{
		Use:   "perf",
		Short: "Write for a minute at a set pace and say whether the cluster keeps up",
		Long: `Write for a minute at a set pace and say whether the cluster keeps up: small 150 writes a second by 50 clients, medium
1000 by 200, large 8000 by 500, xLarge 15000 by 1000. It passes with nine tenths of that, no write above half a second,
and a standard deviation of at most a tenth. What was written is deleted at the end, and after Ctrl-C.`,
	}
	flags.register(cmd, "/etcdctl-check-perf/")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		load, err := loadOf(perfLoads, flags.load)
		if err != nil {
			return err
		}
		c, err := f.connector(cmd)
		if err != nil {
			return err
		}
		return flags.perf(cmd, c, load)
	})
	return cmd
}

func (c *checkFlags) perf(cmd *cobra.Command, from *connector, load perfLoad) error {
	clients, closeAll, err := from.openMany(load.clients)
	if err != nil {
		return err
	}
	defer closeAll()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, load.duration)
	defer cancel()
	if err := c.unused(ctx, clients[0], "'"); err != nil {
		return err
	}
	var m measured
	progress := NewProgress(cmd.ErrOrStderr())
	puts := make(chan clientv3.Op, load.clients)
	wait := writers(clients, puts, &m)
	start := time.Now()
	value := filler(perfValueBytes)
	pace := time.NewTimer(0)
	defer pace.Stop()
	for n := 0; ; n++ {
		pace.Reset(time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(load.rate))))
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		select {
		case puts <- clientv3.OpPut(randomKey(c.prefix, perfKeyBytes), value):
		case <-ctx.Done():
		}
		progress.Tell("%v of %v, %d writes", time.Since(start).Round(time.Second), load.duration, m.done())
	}
	close(puts)
	wait()
	took := time.Since(start)
	progress.End()
	s := &sink{w: cmd.OutOrStdout()}
	if err := c.cleanUp(clients[0], s.w); err != nil {
		return err
	}
	passed := !m.tellFailures(s)
	rate := float64(len(m.took)) / took.Seconds()
	slowest, deviation := m.spread()
	if rate/float64(load.rate) <= perfShare {
		s.printf("FAIL: Throughput too low: %d writes/s\n", int(rate)+1)
		passed = false
	} else {
		s.printf("PASS: Throughput is %d writes/s\n", int(rate)+1)
	}
	if slowest > perfSlowest {
		s.printf("Slowest request took too long: %fs\n", slowest)
		passed = false
	} else {
		s.printf("PASS: Slowest request took %fs\n", slowest)
	}
	if deviation > perfDeviation {
		s.printf("Stddev too high: %fs\n", deviation)
		passed = false
	} else {
		s.printf("PASS: Stddev is %fs\n", deviation)
	}
	if !passed {
		s.printf("FAIL\n")
		return &failure{code: exitFailed, err: errors.New("the check failed"), said: true}
	}
	s.printf("PASS\n")
	return s.err
}
