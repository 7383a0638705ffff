package holdfast_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast/internal/servertest"
)

func startServer(t *testing.T, flags ...string) *servertest.Server {
	t.Helper()
	return servertest.Start(t, flags...)
}

// run runs the binary to its end.
func run(t *testing.T, args ...string) servertest.Result {
	t.Helper()
	return servertest.Run(t, "", args...)
}

// mustSay tells that a command ended with a code and said all of these.
func mustSay(t *testing.T, r servertest.Result, code int, parts ...string) {
	t.Helper()
	if r.Code != code {
		t.Errorf("exit code %d, not %d:\n%s%s", r.Code, code, r.Stdout, r.Stderr)
	}
	for _, part := range parts {
		if !strings.Contains(r.Stdout+r.Stderr, part) {
			t.Errorf("it did not say %q:\n%s%s", part, r.Stdout, r.Stderr)
		}
	}
}

// command is the binary, or a link to it, that must not outlive the test, in a directory of its own and with nothing
// in its environment but env.
func command(t *testing.T, program string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Dir = append([]string{"PATH=/nonexistent"}, env...), t.TempDir()
	return cmd
}

// serveOnce runs a server that is expected to end by itself.
func serveOnce(t *testing.T, flags ...string) servertest.Result {
	t.Helper()
	address := freeAddress(t)
	args := append([]string{"serve", "--listen-client-urls", address, "--log-format", "json"}, flags...)
	cmd := command(t, servertest.Binary(t), nil, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return servertest.Result{Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func newestSegment(t *testing.T, dataDir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dataDir, "log", "*.log"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	slices.Sort(names)
	return names[len(names)-1]
}

// TestSignals: SIGTERM and SIGINT end the process in order, soon, with 0, and its port is free at once.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			s := startServer(t)
			c := client(t, s.Endpoint())
			if _, err := c.Put(within(t), "a", "1"); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := syscall.Kill(s.Pid(), sig); err != nil {
				t.Fatal(err)
			}
			if err := s.Wait(patience); err != nil {
				t.Fatalf("it ended with %v", err)
			}
			t.Logf("it took %v", time.Since(began))
			l, err := net.Listen("tcp", strings.TrimPrefix(s.Endpoint(), "http://"))
			if err != nil {
				t.Fatalf("the port is not free: %v", err)
			}
			_ = l.Close() // only whether it could be had
			s.Restart()
			if r, err := c.Get(within(t), "a"); err != nil || len(r.Kvs) != 1 {
				t.Errorf("after it: %v, %v", r, err)
			}
		})
	}
}

