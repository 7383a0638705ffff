package server

import (
	"encoding/json"
	"expvar"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Bounds of an HTTP/1 connection.
const (
	httpHeaderTimeout  = 10 * time.Second
	httpIdleTimeout    = 2 * time.Minute
	maxHTTPHeaderBytes = 64 << 10
)

func (s *Server) newHTTP(handler http.Handler) *http.Server {
	errorLog, err := zap.NewStdLogAt(s.log, zapcore.WarnLevel)
	if err != nil {
		errorLog = zap.NewStdLog(s.log)
	}
	return &http.Server{
		Handler:           withTLS(handler),
		ConnContext:       withConnection,
		ReadHeaderTimeout: httpHeaderTimeout,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    maxHTTPHeaderBytes,
		ErrorLog:          errorLog,
	}
}

// HTTPHandler returns the handler of all paths: /version, /health, /livez, /readyz, /metrics, /debug/vars, the profiles if
// they are asked for, and what Handle has added.
func (s *Server) HTTPHandler() http.Handler {
	h := s.recovering(s.mux)
	if s.o.WrapHTTP != nil {
		h = s.o.WrapHTTP(h)
	}
	return s.misdirected(h)
}

// Handle adds a handler for the paths of a pattern. It must be called before the server serves.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/version", getOnly(s.serveVersion))
	s.installProbes(mux)
	mux.Handle("/debug/vars", expvar.Handler())
	if s.o.Profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// installProbes adds what machines ask for: health and metrics.
func (s *Server) installProbes(mux *http.ServeMux) {
	s.health.install(mux)
	if s.o.Gatherer != nil {
		mux.Handle("/metrics", promhttp.HandlerFor(s.o.Gatherer, promhttp.HandlerOpts{}))
	}
}

// misdirected refuses requests without TLS for a host that is not on the list, if there is one: the name of a stranger's
// page that was made to lead here.
func (s *Server) misdirected(h http.Handler) http.Handler {
	if len(s.o.Hosts) == 0 || slices.Contains(s.o.Hosts, "*") {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if r.TLS == nil && !slices.Contains(s.o.Hosts, host) {
			http.Error(w, fmt.Sprintf("this member does not serve the host %q: add it to --host-whitelist, or use TLS", host), http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// recovering stops the member when h panics, as panicked does for gRPC; the answer is cut off.
func (s *Server) recovering(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				s.stopFor("HTTP "+r.URL.Path, p)
				panic(http.ErrAbortHandler)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// serveVersion answers with plain numbers, because clients split them at the dots and parse each part.
func (s *Server) serveVersion(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
		Storage string `json:"storage"`
	}{EtcdVersion, ClusterVersion, StorageVersion})
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(b)
}

// getOnly refuses every method but GET.
func getOnly(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	}
}
