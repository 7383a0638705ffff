package config

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// file returns a readFile that knows one file, called c.yml.
func file(content string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if path != "c.yml" {
			return nil, os.ErrNotExist
		}
		return []byte(content), nil
	}
}

func mustParse(t *testing.T, program string, args, environ []string, read func(string) ([]byte, error)) (Config, []Warning) {
	t.Helper()
	c, warnings, err := Parse(program, args, environ, read)
	if err != nil {
		t.Fatalf("%s %q %q: %v", program, args, environ, err)
	}
	return c, warnings
}

// Under the name etcd the defaults are etcd's (C5); under holdfast the documented ones differ.
func TestDefaults(t *testing.T) {
	etcd, holdfast := Default("etcd"), Default("holdfast")
	for name, want := range map[string]string{
		"name": "default", "data-dir": "default.etcd", "snapshot-count": "10000", "heartbeat-interval": "100",
		"election-timeout": "1000", "listen-peer-urls": "http://localhost:2380", "listen-client-urls": "http://localhost:2379",
		"quota-backend-bytes": "0", "max-txn-ops": "128", "max-request-bytes": "1536KiB", "max-concurrent-streams": "4294967295",
		"grpc-keepalive-min-time": "5s", "grpc-keepalive-interval": "2h0m0s", "grpc-keepalive-timeout": "20s",
		"initial-advertise-peer-urls": "http://localhost:2380", "initial-cluster": "default=http://localhost:2380",
		"initial-cluster-state": "new", "initial-cluster-token": "etcd-cluster", "advertise-client-urls": "http://localhost:2379",
		"strict-reconfig-check": "true", "pre-vote": "true", "logger": "zap", "log-outputs": "stderr", "log-level": "info",
		"log-format": "json", "warning-unary-request-duration": "300ms", "warning-apply-duration": "100ms",
		"compaction-batch-limit": "1000", "compaction-sleep-interval": "0s", "max-learners": "1", "snapshot-catchup-entries": "5000", "unsafe-no-fsync": "false",
	} {
		if got := etcd.Value(name); got != want {
			t.Errorf("etcd: --%s is %q by default, want %q", name, got, want)
		}
		switch name {
		case "data-dir":
			want = "default.holdfast"
		case "log-format":
			want = "auto"
		}
		if got := holdfast.Value(name); got != want {
			t.Errorf("holdfast: --%s is %q by default, want %q", name, got, want)
		}
	}
}

// C2: flag, HOLDFAST_, ETCD_, default.
func TestPrecedence(t *testing.T) {
	for _, c := range []struct {
		args, environ []string
		want          string
		source        Source
		warnings      int
	}{
		{nil, nil, "default", FromDefault, 0},
		{nil, []string{"ETCD_NAME=e"}, "e", FromEtcdEnvironment, 0},
		{nil, []string{"ETCD_NAME=e", "HOLDFAST_NAME=h"}, "h", FromHoldfastEnvironment, 1},
		{[]string{"--name=f"}, []string{"ETCD_NAME=e", "HOLDFAST_NAME=h"}, "f", FromFlag, 2},
		{[]string{"--name=f"}, []string{"ETCD_NAME="}, "f", FromFlag, 0},
		{nil, []string{"ETCD_NAME=e", "HOLDFAST_NAME="}, "e", FromEtcdEnvironment, 0},
	} {
		got, warnings := mustParse(t, "holdfast", c.args, c.environ, nil)
		if got.Name != c.want || got.Source("name") != c.source || len(warnings) != c.warnings {
			t.Errorf("%q %q: name %q from %v with warnings %q; want %q from %v with %d", c.args, c.environ, got.Name,
				got.Source("name"), warnings, c.want, c.source, c.warnings)
		}
	}
}

// Flags come in the forms of Go's flag package, and the last of doubles wins.
func TestFlagForms(t *testing.T) {
	for _, args := range [][]string{
		{"--name", "a", "--pre-vote=false"}, {"--name=a", "--pre-vote=0"}, {"-name", "a", "-pre-vote=F"},
		{"-name=a", "--pre-vote", "--pre-vote=false"}, {"--name", "b", "--name=a", "-pre-vote=false", "--"},
	} {
		c, _ := mustParse(t, "holdfast", args, nil, nil)
		if c.Name != "a" || c.PreVote {
			t.Errorf("%q: name %q, pre-vote %v", args, c.Name, c.PreVote)
		}
	}
	c, _ := mustParse(t, "holdfast", []string{"--unsafe-no-fsync", "--name", "--x"}, nil, nil)
	if !c.UnsafeNoFsync || c.Name != "--x" {
		t.Errorf("bare bool: %v, value that looks like a flag: %q", c.UnsafeNoFsync, c.Name)
	}
}

