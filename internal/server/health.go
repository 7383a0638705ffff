package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"

	"holdfast/internal/command"
)

// check is one question about this member's health, asked under /livez or /readyz.
type check struct {
	kind string // livez or readyz
	name string
	ask  func(context.Context) error

	succeeded atomic.Uint64
	failed    atomic.Uint64
	healthy   atomic.Bool // the last answer
}

// healthChecks answers /health, /livez and /readyz as etcd does.
type healthChecks struct {
	s         *Server
	checks    []*check
	succeeded atomic.Uint64 // answers of /health
	failed    atomic.Uint64
}

func newHealthChecks(s *Server) *healthChecks {
	h := &healthChecks{s: s}
	local := func(ctx context.Context) error { return h.read(ctx, true) }
	whole := func(ctx context.Context) error { return h.read(ctx, false) }
	h.checks = []*check{
		{kind: "livez", name: "serializable_read", ask: local},
		{kind: "readyz", name: "data_corruption", ask: h.intact},
		{kind: "readyz", name: "serializable_read", ask: local},
		{kind: "readyz", name: "linearizable_read", ask: whole},
		{kind: "readyz", name: "non_learner", ask: h.voter},
	}
	return h
}

func (h *healthChecks) install(mux *http.ServeMux) {
	mux.HandleFunc("/health", getOnly(h.serveHealth))
	for _, kind := range []string{"livez", "readyz"} {
		var all []*check
		for _, c := range h.checks {
			if c.kind == kind {
				all = append(all, c)
				mux.HandleFunc("/"+kind+"/"+c.name, getOnly(func(w http.ResponseWriter, r *http.Request) {
					h.serveChecks(w, r, []*check{c})
				}))
			}
		}
		mux.HandleFunc("/"+kind, getOnly(func(w http.ResponseWriter, r *http.Request) {
			excluded := r.URL.Query()["exclude"]
			asked := slices.DeleteFunc(slices.Clone(all), func(c *check) bool { return slices.Contains(excluded, c.name) })
			h.serveChecks(w, r, asked)
		}))
	}
}

// serveChecks answers "ok", with the single answers before it if ?verbose is there, or 503 with the single answers.
func (h *healthChecks) serveChecks(w http.ResponseWriter, r *http.Request, checks []*check) {
	var lines strings.Builder
	healthy := true
	for _, c := range checks {
		err := c.ask(r.Context())
		c.healthy.Store(err == nil)
		if err != nil {
			healthy = false
			c.failed.Add(1)
			fmt.Fprintf(&lines, "[-]%s failed: %v\n", c.name, err)
			continue
		}
		c.succeeded.Add(1)
		fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
	}
	if !healthy {
		h.s.log.Warn("a health check failed", zap.String("path", r.URL.Path), zap.String("reason", lines.String()))
		http.Error(w, lines.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Query().Has("verbose") {
		_, _ = w.Write([]byte(lines.String()))
	}
	_, _ = w.Write([]byte("ok\n"))
}

// serveHealth answers the older form: a JSON object that says "true" or "false" and why.
func (h *healthChecks) serveHealth(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	reason := h.reason(r.Context(), query.Get("serializable") == "true", query["exclude"])
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{"true", reason}
	if reason == "" {
		h.succeeded.Add(1)
		writeJSON(w, answer)
		return
	}
	h.failed.Add(1)
	answer.Health = "false"
	h.s.log.Warn("the health check failed", zap.String("reason", reason))
	body, err := json.Marshal(answer)
	if err != nil {
		body = []byte(reason)
	}
	http.Error(w, string(body), http.StatusServiceUnavailable)
}

// reason says why the member is not healthy, or nothing.
func (h *healthChecks) reason(ctx context.Context, serializable bool, excluded []string) string {
	for _, a := range h.s.node.Alarms() {
		if a.Type == command.AlarmCorrupt && !h.s.node.Corrupt() {
			continue // it is another member's
		}
		if name := alarmType(a.Type).String(); !slices.Contains(excluded, name) {
			return "ALARM " + name
		}
	}
	if !serializable && h.s.node.Status().Leader == 0 {
		return "RAFT NO LEADER"
	}
	if err := h.read(ctx, serializable); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}

// read reads a key as a client would.
func (h *healthChecks) read(ctx context.Context, serializable bool) error {
	ctx, cancel := context.WithTimeout(ctx, h.s.o.RequestTimeout)
	defer cancel()
	if !serializable {
		if err := h.s.node.ReadIndex(ctx); err != nil {
			return plain(h.s.readFailed(err))
		}
	}
	answer, err := h.s.node.KV().Range(ctx, command.Range{Interval: command.NewInterval([]byte("health"), nil), KeysOnly: true, Limit: 1})
	if err != nil {
		return plain(h.s.readFailed(err))
	}
	answer.Release()
	return nil
}

// plain returns the words of a status without its code.
func plain(err error) error { return errors.New(rpctypes.ErrorDesc(err)) }

// intact fails on the member whose state is wrong and on no other: the others serve.
func (h *healthChecks) intact(context.Context) error {
	if h.s.node.Corrupt() {
		return errors.New("alarm activated: CORRUPT")
	}
	return nil
}

func (h *healthChecks) voter(context.Context) error {
	if h.s.node.Status().Learner {
		return errors.New("not supported for learner")
	}
	return nil
}

// alarmType returns the wire's word for an alarm; the numbers are the same.
func alarmType(t command.AlarmType) etcdserverpb.AlarmType { return etcdserverpb.AlarmType(t) }

func (h *healthChecks) collect(out chan<- prometheus.Metric) {
	metric := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	metric(healthSuccessDesc, prometheus.CounterValue, float64(h.succeeded.Load()))
	metric(healthFailuresDesc, prometheus.CounterValue, float64(h.failed.Load()))
	for _, c := range h.checks {
		succeeded, failed := c.succeeded.Load(), c.failed.Load()
		metric(healthChecksDesc, prometheus.CounterValue, float64(succeeded), c.kind, c.name, "success")
		metric(healthChecksDesc, prometheus.CounterValue, float64(failed), c.kind, c.name, "error")
		if succeeded+failed > 0 {
			value := 0.0
			if c.healthy.Load() {
				value = 1
			}
			metric(healthCheckDesc, prometheus.GaugeValue, value, c.kind, c.name)
		}
	}
}
