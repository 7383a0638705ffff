package holdfast_test

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"holdfast/internal/servertest"
)

// A whole cluster runs by one command, in one process or in several, serves, and is gone without a trace when it is
// interrupted. A member that the cluster removes ends with code 0.
func TestDev(t *testing.T) {
	for _, mode := range []string{"--processes=false", "--processes"} {
		t.Run(mode, func(t *testing.T) {
			scratch := t.TempDir()
			cmd := command(t, servertest.Binary(t), []string{"TMPDIR=" + scratch}, "dev", "--members=3", "--base-port=0", mode)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := make(chan string, 100)
			go func() {
				for s := bufio.NewScanner(stdout); s.Scan(); {
					lines <- s.Text()
				}
				close(lines)
			}()
			until := func(part string) string {
				t.Helper()
				deadline := time.After(patience)
				for {
					select {
					case line, ok := <-lines:
						if !ok {
							t.Fatalf("it ended before it said %q:\n%s", part, stderr.String())
						}
						if strings.Contains(line, part) {
							return line
						}
					case <-deadline:
						t.Fatalf("it did not say %q", part)
					}
				}
			}
			_, rest, _ := strings.Cut(until("holdfast put"), "--endpoints=")
			endpoints := strings.Split(strings.Fields(rest)[0], ",")
			if len(endpoints) != 3 {
				t.Fatalf("the endpoints are %q", endpoints)
			}
			until("Ctrl-C ends it.")
			client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := client.Put(ctx, "greeting", "hello"); err != nil {
				t.Fatal(err)
			}
			list, err := client.MemberList(ctx)
			if err != nil || len(list.Members) != 3 {
				t.Fatalf("the members are %v, %v", list, err)
			}
			for _, m := range list.Members {
				if m.Name != "m3" {
					continue
				}
				for { // at first too few members have been connected for long enough
					if _, err := client.MemberRemove(ctx, m.ID); err == nil {
						break
					} else if ctx.Err() != nil {
						t.Fatal(err)
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
			line := until("Member m3 has ended")
			if mode == "--processes" && !strings.Contains(line, "<nil>") {
				t.Errorf("a member that was removed ends badly: %s", line)
			}
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			until("Ending the cluster.")
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v\n%s", err, stderr.String())
			}
			if left, _ := filepath.Glob(filepath.Join(scratch, "holdfast-dev-*")); len(left) > 0 {
				t.Errorf("it has left %q", left)
			}
			if _, err := os.Stat(scratch); err != nil {
				t.Error(err)
			}
		})
	}
}
