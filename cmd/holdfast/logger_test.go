package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"holdfast/internal/config"
)

// parsed returns the settings of flags.
func parsed(t *testing.T, args ...string) config.Config {
	t.Helper()
	c, _, err := config.Parse("etcd", args, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A log file is rotated when it is large, into as many old ones as the settings keep; every line stays one JSON object,
// those of the gRPC library too, which are at level debug.
func TestLogFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "member.log")
	c := parsed(t, "--log-level=debug", "--enable-log-rotation", "--log-outputs="+path, `--log-rotation-config-json={"maxsize":1,"maxbackups":1}`)
	logger, err := newLogger(&c, false)
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		logger.Info("a line", zap.String("text", strings.Repeat("x", 100_000)))
	}
	said := &grpcLogger{logger.Sugar()}
	said.Warningf("the transport says\n%d lines", 2)
	said.Errorln("and", "an error")
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("files: %q, %v", files, err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	debug := 0
	for lines.Scan() {
		var line struct{ Level, TS, Caller, Msg string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.TS == "" || line.Caller == "" || line.Msg == "" {
			t.Fatalf("the line %.200s: %v", lines.Text(), err)
		}
		if line.Level == "debug" {
			debug++
		}
	}
	if debug != 2 {
		t.Errorf("%d lines at level debug", debug)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 || info.Size() > 1<<20 {
		t.Errorf("%v, %v", info, err)
	}
}

// Without rotation a file gets all lines, and what is less important than the level is left out.
func TestLogLevel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "member.log")
	c := parsed(t, "--log-level=warn", "--log-outputs="+path)
	logger, err := newLogger(&c, false)
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("not this")
	logger.Warn("but this")
	content, err := os.ReadFile(path)
	if err != nil || strings.Count(string(content), "\n") != 1 || !strings.Contains(string(content), `"level":"warn"`) {
		t.Errorf("%s, %v", content, err)
	}
}
