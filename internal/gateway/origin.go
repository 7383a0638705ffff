package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
)

// Origins decides which pages in browsers may call the member (G2).
type Origins struct{ allowed map[string]bool }

// NewOrigins allows pages from these origins, such as https://example.com; "*" stands for all.
func NewOrigins(list []string) *Origins {
	o := &Origins{map[string]bool{}}
	for _, origin := range list {
		o.allowed[strings.TrimSuffix(origin, "/")] = true
	}
	return o
}

// Wrap returns a handler that tells browsers what pages may do, and answers their questions (OPTIONS) about it. It lets
// through what does not come from a page, what comes from the member's own, or from an allowed origin, and what
// changes nothing; everything else it refuses.
func (o *Origins) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		allowed := o.allowed["*"] || o.allowed[origin]
		if allowed && origin != "" {
			h := w.Header()
			h.Add("Vary", "Origin")
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
			h.Set("Access-Control-Allow-Headers", "accept, content-type, authorization")
		}
		switch {
		case r.Method == http.MethodOptions:
			w.WriteHeader(http.StatusOK)
		case origin == "" || allowed || own(r, origin) || harmless(r):
			h.ServeHTTP(w, r)
		default:
			writeFailure(w, http.StatusForbidden, codes.PermissionDenied,
				"a page from "+origin+" may not call this member: start it with --cors="+origin+" to allow that")
		}
	})
}

// harmless reports whether a request changes nothing, and its answer is not shown to the page that asks: its browser
// keeps it unless the page is allowed. A WebSocket begins with a GET, but browsers do not guard it.
func harmless(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && !isUpgrade(r)
}

// own reports whether a page of this member's own asks.
func own(r *http.Request, origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return u.Scheme == scheme && strings.EqualFold(u.Host, r.Host)
}
