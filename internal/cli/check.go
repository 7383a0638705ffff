package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// checkFlags are the flags of both checks.
type checkFlags struct {
	load, prefix            string
	autoCompact, autoDefrag bool
}

func (f *family) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check <subcommand>",
		Short: "Try out what the cluster can do: perf, datascale",
	}
	cmd.AddCommand(f.checkPerfCommand(), f.checkDatascaleCommand())
	return cmd
}

func (c *checkFlags) register(cmd *cobra.Command, prefix string) {
	flags := cmd.Flags()
	flags.StringVar(&c.load, "load", "s", "how much to write: s(mall), m(edium), l(arge) or xl(arge)")
	flags.StringVar(&c.prefix, "prefix", prefix, "what the keys begin with; all keys that do are deleted at the end")
	flags.BoolVar(&c.autoCompact, "auto-compact", false, "compact the history at the end")
	flags.BoolVar(&c.autoDefrag, "auto-defrag", false, "have the members give free space back at the end")
	completeWith(cmd, "load", "small", "medium", "large", "xLarge")
}

// loadOf returns the load that a name of it stands for.
func loadOf[L any](loads map[string]L, name string) (L, error) {
	short := map[string]string{"small": "s", "medium": "m", "large": "l", "xLarge": "xl"}[name]
	if short == "" {
		short = name
	}
	l, ok := loads[short]
	if !ok {
		return l, failed(exitBadFeature, fmt.Errorf("unknown load option %v", name))
	}
	return l, nil
}

// openMany makes n clients, each with a connection of its own.
func (c *connector) openMany(n int) (clients []*clientv3.Client, closeAll func(), err error) {
	closeAll = func() {
		for _, client := range clients {
			_ = client.Close()
		}
	}
	for range n {
		client, err := c.open(c.spec.Endpoints...)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		clients = append(clients, client)
	}
	return clients, closeAll, nil
}

// unused refuses a prefix that has keys, for they would be deleted.
func (c *checkFlags) unused(ctx context.Context, client *clientv3.Client, quote string) error {
	resp, err := client.Get(ctx, c.prefix, clientv3.WithPrefix(), clientv3.WithLimit(1))
	if err != nil {
		return failed(exitFailed, err)
	}
	if len(resp.Kvs) > 0 {
		return failed(exitBadInput, fmt.Errorf("prefix %q has keys. Delete with %setcdctl del --prefix %s%s first", c.prefix, quote, c.prefix, quote))
	}
	return nil
}

// measured collects how long requests took. Its methods may be called from any goroutine.
type measured struct {
	mu       sync.Mutex
	took     []time.Duration // of those that did not fail
	failures map[string]int
}

func (m *measured) add(took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		if m.failures == nil {
			m.failures = map[string]int{}
		}
		m.failures[err.Error()]++
		return
	}
	m.took = append(m.took, took)
}

func (m *measured) done() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.took)
}

// slowest and deviation are in seconds.
func (m *measured) spread() (slowest, deviation float64) {
	if len(m.took) == 0 {
		return 0, 0
	}
	var sum float64
	for _, t := range m.took {
		sum += t.Seconds()
		slowest = max(slowest, t.Seconds())
	}
	mean, squares := sum/float64(len(m.took)), 0.0
	for _, t := range m.took {
		squares += (t.Seconds() - mean) * (t.Seconds() - mean)
	}
	return slowest, math.Sqrt(squares / float64(len(m.took)))
}

// tellFailures says what failed and how often, and whether anything did.
func (m *measured) tellFailures(s *sink) bool {
	if len(m.failures) == 0 {
		return false
	}
	s.printf("FAIL: too many errors\n")
	for _, text := range slices.Sorted(maps.Keys(m.failures)) {
		s.printf("FAIL: ERROR(%v) -> %d\n", text, m.failures[text])
	}
	return true
}

// writers has each client write what it takes from puts, one after the other, until that is closed; wait returns then.
func writers(clients []*clientv3.Client, puts <-chan clientv3.Op, m *measured) (wait func()) {
	var group sync.WaitGroup
	for _, client := range clients {
		group.Go(func() {
			for put := range puts {
				start := time.Now()
				_, err := client.Do(context.Background(), put)
				m.add(time.Since(start), err)
			}
		})
	}
	return group.Wait
}

// randomKey is a key of the given size below prefix.
func randomKey(prefix string, size int) string {
	return fmt.Sprintf("%s%0*x", prefix, size, rand.Uint64())
}

// cleanupTimeout is how long each step of tidying up may take.
const cleanupTimeout = 30 * time.Second

// cleanUp deletes what was written and then does what the flags ask for.
func (c *checkFlags) cleanUp(client *clientv3.Client, out io.Writer) error {
	step := func(do func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		return do(ctx)
	}
	var rev int64
	err := step(func(ctx context.Context) error {
		resp, err := client.Delete(ctx, c.prefix, clientv3.WithPrefix())
		if err == nil {
			rev = resp.Header.GetRevision()
		}
		return err
	})
	if err != nil {
		return &failure{code: exitFailed, err: fmt.Errorf("the keys under %s could not be deleted: %w", c.prefix, err),
			hint: "Delete them with: del --prefix " + c.prefix}
	}
	if c.autoCompact {
		fmt.Fprintf(out, "Compacting with revision %d\n", rev)
		err := step(func(ctx context.Context) error {
			_, err := client.Compact(ctx, rev, clientv3.WithCompactPhysical())
			return err
		})
		if err != nil {
			return failed(exitFailed, err)
		}
		fmt.Fprintf(out, "Compacted with revision %d\n", rev)
	}
	if !c.autoDefrag {
		return nil
	}
	for _, endpoint := range client.Endpoints() {
		fmt.Fprintf(out, "Defragmenting %q\n", endpoint)
		err := step(func(ctx context.Context) error {
			_, err := client.Defragment(ctx, endpoint)
			return err
		})
		if err != nil {
			return failed(exitFailed, err)
		}
		fmt.Fprintf(out, "Defragmented %q\n", endpoint)
	}
	return nil
}

// filler is a value of the given size.
func filler(size int) string { return strings.Repeat("\x00", size) }
