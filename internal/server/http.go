package server

import (
	"encoding/json"
	"net/http"
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

func (s *Server) newHTTP() *http.Server {
	errorLog, err := zap.NewStdLogAt(s.log, zapcore.WarnLevel)
	if err != nil {
		errorLog = zap.NewStdLog(s.log)
	}
	return &http.Server{
		Handler:           withTLS(s.HTTPHandler()),
		ConnContext:       withConnection,
		ReadHeaderTimeout: httpHeaderTimeout,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    maxHTTPHeaderBytes,
		ErrorLog:          errorLog,
	}
}

// HTTPHandler returns the handler of the paths /version, /health, /livez, /readyz and /metrics.
func (s *Server) HTTPHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/version", getOnly(s.serveVersion))
	s.health.install(mux)
	if s.o.Gatherer != nil {
		mux.Handle("/metrics", promhttp.HandlerFor(s.o.Gatherer, promhttp.HandlerOpts{}))
	}
	return s.recovering(mux)
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
