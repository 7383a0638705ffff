package servertest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestMain(m *testing.M) {
	if os.Getenv("SERVERTEST_ORPHAN") != "" {
		// Here this is the process of TestNoServerOutlivesItsTestProcess: see there.
		m.Run()
		return
	}
	os.Exit(Main(m))
}

// TestLives holds P1 and P3: a server answers after Start and after Restart, keeps its address and its data through
// Kill, and Stop ends it in order.
func TestLives(t *testing.T) {
	s := Start(t)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	if _, err := client.Put(ctx, "a", "1"); err != nil {
		t.Fatal(err)
	}
	pid, endpoint := s.Pid(), s.Endpoint()
	s.Kill()
	if s.Pid() != 0 || alive(pid) {
		t.Fatal("the server lives on after Kill")
	}
	s.Restart()
	if s.Pid() == pid || s.Endpoint() != endpoint {
		t.Fatal("Restart did not start a new process at the same address")
	}
	resp, err := client.Get(ctx, "a")
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("after Kill and Restart the key is gone: %v, %v", resp, err)
	}
	s.Stop()
	s.Stop() // It does nothing the second time.
	s.Restart()
	s.Restart() // It stops the one that runs.
	pid = s.Pid()
	t.Run("a server that ends by itself", func(t *testing.T) {
		if err := s.Wait(0); err == nil {
			t.Error("Wait took a running server for one that has ended")
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := s.Wait(stopTimeout); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
}

// failing is a test that notes what it was failed with.
type failing struct {
	testing.TB
	cleanup []func()
}

func (f *failing) Helper()                           {}
func (f *failing) Failed() bool                      { return false }
func (f *failing) Cleanup(c func())                  { f.cleanup = append(f.cleanup, c) }
func (f *failing) Fatalf(format string, args ...any) { panic(errFatal{format, args}) }

type errFatal struct {
	format string
	args   []any
}

// TestSaysWhyItDidNotStart holds P1: the test fails with what the server wrote.
func TestSaysWhyItDidNotStart(t *testing.T) {
	script := filepath.Join(t.TempDir(), "refuses")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"the disk is upside down\" >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	was := binary
	binary = func() (string, error) { return script, nil }
	defer func() { binary = was }()
	f := &failing{}
	defer func() {
		fatal, ok := recover().(errFatal)
		if !ok {
			t.Fatal("a server that did not start did not fail the test")
		}
		said := ""
		for _, arg := range fatal.args {
			switch arg := arg.(type) {
			case error:
				said += arg.Error()
			case string:
				said += arg
			}
		}
		if !strings.Contains(said, "exit status 3") || !strings.Contains(said, "the disk is upside down") {
			t.Errorf("the test was failed with %q", said)
		}
	}()
	StartIn(f, t.TempDir())
}

// TestNoServerOutlivesItsTestProcess holds P2 for the worst case: the test process is killed and cannot clean up.
func TestNoServerOutlivesItsTestProcess(t *testing.T) {
	if file := os.Getenv("SERVERTEST_ORPHAN"); file != "" {
		s := Start(t)
		if err := os.WriteFile(file+".new", []byte(strconv.Itoa(s.Pid())), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		select {} // The parent kills this process.
	}
	file := filepath.Join(t.TempDir(), "pid")
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), "SERVERTEST_ORPHAN="+file, binaryVariable+"="+Binary(t))
	dieWithParent(child)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	pid := 0
	waitFor(t, "the server of the other process", func() bool {
		text, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(string(text))
		return pid != 0
	})
	t.Cleanup(func() {
		if alive(pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of its server", func() bool { return !alive(pid) })
}

// TestOldBuildsAreRemoved: what a killed test process built does not stay for ever.
func TestOldBuildsAreRemoved(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(os.TempDir(), buildPrefix+strconv.Itoa(gone.Process.Pid))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	removeOldBuilds()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the build of a process that is gone is still there: %v", err)
	}
}

// alive tells whether a process runs. One that has ended and was not waited for does not count.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(readyTimeout)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
