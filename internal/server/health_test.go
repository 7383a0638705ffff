package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/command"
	"holdfast/internal/machine"
	"holdfast/internal/node"
)

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.HTTPHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, strings.TrimSpace(w.Body.String())
}

// The health paths say what etcd's say, in each state that a member can be in.
func TestHealth(t *testing.T) {
	const healthy = `{"health":"true","reason":""}`
	unhealthy := func(reason string) string { return `{"health":"false","reason":"` + reason + `"}` }
	noSpace := []machine.Alarm{{Member: fakeMember, Type: command.AlarmNoSpace}}
	corrupt := []machine.Alarm{{Member: fakeMember, Type: command.AlarmCorrupt}}
	for _, c := range []struct {
		name string
		set  func(*fakeNode)
		path string
		code int
		body string
	}{
		{"healthy", nil, "/health", 200, healthy},
		{"healthy", nil, "/livez", 200, "ok"},
		{"healthy", nil, "/livez/serializable_read", 200, "ok"},
		{"healthy", nil, "/readyz", 200, "ok"},
		{"healthy", nil, "/readyz/non_learner", 200, "ok"},
		{"healthy", nil, "/readyz?verbose", 200,
			"[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok"},
		{"healthy", nil, "/readyz?verbose&exclude=linearizable_read&exclude=nothing", 200,
			"[+]data_corruption ok\n[+]serializable_read ok\n[+]non_learner ok\nok"},
		{"no space", func(f *fakeNode) { f.mu.alarms = noSpace }, "/health", 503, unhealthy("ALARM NOSPACE")},
		{"no space", func(f *fakeNode) { f.mu.alarms = noSpace }, "/health?exclude=NOSPACE", 200, healthy},
		{"no space", func(f *fakeNode) { f.mu.alarms = noSpace }, "/readyz", 200, "ok"},
		{"corrupt", func(f *fakeNode) { f.mu.alarms = corrupt; close(f.refusing) }, "/health?exclude=NOSPACE", 503, unhealthy("ALARM CORRUPT")},
		{"corrupt", func(f *fakeNode) { f.mu.alarms = corrupt; close(f.refusing) }, "/readyz?exclude=linearizable_read", 503,
			"[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n[+]non_learner ok"},
		{"corrupt", func(f *fakeNode) { f.mu.alarms = corrupt; close(f.refusing) }, "/livez", 200, "ok"},
		{"another is corrupt", func(f *fakeNode) { f.mu.alarms = []machine.Alarm{{Member: 1, Type: command.AlarmCorrupt}} }, "/health", 200, healthy},
		{"another is corrupt", func(f *fakeNode) { f.mu.alarms = []machine.Alarm{{Member: 1, Type: command.AlarmCorrupt}} }, "/readyz", 200, "ok"},
		{"no leader", func(f *fakeNode) { f.mu.status.Leader = 0 }, "/health", 503, unhealthy("RAFT NO LEADER")},
		{"no leader", func(f *fakeNode) { f.mu.status.Leader = 0 }, "/health?serializable=true", 200, healthy},
		{"no quorum", func(f *fakeNode) { f.mu.readIndex = node.ErrTimeout }, "/health", 503,
			unhealthy("RANGE ERROR:etcdserver: request timed out")},
		{"no quorum", func(f *fakeNode) { f.mu.readIndex = node.ErrTimeout }, "/livez", 200, "ok"},
		{"no quorum", func(f *fakeNode) { f.mu.readIndex = node.ErrTimeout }, "/readyz/linearizable_read", 503,
			"[-]linearizable_read failed: etcdserver: request timed out"},
		{"learner", func(f *fakeNode) { f.mu.status.Learner = true }, "/readyz/non_learner", 503,
			"[-]non_learner failed: not supported for learner"},
		{"anything", nil, "/nothing", 404, "404 page not found"},
	} {
		f := newFakeNode(t)
		if c.set != nil {
			f.set(c.set)
		}
		code, body := get(t, New(f, Options{}), c.path)
		if code != c.code || body != c.body {
			t.Errorf("%s: GET %s is %d %q, want %d %q", c.name, c.path, code, body, c.code, c.body)
		}
	}
}

// The paths take GET only, and the answers are counted under etcd's names.
func TestHealthMethodsAndMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := New(newFakeNode(t), Options{Registerer: registry, Gatherer: registry})
	for _, path := range []string{"/health", "/livez", "/readyz/non_learner", "/version"} {
		w := httptest.NewRecorder()
		s.HTTPHandler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET" {
			t.Errorf("POST %s is %d, allow %q", path, w.Code, w.Header().Get("Allow"))
		}
	}
	get(t, s, "/health")
	get(t, s, "/readyz")
	_, body := get(t, s, "/metrics")
	for _, line := range []string{
		`etcd_server_health_success 1`,
		`etcd_server_health_failures 0`,
		`etcd_server_healthcheck{name="non_learner",type="readyz"} 1`,
		`etcd_server_healthchecks_total{name="linearizable_read",status="success",type="readyz"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

// A panic behind an HTTP path stops the member too, and nothing is answered.
func TestHTTPPanicStopsTheMember(t *testing.T) {
	var failed error
	s := New(newFakeNode(t), Options{Fail: func(err error) { failed = err }})
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || failed == nil || !strings.Contains(failed.Error(), "planted") {
			t.Errorf("the panic became %v, the member was stopped because of %v", p, failed)
		}
	}()
	s.recovering(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("planted") })).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}
