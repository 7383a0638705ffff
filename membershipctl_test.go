package holdfast_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast"
	"holdfast/internal/cli"
)

// ctl runs a command of the client program and returns what it prints and its exit code.
func ctl(args ...string) (stdout, stderr string, code int) {
	var out, problems bytes.Buffer
	code = cli.Main(cli.Version{}, append([]string{"etcdctl"}, args...), strings.NewReader(""), &out, &problems)
	return out.String(), problems.String(), code
}

// The commands about single members find all of them through one, and show each; leadership moves by name of its member.
func TestCommandsOverThreeMembers(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	c.put(c.to(c.list[0]), "k", "v")
	one := "--endpoints=" + c.list[0].client
	var all []string
	for _, m := range c.list {
		all = append(all, m.client)
	}
	var status []struct {
		Endpoint string
		Status   struct {
			Header struct {
				MemberID uint64 `json:"member_id"`
			}
			Leader uint64
		}
	}
	out, problems, code := ctl(one, "endpoint", "status", "--cluster", "-w", "json")
	if err := json.Unmarshal([]byte(out), &status); err != nil || code != 0 || len(status) != 3 {
		t.Fatalf("%v, exit code %d: %s%s", err, code, out, problems)
	}
	leaders, endpoints := 0, []string{}
	for _, s := range status {
		if s.Status.Header.MemberID == s.Status.Leader {
			leaders++
		}
		endpoints = append(endpoints, strings.TrimPrefix(s.Endpoint, "http://"))
	}
	slices.Sort(endpoints)
	slices.Sort(all)
	if leaders != 1 || !slices.Equal(endpoints, all) {
		t.Errorf("%d leaders among %v", leaders, endpoints)
	}
	if out, problems, code = ctl(one, "endpoint", "health", "--cluster"); code != 0 || strings.Count(out, " is healthy: ") != 3 {
		t.Errorf("exit code %d: %s%s", code, out, problems)
	}
	out, problems, code = ctl(one, "endpoint", "hashkv", "--cluster", "--rev=2")
	hashes := map[string]bool{}
	for line := range strings.Lines(out) {
		_, hash, _ := strings.Cut(line, ", ")
		hashes[hash] = true
	}
	if code != 0 || strings.Count(out, "\n") != 3 || len(hashes) != 1 {
		t.Errorf("exit code %d: %s%s", code, out, problems)
	}
	if out, problems, code = ctl(one, "member", "list"); code != 0 || strings.Count(out, ", started, m") != 3 {
		t.Errorf("exit code %d: %s%s", code, out, problems)
	}

	old := c.leader()
	to := c.others(old)[0]
	target := fmt.Sprintf("%x", holdfast.ID(to.Member))
	out, problems, code = ctl("--endpoints="+to.client, "move-leader", target)
	if code != 128 || !strings.HasPrefix(problems, "Error: no leader endpoint given at [") {
		t.Errorf("without the leader, exit code %d: %s%s", code, out, problems)
	}
	out, problems, code = ctl("--endpoints="+strings.Join(all, ","), "move-leader", target)
	if want := fmt.Sprintf("Leadership transferred from %x to %s\n", holdfast.ID(old.Member), target); code != 0 || out != want {
		t.Errorf("exit code %d: %s%s", code, out, problems)
	}
	if now := c.leader(); now != to {
		t.Errorf("%s leads, not %s", now.name, to.name)
	}
	c.stop(old)
	out, problems, code = ctl("--endpoints="+to.client, "endpoint", "health", "--cluster", "--command-timeout=2s")
	if code != 1 || strings.Count(out, " is healthy: ") != 2 || !strings.Contains(problems, old.client+" is unhealthy: failed to commit proposal: ") {
		t.Errorf("with one gone, exit code %d: %s%s", code, out, problems)
	}
}
