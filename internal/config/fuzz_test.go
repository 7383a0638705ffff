package config

import (
	"reflect"
	"strings"
	"testing"
)

// checkAccepted holds what Parse lets through to C3: it passes the checks of the rows again, and written as flags it
// gives the same Config.
func checkAccepted(t *testing.T, c Config) {
	t.Helper()
	if c.Version {
		return
	}
	if err := c.checkRows(nil); err != nil {
		t.Fatalf("accepted, but: %v", err)
	}
	if c.Name == "" || c.DataDir == "" || len(c.LogOutputs) == 0 || len(c.ListenClientURLs) == 0 || len(c.ListenPeerURLs) == 0 ||
		len(c.AdvertiseClientURLs) == 0 || len(c.InitialCluster) == 0 || 5*c.HeartbeatInterval > c.ElectionTimeout {
		t.Fatalf("accepted, but not whole: %+v", c)
	}
	again, _, err := Parse(c.Program, asFlags(c), nil, nil)
	if err != nil {
		t.Fatalf("accepted once, refused when written as flags %q: %v", asFlags(c), err)
	}
	again.sources, again.ConfigFile = c.sources, c.ConfigFile
	if !reflect.DeepEqual(c, again) {
		t.Fatalf("changed by being written as flags:\n%+v\n%+v", c, again)
	}
}

func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"", "name: a", "name: a\nname: b", "log-outputs: [stdout, x]", "max-txn-ops: 1e3", "cache-bytes: 9223372036854775807",
		"listen-client-urls: unix://a\n", "initial-cluster: a=http://b:1,a=http://b:2", "view-max-age: 9999999999", "{}", "- a", "a: &a [*a]",
		"grpc-keepalive-min-time: -1", "pre-vote: yes", "? {a: b}\n: c", "wal-dir:\nname:\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		c, _, err := Parse("holdfast", []string{"--config-file=c.yml"}, nil, file(string(content)))
		if err == nil {
			checkAccepted(t, c)
		}
	})
}

// The arguments are the lines of the input; those that begin with $ are environment variables.
func FuzzFlags(f *testing.F) {
	for _, seed := range []string{
		"--name\na", "-name=a\n--pre-vote", "--", "-", "--=", "---name=x", "--listen-client-urls=http://[::]:0,unixs://x:1",
		"--log-outputs=default,stderr", "--log-outputs=systemd/journal,stderr", "$ETCD_NAME=x\n$HOLDFAST_NAME=y\n$=", "--cache-bytes=-8GiB",
		"--heartbeat-interval=0x10\n--election-timeout=1s", "--initial-cluster=a=,b", "--version=false", "--data-dir=\x00",
		"--listen-peer-urls=http://[fe80::1%25eth0]:1", "--max-concurrent-streams=4294967296",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		var args, environ []string
		for line := range strings.SplitSeq(input, "\n") {
			if variable, ok := strings.CutPrefix(line, "$"); ok {
				environ = append(environ, variable)
			} else {
				args = append(args, line)
			}
		}
		c, _, err := Parse("holdfast", args, environ, nil)
		if err == nil {
			checkAccepted(t, c)
		}
	})
}