// Everything that is refused names the flag, the value and what is allowed, or the nearest right name.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		program string
		args    string
		environ string
		kind    error
		want    string
	}{
		{"holdfast", "--nmae=x", "", ErrUnknown, "--nmae is not a setting; did you mean --name?"},
		{"holdfast", "--listen-client-url=x", "", ErrUnknown, "did you mean --listen-client-urls?"},
		{"holdfast", "--max_txn_ops=3", "", ErrUnknown, "did you mean --max-txn-ops?"},
		{"holdfast", "--zzzzzzzzzzzzzzz", "", ErrUnknown, "--zzzzzzzzzzzzzzz is not a setting. See --help"},
		{"holdfast", "--discovery=x", "", ErrUnknown, "is a setting that etcd 3.7 refuses too"},
		{"holdfast", "--pre-vote false", "", ErrUnknown, `"false" is not a flag`},
		{"holdfast", "-- false", "", ErrUnknown, `"false" is not a flag`},
		{"holdfast", "--name", "", ErrValue, "--name needs a value"},
		{"holdfast", "--name=", "", ErrValue, "must not be empty"},
		{"holdfast", "--name=a,b", "", ErrValue, "must not contain a comma"},
		{"holdfast", "--pre-vote=maybe", "", ErrValue, `--pre-vote is "maybe", but must be true or false`},
		{"holdfast", "--max-txn-ops=0", "", ErrValue, `--max-txn-ops is "0", but must be a whole number from 1 to 1000000`},
		{"holdfast", "", "ETCD_MAX_TXN_OPS=-1", ErrValue, `--max-txn-ops is "-1" (from ETCD_MAX_TXN_OPS), but must be`},
		{"holdfast", "--snapshot-count=-1", "", ErrValue, "must be at least 0"},
		{"holdfast", "--heartbeat-interval=0", "", ErrValue, "must be a whole number of milliseconds from 1 to 10000"},
		{"holdfast", "--heartbeat-interval=1500us", "", ErrValue, "whole number of milliseconds"},
		{"holdfast", "--election-timeout=50001", "", ErrValue, "from 1 to 50000"},
		{"holdfast", "--election-timeout=499", "", ErrValue, "--election-timeout is 499, but must be at least five times --heartbeat-interval, which is 100"},
		{"holdfast", "--grpc-keepalive-timeout=20", "", ErrValue, "must be a duration such as 250ms or 2h from 0s to 24h0m0s"},
		{"holdfast", "--cache-bytes=1TB", "", ErrValue, "must be a number of bytes such as 1048576 or 64MiB"},
		{"holdfast", "--cache-bytes=9007199254740992GiB", "", ErrValue, "must be a number of bytes"},
		{"holdfast", "--log-level=loud", "", ErrValue, "must be debug, info, warn, error, dpanic, panic or fatal"},
		{"holdfast", "--logger=capnslog", "", ErrValue, "must be zap"},
		{"holdfast", "--log-outputs=default,x.log", "", ErrValue, "must stand alone"},
		{"holdfast", "--log-outputs=,", "", ErrValue, "must name at least one"},
		{"holdfast", "--initial-cluster-state=old", "", ErrValue, "must be new or existing"},
		{"holdfast", "--listen-client-urls=", "", ErrValue, "must be one or more URLs"},
		{"holdfast", "--listen-client-urls=localhost:2379", "", ErrValue, "must begin with http://"},
		{"holdfast", "--listen-client-urls=127.0.0.1:2379", "", ErrValue, "must begin with http://"},
		{"holdfast", "--listen-client-urls=http://127.0.0.1", "", ErrValue, "has no port"},
		{"holdfast", "--listen-client-urls=http://127.0.0.1:", "", ErrValue, "has no port"},
		{"holdfast", "--listen-client-urls=http://127.0.0.1:99999", "", ErrValue, "from 0 to 65535"},
		{"holdfast", "--listen-client-urls=http://127.0.0.1:1/", "", ErrValue, "must not have a path"},
		{"holdfast", "--listen-client-urls=http://example.com:1", "", ErrValue, "needs an IP address or localhost"},
		{"holdfast", "--listen-client-urls=http://:1", "", ErrValue, "write 0.0.0.0"},
		{"holdfast", "--listen-client-urls=unix://", "", ErrValue, "needs the path of a socket"},
		{"holdfast", "--advertise-client-urls=http://:1", "", ErrValue, "needs a host"},
		{"holdfast", "--initial-cluster=a", "", ErrValue, "name=URL pairs"},
		{"holdfast", "--initial-cluster=a=http://h:1,b=http://h:1", "", ErrValue, "http://h:1 is given for a and b"},
		{"etcd", "--listen-client-urls=http://127.0.0.1:1", "", ErrValue, "--advertise-client-urls is not set, but must be"},
		{"holdfast", "--config-file=none.yml", "", ErrFile, "none.yml cannot be read"},
		{"holdfast", "--name x --help", "", ErrHelp, ""},
		{"holdfast", "-h", "", ErrHelp, ""},
	} {
		_, _, err := Parse(c.program, strings.Fields(c.args), strings.Fields(c.environ), file(""))
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s %s: %v\n\twant %q", c.program, c.environ, c.args, err, c.want)
		}
	}
}

