package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// With a configuration file, flags and environment are ignored with a warning that names them (C2).
func TestFileIgnoresTheRest(t *testing.T) {
	content := file("name: f\nwarning-apply-duration: 5000000\nview-max-age: 7s\nheartbeat-interval: 50\ncache-bytes: 1MiB\n" +
		"log-outputs: [stdout, x.log]\nlisten-client-urls: http://127.0.0.1:1,http://127.0.0.1:2\nsnapshot-count: 1e3\n" +
		"wal-dir:\ndata-dir: ''\npre-vote: false\ninitial-cluster:\n  - f=http://localhost:2380\n")
	for _, how := range []struct {
		args, environ []string
		source        Source
	}{
		{[]string{"--config-file=c.yml", "--name=g", "--max-txn-ops=oops"}, []string{"ETCD_NAME=e", "HOLDFAST_DATA_DIR=d"}, FromFlag},
		{[]string{"--name=g", "--max-txn-ops=5"}, []string{"HOLDFAST_CONFIG_FILE=c.yml", "ETCD_CONFIG_FILE=none", "HOLDFAST_DATA_DIR=d"}, FromHoldfastEnvironment},
		{[]string{"--name=g", "--max-txn-ops=5"}, []string{"ETCD_CONFIG_FILE=c.yml", "HOLDFAST_DATA_DIR=d"}, FromEtcdEnvironment},
	} {
		c, warnings := mustParse(t, "holdfast", how.args, how.environ, content)
		if c.Name != "f" || c.WarningApplyDuration != 5*time.Millisecond || c.ViewMaxAge != 7*time.Second || c.PreVote ||
			c.HeartbeatInterval != 50*time.Millisecond || c.CacheBytes != 1<<20 || c.DataDir != "f.holdfast" || c.SnapshotCount != 1000 ||
			c.MaxTxnOps != 128 || len(c.LogOutputs) != 2 || len(c.ListenClientURLs) != 2 || c.ConfigFile != "c.yml" {
			t.Errorf("%q: %+v", how.args, c)
		}
		if c.Source("name") != FromFile || c.Source("config-file") != how.source {
			t.Errorf("sources: %v, %v", c.Source("name"), c.Source("config-file"))
		}
		last := string(warnings[len(warnings)-1])
		for _, want := range []string{"c.yml", "--name", "--max-txn-ops", "HOLDFAST_DATA_DIR"} {
			if !strings.Contains(last, want) {
				t.Errorf("the warning %q does not name %s", last, want)
			}
		}
	}
}

// Listening elsewhere without advertising is refused for etcd's flags, but not for its file.
func TestFileAdvertiseAsEtcd(t *testing.T) {
	c, _ := mustParse(t, "etcd", []string{"--config-file=c.yml"}, nil, file("listen-client-urls: http://127.0.0.1:1"))
	if got := c.Value("advertise-client-urls"); got != "http://localhost:2379" {
		t.Errorf("advertised: %s", got)
	}
}

func TestFileRefusals(t *testing.T) {
	for _, c := range []struct {
		content string
		kind    error
		want    string
	}{
		{"nmae: x", ErrUnknown, "In the configuration file c.yml: nmae is not a setting; did you mean name?"},
		{"nmae:", ErrUnknown, "did you mean name?"},
		{"peer-transport-security: {cert-file: x}", ErrValue, "--peer-key-file is not set"},
		{"peer-transport-security: {crt-file: x}", ErrUnknown, "peer-transport-security has the key crt-file"},
		{"peer-transport-security: [x]", ErrValue, "peer-transport-security is not a mapping"},
		{"peer-transport-security: {auto-tls: true}\npeer-auto-tls: true", ErrValue, "peer-auto-tls is set twice"},
		{"discovery-config: {token: x}", ErrValue, "must be set together"},
		{"client-transport-security: x", ErrValue, "is not a mapping"},
		{"client-transport-security: {allowed-cn: [x]}", ErrUnknown, "client-transport-security has the key allowed-cn"},
		{"client-transport-security: {cert-file: x}\ncert-file: x", ErrValue, "cert-file is set twice"},
		{"client-transport-security: {client-cert-auth: maybe}", ErrValue, "must be true or false"},
		{"version: true", ErrUnknown, "only as the flag --version"},
		{"config-file: x", ErrUnknown, "only as the flag --config-file"},
		{"name: a\nname: b", ErrFile, "not understood"},
		{"- a", ErrFile, "not a mapping"},
		{"a: [", ErrFile, "not understood"},
		{"name: [a]", ErrValue, "must be a single value"},
		{"name: {a: b}", ErrValue, "must be a single value"},
		{"log-outputs: [1]", ErrValue, "must be a list of texts"},
		{"max-txn-ops: 1.5", ErrValue, "must be a whole number"},
		{"max-txn-ops: 1000000000000000000000000", ErrValue, "must be a whole number"},
		{"max-txn-ops: 0", ErrValue, `--max-txn-ops is "0" (from c.yml), but must be`},
		{"grpc-keepalive-timeout: soon", ErrValue, "must be a duration"},
		{"pre-vote: maybe", ErrValue, "must be true or false"},
	} {
		_, _, err := Parse("holdfast", []string{"--config-file=c.yml"}, nil, file(c.content))
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v\n\twant %q", c.content, err, c.want)
		}
	}
}

func TestEmptyFileIsTheDefaults(t *testing.T) {
	c, _ := mustParse(t, "etcd", []string{"--config-file=c.yml"}, nil, file("# nothing\n"))
	if c.Name != "default" || c.DataDir != "default.etcd" {
		t.Errorf("%+v", c)
	}
}
