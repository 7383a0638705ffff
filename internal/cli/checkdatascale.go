package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// scaleLoad is a load of check datascale.
type scaleLoad struct{ keys, clients int }

var scaleLoads = map[string]scaleLoad{
	"s":  {10_000, 50},
	"m":  {100_000, 200},
	"l":  {1_000_000, 500},
	"xl": {3_000_000, 1000},
}

const scaleKeyBytes, scaleValueBytes = 512, 512

func (f *family) checkDatascaleCommand() *cobra.Command {
	flags := &checkFlags{}
	cmd := &cobra.Command{
		Use:   "datascale",
		Short: "Write many keys and say how much memory they take in the first endpoint",
		Long: `Write many keys of 1 KiB and say how much memory they take in the first endpoint: small 10,000 by 50 clients, medium
100,000 by 200, large 1,000,000 by 500, xLarge 3,000,000 by 1000. What was written is deleted at the end, and after Ctrl-C.`,
	}
	flags.register(cmd, "/etcdctl-check-datascale/")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		load, err := loadOf(scaleLoads, flags.load)
		if err != nil {
			return err
		}
		c, err := f.connector(cmd)
		if err != nil {
			return err
		}
		return flags.datascale(cmd, c, load)
	})
	return cmd
}

func (c *checkFlags) datascale(cmd *cobra.Command, from *connector, load scaleLoad) error {
	clients, closeAll, err := from.openMany(load.clients)
	if err != nil {
		return err
	}
	defer closeAll()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := c.unused(ctx, clients[0], ""); err != nil {
		return err
	}
	s := &sink{w: cmd.OutOrStdout()}
	before, err := from.memory(ctx)
	if err != nil {
		return memoryFailed(s, err, "before")
	}
	s.printf("Start data scale check for work load [%v key-value pairs, %v bytes per key-value, %v concurrent clients].\n",
		load.keys, scaleKeyBytes+scaleValueBytes, load.clients)
	var m measured
	progress := NewProgress(cmd.ErrOrStderr())
	puts := make(chan clientv3.Op, load.clients)
	wait := writers(clients, puts, &m)
	value := filler(scaleValueBytes)
	for range load.keys {
		select {
		case puts <- clientv3.OpPut(randomKey(c.prefix, scaleKeyBytes), value):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		progress.Tell("%d of %d keys", m.done(), load.keys)
	}
	close(puts)
	wait()
	progress.End()
	after, err := from.memory(context.WithoutCancel(ctx))
	if err := errors.Join(err, c.cleanUp(clients[0], s.w)); err != nil {
		if _, ok := errors.AsType[*failure](err); ok {
			return err
		}
		return memoryFailed(s, err, "after")
	}
	if ctx.Err() != nil {
		return failed(exitInterrupted, errors.New("stopped before all keys were written; what was written is deleted"))
	}
	if m.tellFailures(s) {
		return &failure{code: exitFailed, err: errors.New("the check failed"), said: true}
	}
	s.printf("PASS: Approximate system memory used : %v MB.\n", strconv.FormatFloat((after-before)/(1<<20), 'f', 2, 64))
	return s.err
}

func memoryFailed(s *sink, err error, when string) error {
	s.printf("fetch error: %v\nFAIL: Could not read %s %s the put operations.\n", err, memoryMetric, when)
	return &failure{code: exitFailed, err: err, said: true}
}

// memoryMetric is what a server says of the memory it has in use, in bytes.
const memoryMetric = "process_resident_memory_bytes"

// memory asks the first endpoint for its memory.
func (c *connector) memory(ctx context.Context) (float64, error) {
	endpoint := c.spec.Endpoints[0]
	if !strings.HasPrefix(endpoint, "http://") && !strings.HasPrefix(endpoint, "https://") {
		endpoint = "http://" + endpoint
	}
	config, err := clientv3.NewClientConfig(&c.spec, nil)
	if err != nil {
		return 0, err
	}
	transport := &http.Transport{TLSClientConfig: config.TLS}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, max(c.timeout, time.Second))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(io.LimitReader(response.Body, 64<<20))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), memoryMetric+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("could not find: %v", memoryMetric)
}