func TestURLs(t *testing.T) {
	c, warnings := mustParse(t, "holdfast", []string{"--listen-client-urls",
		"http://0.0.0.0:0, unix:///run/h.sock,https://[::1]:2379,http://localhost:1,http://localhost:1", "--auto-tls"}, nil, nil)
	if got, want := c.Value("listen-client-urls"), "http://0.0.0.0:0,http://localhost:1,https://[::1]:2379,unix:///run/h.sock"; got != want {
		t.Errorf("listen: %s, want %s", got, want)
	}
	if got, want := c.Value("advertise-client-urls"), "http://localhost:0,http://localhost:1,https://[::1]:2379,unix:///run/h.sock"; got != want {
		t.Errorf("advertise: %s, want %s", got, want)
	}
	if len(warnings) != 1 || !strings.Contains(string(warnings[0]), "--advertise-client-urls") {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestInitialCluster(t *testing.T) {
	c, _ := mustParse(t, "holdfast", []string{"--name=b", "--initial-advertise-peer-urls=http://b:1,http://b:2",
		"--initial-cluster=b=http://b:2,a=http://a:1,b=http://b:1"}, nil, nil)
	if got, want := c.Value("initial-cluster"), "a=http://a:1,b=http://b:1,b=http://b:2"; got != want {
		t.Errorf("initial-cluster: %s, want %s", got, want)
	}
	if err := c.CheckBootstrap(); err != nil {
		t.Error(err)
	}
	c.Name = "c"
	if err := c.CheckBootstrap(); !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), "must contain this member") {
		t.Errorf("a cluster without this member: %v", err)
	}
	c.Name = "a"
	if err := c.CheckBootstrap(); !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), "must be the same") {
		t.Errorf("other URLs than advertised: %v", err)
	}
	c, _ = mustParse(t, "holdfast", []string{"--name=z"}, nil, nil)
	if got := c.Value("initial-cluster"); got != "z=http://localhost:2380" || c.DataDir != "z.holdfast" {
		t.Errorf("derived from the name: %s, %s", got, c.DataDir)
	}
}

func TestUnknownEnvironmentWarns(t *testing.T) {
	_, warnings := mustParse(t, "holdfast", nil, []string{"ETCD_NMAE=x", "HOLDFAST_DISCOVERY=x", "ETCD_CACHE_BYTES=1",
		"ETCD_VERSION=3", "ETCDCTL_API=3", "ETCD_QQQQQQQQQQ=1", "PATH=/bin"}, nil)
	text := []string{"ETCD_VERSION", "did you mean HOLDFAST_CACHE_BYTES?", "did you mean HOLDFAST_NAME?",
		"ETCD_QQQQQQQQQQ is ignored: it belongs to no setting.", "has been switched off"}
	if len(warnings) != len(text) {
		t.Fatalf("%d warnings: %q", len(warnings), warnings)
	}
	for i, want := range text {
		if !strings.Contains(string(warnings[i]), want) {
			t.Errorf("warning %d is %q, want %q", i, warnings[i], want)
		}
	}
}

