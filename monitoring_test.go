package holdfast_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"sigs.k8s.io/yaml"
)

// asked are the expressions of the alert rules and of the dashboard.
func asked(t *testing.T) (expressions []string) {
	t.Helper()
	text, err := os.ReadFile("monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			expressions = append(expressions, r.Expr)
		}
	}
	text, err = os.ReadFile("monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("the panel %q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	return expressions
}

// TestMonitoring: every metric that the alert rules and the dashboard ask for, with the labels that they choose by, is
// there in a cluster at work.
func TestMonitoring(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	client := c.to(c.list...)
	c.put(client, "k", "v")
	watching := client.Watch(within(t), "k")
	c.put(client, "k", "w")
	<-watching
	lease, err := client.Grant(within(t), 100)
	if err != nil {
		t.Fatal(err)
	}
	if alive, err := client.KeepAlive(within(t), lease.ID); err != nil || (<-alive) == nil {
		t.Fatal(err)
	}
	expressions := asked(t)
	if len(expressions) < 30 {
		t.Fatalf("only %d expressions", len(expressions))
	}
	metric := regexp.MustCompile(`\b((?:etcd|grpc|holdfast|process)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	c.eventually("all metrics", func(ctx context.Context) error {
		page := scrape(t, ctx, "http://"+c.list[0].client+"/metrics")
		for _, e := range expressions {
			for _, m := range metric.FindAllStringSubmatch(e, -1) {
				name := m[1]
				switch name {
				case "etcd_debugging_server_alarms":
					continue // there is one only while an alarm stands
				case "grpc_type", "grpc_code", "grpc_service", "grpc_method":
					continue // labels
				}
				if !regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(page) {
					return fmt.Errorf("/metrics has no %s, which is asked for by %s", name, e)
				}
				for _, label := range regexp.MustCompile(`([a-z_]+)=`).FindAllStringSubmatch(m[2], -1) {
					if label[1] != "job" && !regexp.MustCompile(`(?m)^`+name+`\{[^}]*`+label[1]+`="`).MatchString(page) {
						return fmt.Errorf("%s has no label %s, by which %s chooses", name, label[1], e)
					}
				}
			}
		}
		return nil
	})
}

// TestMetricNames: every metric of etcd is there, or docs/operations/monitoring.md says why not; none is both.
func TestMetricNames(t *testing.T) {
	c := settings()
	c.Metrics = "extensive"
	m := start(t, c, inMemory(vfs.NewMem()))
	if _, err := client(t, m.ClientEndpoints()[0]).Get(within(t), "k"); err != nil {
		t.Fatal(err)
	}
	scrape(t, within(t), m.ClientEndpoints()[0]+"/readyz")
	page := scrape(t, within(t), m.ClientEndpoints()[0]+"/metrics")
	text, err := os.ReadFile("docs/operations/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	absent := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| .+ \\|$").FindAllStringSubmatch(string(text), -1) {
		absent[row[1]] = true
	}
	text, err = os.ReadFile("testdata/etcd-metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(text)) {
		there := regexp.MustCompile(`(?m)^# TYPE ` + name + ` `).MatchString(page)
		// A metric with a label for each peer, or for each alarm, shows itself when there is one.
		there = there || strings.HasPrefix(name, "etcd_network_") && !absent[name] || name == "etcd_debugging_server_alarms"
		if there == absent[name] {
			t.Errorf("%s: in /metrics %v, called absent %v", name, there, absent[name])
		}
	}
}

func scrape(t *testing.T, ctx context.Context, from string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	page, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}
