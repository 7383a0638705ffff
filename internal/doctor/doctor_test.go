package doctor

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"holdfast"
	"holdfast/internal/config"
	"holdfast/internal/servertest"
)

// provoked are the conditions that a test has met, with the sentence it expected.
var provoked sync.Map

// TestMain fails a full run in which a condition of the table was never provoked.
func TestMain(m *testing.M) {
	code := servertest.Main(m)
	if code == 0 && !slices.ContainsFunc(os.Args, func(a string) bool {
		return strings.HasPrefix(a, "-test.run=") || strings.HasPrefix(a, "-test.fuzz=") || strings.HasPrefix(a, "-test.list=")
	}) {
		for _, c := range conditions {
			if _, ok := provoked.Load(c.ID); !ok {
				fmt.Fprintf(os.Stderr, "no test has provoked the condition %s\n", c.ID)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// patience is how long anything may take that takes a moment, on a machine that does much else.
const patience = 60 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// expect holds findings against one that must be among them.
func expect(t testing.TB, findings []Finding, id, sentence string) {
	t.Helper()
	provoked.Store(id, true)
	if i := slices.IndexFunc(conditions, func(c Condition) bool { return c.ID == id }); i < 0 {
		t.Fatalf("there is no condition %s", id)
	}
	for _, f := range findings {
		if f.ID == id && f.Sentence == sentence {
			return
		}
	}
	t.Errorf("%s was not found with the sentence\n\t%s\nbut these were:", id, sentence)
	for _, f := range findings {
		t.Errorf("\t%s: %s", f.ID, f.Sentence)
	}
}

// absent holds findings against one that must not be among them.
func absent(t testing.TB, findings []Finding, ids ...string) {
	t.Helper()
	for _, f := range findings {
		if slices.Contains(ids, f.ID) {
			t.Errorf("unexpected %s: %s", f.ID, f.Sentence)
		}
	}
}

// examine looks at a cluster with limits that change has adapted.
func examine(t testing.TB, change func(*Limits), endpoints ...string) []Finding {
	t.Helper()
	return examineAs(t, clientv3.ConfigSpec{Endpoints: endpoints, Secure: &clientv3.SecureConfig{InsecureTransport: true}}, change)
}

func examineAs(t testing.TB, spec clientv3.ConfigSpec, change func(*Limits)) []Finding {
	t.Helper()
	limits := DefaultLimits()
	if change != nil {
		change(&limits)
	}
	findings, err := Cluster(within(t), Options{Spec: spec, Timeout: 10 * time.Second, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

// eventually looks until the condition is found with its sentence, or patience ends.
func eventually(t testing.TB, id, sentence string, look func() []Finding) []Finding {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		findings := look()
		found := slices.ContainsFunc(findings, func(f Finding) bool { return f.ID == id && f.Sentence == sentence })
		if found || time.Now().After(deadline) {
			expect(t, findings, id, sentence)
			return findings
		}
	}
}

// member is a member in this process.
type member struct {
	*holdfast.Member
	name, client, peer, dir string
}

// prepare picks the addresses of a member.
func prepare(t testing.TB, name string) *member {
	return &member{name: name, client: "http://" + servertest.FreeAddress(t), peer: "http://" + servertest.FreeAddress(t), dir: filepath.Join(t.TempDir(), name)}
}

func (m *member) start(t testing.TB, flags ...string) error {
	t.Helper()
	c, _, err := config.Parse("holdfast", append([]string{"--name=" + m.name, "--data-dir=" + m.dir,
		"--listen-client-urls=" + m.client, "--advertise-client-urls=" + m.client, "--listen-peer-urls=" + m.peer, "--initial-advertise-peer-urls=" + m.peer,
		"--initial-cluster=" + m.name + "=" + m.peer, "--block-cache-bytes=4MiB", "--heartbeat-interval=50", "--election-timeout=500"}, flags...), nil, nil)
	if err != nil {
		return err
	}
	if m.Member, err = holdfast.Start(within(t), c, holdfast.Options{}); err == nil {
		t.Cleanup(func() { _ = m.Close() })
	}
	return err
}

// single starts a cluster of one member.
func single(t testing.TB, flags ...string) *member {
	t.Helper()
	m := prepare(t, "one")
	if err := m.start(t, flags...); err != nil {
		t.Fatal(err)
	}
	return m
}

// together starts a cluster of several members.
func together(t testing.TB, n int, flags ...string) (all []*member) {
	t.Helper()
	var initial []string
	for i := range n {
		m := prepare(t, fmt.Sprintf("m%d", i+1))
		all = append(all, m)
		initial = append(initial, m.name+"="+m.peer)
	}
	errs := make([]error, n)
	var group sync.WaitGroup
	for i, m := range all {
		group.Go(func() {
			errs[i] = m.start(t, append([]string{"--initial-cluster=" + strings.Join(initial, ",")}, flags...)...)
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func connect(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func hostOf(t testing.TB, endpoint string) string {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