func TestSlowRequestCannotBeOff(t *testing.T) {
	c, _ := mustParse(t, "etcd", []string{"--warning-unary-request-duration=0"}, nil, nil)
	if c.WarningUnaryRequestDuration != 300*time.Millisecond {
		t.Error(c.WarningUnaryRequestDuration)
	}
}

func TestQuotaAndConsole(t *testing.T) {
	for value, want := range map[string]int64{"0": 2 << 30, "8GiB": 8 << 30, "-1": -1, "0x10": 16} {
		c, _ := mustParse(t, "etcd", []string{"--quota-backend-bytes", value}, nil, nil)
		bytes, ok := c.Quota()
		if ok != (want >= 0) || ok && bytes != want {
			t.Errorf("quota %s: %d, %v", value, bytes, ok)
		}
	}
	if c, _ := mustParse(t, "holdfast", nil, nil, nil); true {
		if bytes, ok := c.Quota(); ok {
			t.Errorf("under the name holdfast there is a quota of %d bytes without one being set", bytes)
		}
	}
	for _, x := range []struct {
		program, args string
		terminal      bool
		want          bool
	}{
		{"holdfast", "", true, true}, {"holdfast", "", false, false}, {"etcd", "", true, false},
		{"etcd", "--log-format=console", false, true}, {"holdfast", "--log-format=json", true, false},
		{"holdfast", "--log-outputs=h.log", true, false}, {"holdfast", "--log-outputs=stderr", true, true},
	} {
		c, _ := mustParse(t, x.program, strings.Fields(x.args), nil, nil)
		if got := c.Console(x.terminal); got != x.want {
			t.Errorf("%+v: console %v", x, got)
		}
	}
}

func TestVersionNeedsNothingElse(t *testing.T) {
	c, warnings, err := Parse("etcd", []string{"--version", "--config-file=none"}, []string{"ETCD_NAME="}, nil)
	if err != nil || !c.Version || len(warnings) != 0 {
		t.Errorf("%v %q %v", c.Version, warnings, err)
	}
}

// What Value prints is what a flag takes: a Config survives being written as flags.
func TestValueIsInverse(t *testing.T) {
	c, _ := mustParse(t, "holdfast", []string{"--name=n", "--cache-bytes=3KiB", "--heartbeat-interval=7ms", "--election-timeout=35",
		"--log-outputs=a,stdout", "--view-max-age=90s"}, nil, nil)
	if c.HeartbeatInterval != 7*time.Millisecond || c.CacheBytes != 3072 {
		t.Errorf("heartbeat %v, cache %d", c.HeartbeatInterval, c.CacheBytes)
	}
	again, _ := mustParse(t, "holdfast", asFlags(c), nil, nil)
	again.sources = c.sources
	if !reflect.DeepEqual(c, again) {
		t.Errorf("%+v\n%+v", c, again)
	}
}

func asFlags(c Config) []string {
	var args []string
	for _, s := range Flags() {
		if !s.OnlyFlag {
			args = append(args, "--"+s.Name+"="+c.Value(s.Name))
		}
	}
	return args
}

// The rows are whole: no double, a default that is accepted, help that ends in a full stop.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Flags() {
		if seen[s.Name] || s.Help == "" || !strings.HasSuffix(s.Description(), ".") || !slices.Contains(Sections(), s.Section) {
			t.Errorf("row %q is not whole", s.Name)
		}
		seen[s.Name] = true
		if removed[s.Name] != "" {
			t.Errorf("--%s is in the table and in the list of what is refused", s.Name)
		}
	}
	if len(seen) != len(table) {
		t.Errorf("%d rows in the table, %d in the sections", len(table), len(seen))
	}
}

// The rows that are not Holdfast's own and the list of what etcd itself refuses are together exactly etcd's flags.
func TestEveryFlagOfEtcdIsKnown(t *testing.T) {
	content, err := os.ReadFile("testdata/etcd-3.7-flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	etcd := strings.Fields(string(content))
	for _, name := range etcd {
		if _, ok := lookup(name); !ok && removed[name] == "" {
			t.Errorf("--%s is neither in the table nor in the list of what is refused", name)
		}
	}
	for name := range removed {
		if !slices.Contains(etcd, name) {
			t.Errorf("--%s is listed as refused, but etcd does not have it", name)
		}
	}
	for _, s := range Flags() {
		if s.Own == slices.Contains(etcd, s.Name) {
			t.Errorf("--%s: Own is %v", s.Name, s.Own)
		}
	}
}
