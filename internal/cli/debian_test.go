package cli

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/servertest"
)

// TestDebianEtcdctl runs every command of the etcdctl that Debian ships (package etcd-client, etcd 3.4) that ends by itself.
func TestDebianEtcdctl(t *testing.T) {
	const etcdctl = "/usr/bin/etcdctl"
	if words, err := exec.Command(etcdctl, "version").CombinedOutput(); err != nil || !strings.Contains(string(words), "etcdctl version: 3.4") {
		t.Skipf("this needs %s of etcd 3.4 (Debian: apt install etcd-client): %v", etcdctl, err)
	}
	at := strings.TrimPrefix(servertest.Start(t).Endpoint(), "http://")
	file := filepath.Join(t.TempDir(), "a.db")
	user := ""
	var lease string
	for _, c := range []struct{ line, stdin, want string }{
		{"put foo bar", "", "OK"},
		{"put from-stdin", "words", "OK"},
		{"get foo", "", "foo\nbar"},
		{"get foo --print-value-only --consistency=s", "", "bar"},
		{"get f --prefix --keys-only --sort-by=KEY --order=DESCEND --limit=1", "", "from-stdin"},
		{"get foo --rev=2 -w json", "", `"value":"YmFy"`},
		{"put foo baz --prev-kv", "", "bar"},
		{"txn", "value(\"foo\") = \"baz\"\n\nput foo qux\n\n\n", "SUCCESS"},
		{"del foo --prev-kv", "", "1\nfoo\nqux"},
		{"compaction 4", "", "compacted revision 4"},
		{"lease grant 100", "", "granted with TTL(100s)"},
		{"put leased x --lease=LEASE", "", "OK"},
		{"lease timetolive LEASE --keys", "", "leased"},
		{"lease keep-alive LEASE --once", "", "keepalived with TTL(100)"},
		{"lease list", "", "found 1 leases"},
		{"lease revoke LEASE", "", "revoked"},
		{"lock l echo held", "", "held"},
		{"endpoint health", "", "is healthy"},
		{"endpoint status -w table", "", "IS LEADER"},
		{"endpoint status -w fields", "", `"DBSize"`},
		{"endpoint hashkv", "", at},
		{"member list", "", "started"},
		{"member list -w table", "", "PEER ADDRS"},
		{"alarm list", "", ""},
		{"alarm disarm", "", ""},
		{"defrag", "", "Finished defragmenting etcd member"},
		{"snapshot save " + file, "", "Snapshot saved at " + file},
		{"snapshot status " + file + " -w json", "", `"totalKey"`},
		{"user add root:secret", "", "User root created"},
		{"user add ann:secret", "", "User ann created"},
		{"role add reader", "", "Role reader created"},
		{"role grant-permission reader readwrite a/ --prefix", "", "Role reader updated"},
		{"user grant-role ann reader", "", "Role reader is granted to user ann"},
		{"role add root", "", "Role root created"},
		{"user grant-role root root", "", "Role root is granted to user root"},
		{"auth enable", "", "Authentication Enabled"},
		{"AS ann:secret", "", ""},
		{"put a/1 x", "", "OK"},
		{"AS root:secret", "", ""},
		{"user list", "", "ann\nroot"},
		{"user get ann", "", "Roles: reader"},
		{"role list", "", "reader\nroot"},
		{"role get reader", "", "[a/, a0)"},
		{"user passwd ann --interactive=false", "other\n", "Password updated"},
		{"role revoke-permission reader a/ --prefix", "", "revoked from role reader"},
		{"user revoke-role ann reader", "", "Role reader is revoked from user ann"},
		{"user delete ann", "", "User ann deleted"},
		{"role delete reader", "", "Role reader deleted"},
		{"auth disable", "", "Authentication Disabled"},
		{"AS ", "", ""},
		{"check datascale --load=s", "", "PASS: Approximate system memory used"},
	} {
		if who, ok := strings.CutPrefix(c.line, "AS "); ok {
			user = who
			continue
		}
		args := []string{"--endpoints=" + at}
		if user != "" {
			args = append(args, "--user="+user)
		}
		cmd := exec.CommandContext(t.Context(), etcdctl, append(args, strings.Fields(strings.ReplaceAll(c.line, "LEASE", lease))...)...)
		cmd.Env = append(cmd.Environ(), "ETCDCTL_API=3")
		cmd.Stdin = strings.NewReader(c.stdin)
		cmd.WaitDelay = time.Second
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v, want %q in\n%s", c.line, err, c.want, out)
		}
		if id := granted.FindStringSubmatch(string(out)); id != nil {
			lease = id[1]
		}
	}
}
