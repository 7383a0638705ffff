package grpcproxy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// How long the checks of health may take.
const (
	readTimeout  = time.Second
	watchTimeout = 3 * time.Second
)

// metricsBytes bounds what is passed on of a member's metrics.
const metricsBytes = 64 << 20

// Handler returns the HTTP pages: /health and /metrics are those of the cluster, /proxy/health and /proxy/metrics the
// proxy's own. self is a client of the proxy, nil if there is none; to fetches pages of members.
func (p *Proxy) Handler(self *clientv3.Client, to *http.Client, debug bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) { answerHealth(w, r, readable(r.Context(), p.client)) })
	mux.HandleFunc("/proxy/health", func(w http.ResponseWriter, r *http.Request) { answerHealth(w, r, proxyHealth(r.Context(), self)) })
	mux.Handle("/proxy/metrics", promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) { p.passMetrics(w, r, to) })
	if debug {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// answerHealth writes what etcd does: strings, and 503 if something is wrong.
func answerHealth(w http.ResponseWriter, r *http.Request, reason string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{"true", reason}
	w.Header().Set("Content-Type", "application/json")
	if reason != "" {
		answer.Health = "false"
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	b, _ := json.Marshal(answer) // two strings cannot fail
	_, _ = w.Write(b)
}

// readable returns why the cluster does not answer a read, empty if it does.
func readable(ctx context.Context, c *clientv3.Client) string {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	// A refusal for want of rights is an answer of the cluster.
	if _, err := c.Get(ctx, "a"); err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) && !errors.Is(err, rpctypes.ErrUserEmpty) {
		return "GET ERROR:" + err.Error()
	}
	return ""
}

// proxyHealth asks the proxy itself for a read and a watch.
func proxyHealth(ctx context.Context, self *clientv3.Client) string {
	if self == nil {
		return "no connection to proxy"
	}
	if reason := readable(ctx, self); reason != "" {
		return reason
	}
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	select {
	case <-self.Watch(ctx, "a", clientv3.WithCreatedNotify()):
		return ""
	case <-ctx.Done():
		return "WATCH TIMEOUT"
	}
}

// passMetrics passes a member's metrics on.
func (p *Proxy) passMetrics(w http.ResponseWriter, r *http.Request, to *http.Client) {
	endpoints := p.client.Endpoints()
	if len(endpoints) == 0 {
		http.Error(w, "no member is known", http.StatusServiceUnavailable)
		return
	}
	target := endpoints[rand.IntN(len(endpoints))]
	if !strings.HasPrefix(target, "http://") && !strings.HasPrefix(target, "https://") {
		scheme := "http://"
		if r.TLS != nil {
			scheme = "https://"
		}
		target = scheme + target
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, target+"/metrics", nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	response, err := to.Do(request)
	if err != nil {
		http.Error(w, "the metrics of "+target+" could not be fetched", http.StatusInternalServerError)
		return
	}
	defer func() { _ = response.Body.Close() }()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(response.Body, metricsBytes))
}