// TestLogLines: every line is a JSON object with level, ts, caller and msg, and an ordinary life holds no error.
func TestLogLines(t *testing.T) {
	s := startServer(t, "--warning-unary-request-duration=1ns")
	c := client(t, s.Endpoint())
	put, err := c.Put(within(t), "a", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(within(t), put.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	lines := bufio.NewScanner(strings.NewReader(s.Output()))
	messages := map[string]bool{}
	for lines.Scan() {
		var line struct{ Level, TS, Caller, Msg string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		if line.Level == "" || line.Caller == "" || line.Msg == "" {
			t.Errorf("a part is missing: %s", lines.Text())
		}
		if _, err := time.Parse("2006-01-02T15:04:05.999999Z0700", line.TS); err != nil {
			t.Errorf("ts: %v", err)
		}
		if line.Level != "debug" && line.Level != "info" && line.Level != "warn" {
			t.Errorf("in an ordinary life: %s", lines.Text())
		}
		messages[line.Msg] = true
	}
	for _, want := range []string{"ready to serve client requests", "request stats", "finished scheduled compaction"} {
		if !messages[want] {
			t.Errorf("%q was not logged; there is %v", want, messages)
		}
	}
	if !strings.Contains(s.Output(), "serving client traffic insecurely") {
		t.Error("it does not say that clients are served insecurely")
	}
}

// TestConsole: for people there are sentences that say where everything is and how to talk to it.
func TestConsole(t *testing.T) {
	dir, address := filepath.Join(t.TempDir(), "d"), freeAddress(t)
	stderr := serveUntilReady(t, command(t, servertest.Binary(t), nil, "--data-dir", dir, "--listen-client-urls", address, "--log-format", "console"), address)
	for _, part := range []string{dir, address, "Serving clients at", "holdfast put --endpoints=" + address} {
		if !strings.Contains(stderr, part) {
			t.Errorf("it did not say %q:\n%s", part, stderr)
		}
	}
}

// serveUntilReady starts a server, waits until it answers, ends it with SIGTERM, and returns what it wrote.
func serveUntilReady(t *testing.T, cmd *exec.Cmd, address string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Stdout = &stderr, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c := client(t, address)
	waitFor(t, "an answer at "+address, func() bool {
		select {
		case err := <-ended:
			t.Fatalf("it ended with %v:\n%s", err, &stderr)
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, "x", clientv3.WithSerializable())
		return err == nil
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatalf("it ended with %v:\n%s", err, &stderr)
	}
	return stderr.String()
}

// TestEnvironment: settings come from HOLDFAST_ and ETCD_ variables too; neither HOME nor TMPDIR is needed.
func TestEnvironment(t *testing.T) {
	for _, prefix := range []string{"HOLDFAST_", "ETCD_"} {
		dir, address := filepath.Join(t.TempDir(), "d"), freeAddress(t)
		env := []string{prefix + "DATA_DIR=" + dir, prefix + "LISTEN_CLIENT_URLS=" + address, prefix + "ADVERTISE_CLIENT_URLS=" + address}
		serveUntilReady(t, command(t, servertest.Binary(t), env), address)
		if _, err := os.Stat(filepath.Join(dir, "FORMAT")); err != nil {
			t.Errorf("%sDATA_DIR: %v", prefix, err)
		}
	}
}

// TestNames: under the name etcd the binary is a server with etcd's version line and directory, under the name etcdctl
// the client.
func TestNames(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"etcd", "etcdctl"} {
		if err := os.Symlink(servertest.Binary(t), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := command(t, filepath.Join(bin, "etcd"), nil, "--version").Output()
	if err != nil || !strings.HasPrefix(string(out), "etcd Version: 3.7.3\n") {
		t.Errorf("etcd --version: %v\n%s", err, out)
	}
	address := freeAddress(t)
	etcd := command(t, filepath.Join(bin, "etcd"), nil, "--listen-client-urls", address, "--advertise-client-urls", address)
	output := serveUntilReady(t, etcd, address)
	if _, err := os.Stat(filepath.Join(etcd.Dir, "default.etcd", "FORMAT")); err != nil {
		t.Errorf("the directory of a server called etcd: %v", err)
	}
	if !strings.HasPrefix(output, "{") {
		t.Errorf("a server called etcd logs JSON, not\n%s", output)
	}
	s := startServer(t)
	if out, err := command(t, filepath.Join(bin, "etcdctl"), nil, "--endpoints", s.Endpoint(), "put", "a", "1").Output(); err != nil || string(out) != "OK\n" {
		t.Errorf("etcdctl put: %q, %v", out, err)
	}
	if out, err := command(t, filepath.Join(bin, "etcdctl"), []string{"ETCDCTL_ENDPOINTS=" + s.Endpoint()}, "get", "a").Output(); err != nil || string(out) != "a\n1\n" {
		t.Errorf("etcdctl get: %q, %v", out, err)
	}
}

// TestRefusals: directories that are not a member's to open are refused with a sentence, and left as they are.
func TestRefusals(t *testing.T) {
	s := startServer(t)
	if _, err := client(t, s.Endpoint()).Put(within(t), "a", "1"); err != nil {
		t.Fatal(err)
	}
	t.Run("in use", func(t *testing.T) {
		mustSay(t, serveOnce(t, "--data-dir", s.DataDir()), 1, s.DataDir(), "in use by another process")
		mustSay(t, run(t, "inspect", "wal", "--data-dir", s.DataDir()), 1, "in use by another process")
	})
	s.Stop()
	other := startServer(t)
	if _, err := client(t, other.Endpoint()).Put(within(t), "b", "2"); err != nil {
		t.Fatal(err)
	}
	other.Stop()
	for _, refused := range []struct {
		name string
		make func(dir string) error
		says []string
	}{
		{"of etcd", func(dir string) error { return os.MkdirAll(filepath.Join(dir, "member", "snap"), 0o700) }, []string{"etcd", "--data-dir"}},
		{"newer", func(dir string) error {
			return errors.Join(os.CopyFS(dir, os.DirFS(s.DataDir())), edit(filepath.Join(dir, "FORMAT"), "format 1", "format 2"))
		}, []string{"newer"}},
		{"no store", func(dir string) error {
			return errors.Join(os.CopyFS(dir, os.DirFS(s.DataDir())), os.RemoveAll(filepath.Join(dir, "store-1")))
		}, []string{"a log but no store", "backup"}},
		{"no log", func(dir string) error {
			return errors.Join(os.CopyFS(dir, os.DirFS(s.DataDir())), os.RemoveAll(filepath.Join(dir, "log")))
		}, []string{"a store but no log", "backup"}},
		{"the store of another", func(dir string) error {
			store := filepath.Join(dir, "store-1")
			return errors.Join(os.CopyFS(dir, os.DirFS(s.DataDir())), os.RemoveAll(store), os.CopyFS(store, os.DirFS(filepath.Join(other.DataDir(), "store-1"))))
		}, []string{"store", "belongs to another"}},
		{"the log of another", func(dir string) error {
			log := filepath.Join(dir, "log")
			return errors.Join(os.CopyFS(dir, os.DirFS(s.DataDir())), os.RemoveAll(log), os.CopyFS(log, os.DirFS(filepath.Join(other.DataDir(), "log"))))
		}, []string{"log", "belongs to another"}},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, []string{"is a file"}},
	} {
		t.Run(refused.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			if err := refused.make(dir); err != nil {
				t.Fatal(err)
			}
			mustSay(t, serveOnce(t, "--data-dir", dir), 1, refused.says...)
		})
	}
	s.Restart()
	if r, err := client(t, s.Endpoint()).Get(within(t), "a"); err != nil || len(r.Kvs) != 1 {
		t.Errorf("the member itself, afterwards: %v, %v", r, err)
	}
	s.Stop()
	mustSay(t, run(t, "inspect", "wal", "--data-dir", s.DataDir()), 0, "The log is whole.")
	mustSay(t, run(t, "inspect", "store", "--data-dir", s.DataDir()), 0, "revision")
	mustSay(t, run(t, "inspect", "store", "--check", "--data-dir", s.DataDir()), 0, "The store is whole.")
}

// TestOldLog: an older copy of the log beside a newer store is refused (I6), and inspect says which of the two is old.
func TestOldLog(t *testing.T) {
	s := startServer(t)
	put := func(key string) {
		t.Helper()
		if _, err := client(t, s.Endpoint()).Put(within(t), key, "v"); err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	s.Stop()
	log, old := filepath.Join(s.DataDir(), "log"), filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(old, os.DirFS(log)); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	put("b")
	s.Stop()
	if err := errors.Join(os.RemoveAll(log), os.CopyFS(log, os.DirFS(old))); err != nil {
		t.Fatal(err)
	}
	mustSay(t, serveOnce(t, "--data-dir", s.DataDir()), 1, "entries that were synced are lost")
	mustSay(t, run(t, "inspect", "wal", "--data-dir", s.DataDir()), 1, "The log is whole.", "does not belong to the store")
}

func edit(file, was, will string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !strings.Contains(string(content), was) {
		return fmt.Errorf("%s does not hold %q", file, was)
	}
	return os.WriteFile(file, []byte(strings.Replace(string(content), was, will, 1)), 0o600)
}

// TestDirectories: an empty directory and one that holds lost+found are fine; one that is open to others is warned
// about, or refused if that is asked for; what is made is closed to others.
func TestDirectories(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.MkdirAll(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mustSay(t, serveOnce(t, "--data-dir", dir, "--strict-permissions"), 1, dir, "chmod")
	s := servertest.StartIn(t, dir)
	s.Stop()
	warned := 0
	for line := range strings.Lines(s.Output()) {
		if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, dir) {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("%d warnings about the permissions of %s:\n%s", warned, dir, s.Output())
	}
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && (d.IsDir() || filepath.Dir(path) == dir) {
			t.Errorf("%s is open to others: %v", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
