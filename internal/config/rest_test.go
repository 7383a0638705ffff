package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// The settings that change nothing are taken with etcd's values, and those that Holdfast cannot keep are refused with
// what to do instead.
func TestSettingsOfTheOldStore(t *testing.T) {
	mustParse(t, "etcd", strings.Fields("--max-wals=0 --max-snapshots 3 --backend-bbolt-freelist-type=array --backend-batch-interval=100ms "+
		"--backend-batch-limit=10000 --socket-reuse-address --v2-deprecation=gone --bootstrap-defrag-threshold-megabytes=500 --downgrade-check-time=10s"), nil, nil)
	for args, want := range map[string]string{
		"--wal-dir=/fast":                             "put --data-dir on the faster disk",
		"--max-wals=-1":                               "at least 0",
		"--v2-deprecation=never":                      "write-only-drop-data or gone",
		"--raft-read-timeout=0s":                      "from 100ms",
		"--metrics=all":                               "basic or extensive",
		"--discovery=https://x.test":                  "--discovery-endpoints",
		"--max-wal=3":                                 "did you mean --max-wals?",
		"--distributed-tracing-sampling-rate=1000001": "from 0 to 1000000",
		"--enable-log-rotation":                       "exactly one file",
		"--enable-log-rotation --log-outputs=a,b":     "exactly one file",
		"--log-rotation-config-json={\"maxsize\":-1}": "negative",
		"--log-rotation-config-json={\"size\":1}":     "must be a JSON object",
		"--log-rotation-config-json={}x":              "must be a JSON object",
	} {
		if _, _, err := Parse("etcd", strings.Fields(args), nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
	c, _ := mustParse(t, "holdfast", []string{"--enable-log-rotation", "--log-outputs=stdout,x.log", `--log-rotation-config-json={"maxsize":1,"compress":true}`}, nil, nil)
	if file, how := c.Rotation(); file != "x.log" || how != (Rotation{MaxSize: 1, Compress: true}) {
		t.Errorf("%q %+v", file, how)
	}
	if file, _ := new(Config).Rotation(); file != "" {
		t.Errorf("%q is rotated without being asked for", file)
	}
}

// The keys that only the file has stand for settings.
func TestSections(t *testing.T) {
	const content = `
socket-options: {reuse-port: true}
discovery-config:
  token: word
  client:
    endpoints: [a:1, b:2]
    dial-timeout: 3000000000
    max-request-bytes: 7
    secure: {cacert: ca.pem, insecure-transport: false}
    auth: {username: u, password: p}
`
	c, _ := mustParse(t, "etcd", []string{"--config-file=c.yml"}, nil, file(content))
	if !c.SocketReusePort || c.DiscoveryToken != "word" || len(c.DiscoveryEndpoints) != 2 || c.DiscoveryDialTimeout != 3*time.Second ||
		c.DiscoveryCAFile != "ca.pem" || c.DiscoveryInsecureTransport || c.DiscoveryUser != "u" || c.DiscoveryPassword != "p" {
		t.Errorf("%+v", c)
	}
	for content, want := range map[string]string{
		"socket-options: {reuse-prot: true}":                          "reuse-prot",
		"socket-options: 3":                                           "not a mapping",
		"socket-reuse-port: true\nsocket-options: {reuse-port: true}": "set twice",
		"discovery-config: {client: {secure: {server-name: x}}}":      "client.secure.server-name",
		"discovery: https://x.test":                                   "switched off",
	} {
		if _, _, err := Parse("etcd", []string{"--config-file=c.yml"}, nil, file(content)); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", content, err)
		}
	}
}
