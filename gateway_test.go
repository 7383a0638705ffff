package holdfast_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/coder/websocket"

	"holdfast"
)

// post sends a body as curl -d does and returns the answer's status and JSON.
func post(t *testing.T, to, body string, headers ...string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatalf("%s answered %d %q: %v", to, a.StatusCode, text, err)
	}
	return a.StatusCode, m
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// at goes into nested JSON objects and lists.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// gatewayPaths are all paths of the gateway: etcd's table, with its aliases. RangeStream alone has none.
var gatewayPaths = strings.Fields(`
/v3/kv/range /v3/kv/put /v3/kv/deleterange /v3/kv/txn /v3/kv/compaction /v3/watch
/v3/lease/grant /v3/lease/revoke /v3/kv/lease/revoke /v3/lease/keepalive /v3/lease/timetolive /v3/kv/lease/timetolive
/v3/lease/leases /v3/kv/lease/leases
/v3/cluster/member/add /v3/cluster/member/remove /v3/cluster/member/update /v3/cluster/member/list /v3/cluster/member/promote
/v3/maintenance/alarm /v3/maintenance/status /v3/maintenance/defragment /v3/maintenance/hash /v3/maintenance/hashkv
/v3/maintenance/snapshot /v3/maintenance/transfer-leadership /v3/maintenance/downgrade
/v3/auth/enable /v3/auth/disable /v3/auth/status /v3/auth/authenticate
/v3/auth/user/add /v3/auth/user/get /v3/auth/user/list /v3/auth/user/delete /v3/auth/user/changepw /v3/auth/user/grant /v3/auth/user/revoke
/v3/auth/role/add /v3/auth/role/get /v3/auth/role/list /v3/auth/role/delete /v3/auth/role/grant /v3/auth/role/revoke
/v3/lock/lock /v3/lock/unlock
/v3/election/campaign /v3/election/proclaim /v3/election/leader /v3/election/observe /v3/election/resign`)

// TestGatewayPaths asks every path for something that it must refuse or answer: none is unknown, under any prefix.
func TestGatewayPaths(t *testing.T) {
	if len(gatewayPaths) != 51 {
		t.Fatalf("%d paths, want etcd's 51", len(gatewayPaths))
	}
	m := start(t, settings(), inMemory(vfs.NewMem()))
	for _, path := range gatewayPaths {
		for _, prefix := range []string{"/v3/", "/v3beta/", "/v3alpha/"} {
			to := m.ClientEndpoints()[0] + prefix + strings.TrimPrefix(path, "/v3/")
			// What cannot be decoded is refused by the path's own handler, before it does anything.
			code, answer := post(t, to, `{`)
			if code != http.StatusBadRequest || answer["code"] != 3.0 && at(answer, "error", "code") != 3.0 {
				t.Errorf("%s: %d %v", to, code, answer)
			}
		}
	}
	code, answer := post(t, m.ClientEndpoints()[0]+"/v3/kv/nothing", `{}`)
	if code != http.StatusNotFound || answer["error"] == nil {
		t.Errorf("a path that there is not: %d %v", code, answer)
	}
}

// TestGateway does what curl, Patroni and APISIX do.
func TestGateway(t *testing.T) {
	m := start(t, settings(), inMemory(vfs.NewMem()))
	at0 := m.ClientEndpoints()[0]
	code, put := post(t, at0+"/v3/kv/put", `{"key":"`+b64("k")+`","value":"`+b64("v")+`","of the future":1}`)
	if code != 200 || at(put, "header", "revision") != "2" || at(put, "header", "raft_term") == nil {
		t.Fatalf("put: %d %v", code, put)
	}
	if _, got := post(t, at0+"/v3beta/kv/range", `{"key":"`+b64("k")+`","serializable":true}`); at(got, "kvs", 0, "value") != b64("v") || at(got, "count") != "1" {
		t.Errorf("range: %v", got)
	}
	txn := `{"compare":[{"key":"` + b64("k") + `","target":"VERSION","result":"EQUAL","version":"1"}],` +
		`"success":[{"request_txn":{"success":[{"request_put":{"key":"` + b64("k") + `","value":"` + b64("w") + `"}}]}}]}`
	if _, got := post(t, at0+"/v3/kv/txn", txn); at(got, "succeeded") != true || at(got, "responses", 0, "response_txn", "responses", 0, "response_put", "header", "revision") != "3" {
		t.Errorf("txn: %v", got)
	}
	code, refused := post(t, at0+"/v3/kv/put", `{"value":"`+b64("v")+`"}`)
	if text := "etcdserver: key is not provided"; code != 400 || refused["error"] != text || refused["message"] != text || refused["code"] != 3.0 {
		t.Errorf("a put without a key: %d %v", code, refused)
	}
	code, refused = post(t, at0+"/v3/kv/put", `{"key":"`+b64("big")+`","value":"`+b64(strings.Repeat("x", 4<<20))+`"}`)
	if code != 400 || refused["error"] != "etcdserver: request is too large" {
		t.Errorf("a large put: %d %v", code, refused)
	}
	_, lease := post(t, at0+"/v3/lease/grant", `{"TTL":"60"}`)
	id, _ := lease["ID"].(string)
	if _, kept := post(t, at0+"/v3/lease/keepalive", `{"ID":"`+id+`"}`); at(kept, "result", "TTL") != "60" {
		t.Errorf("keep-alive: %v", kept)
	}
	if _, left := post(t, at0+"/v3/kv/lease/timetolive", `{"ID":"`+id+`"}`); left["grantedTTL"] != "60" {
		t.Errorf("time to live: %v", left)
	}
	if code, gone := post(t, at0+"/v3/kv/lease/revoke", `{"ID":"77"}`); code != 404 || gone["error"] != "etcdserver: requested lease not found" {
		t.Errorf("revoke: %d %v", code, gone)
	}
	_, locked := post(t, at0+"/v3/lock/lock", `{"name":"`+b64("n")+`","lease":"`+id+`"}`)
	key, _ := locked["key"].(string)
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || !bytes.HasPrefix(raw, []byte("n/")) {
		t.Errorf("lock: %v", locked)
	}
	if code, _ := post(t, at0+"/v3/lock/unlock", `{"key":"`+key+`"}`); code != 200 {
		t.Errorf("unlock: %d", code)
	}
	_, won := post(t, at0+"/v3/election/campaign", `{"name":"`+b64("e")+`","lease":"`+id+`","value":"`+b64("me")+`"}`)
	if at(won, "leader", "rev") == nil || at(won, "leader", "lease") != id {
		t.Errorf("campaign: %v", won)
	}
	if _, leader := post(t, at0+"/v3/election/leader", `{"name":"`+b64("e")+`"}`); at(leader, "kv", "value") != b64("me") {
		t.Errorf("leader: %v", leader)
	}
}

// TestGatewayWatch reads a watch as chunked JSON, and goes on asking on the same request, which HTTP/1.1 clients of the
// better kind can.
func TestGatewayWatch(t *testing.T) {
	m := start(t, settings(), inMemory(vfs.NewMem()))
	at0 := m.ClientEndpoints()[0]
	body, ask := io.Pipe()
	defer ask.Close()
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at0+"/v3/watch", body)
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(ask, `{"create_request":{"key":"`+b64("a")+`"}}`+"\n")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	lines := bufio.NewScanner(a.Body)
	next := func() map[string]any {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the watch ended: %v", lines.Err())
		}
		var m map[string]any
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if got := next(); at(got, "result", "created") != true {
		t.Fatalf("created: %v", got)
	}
	post(t, at0+"/v3/kv/put", `{"key":"`+b64("a")+`","value":"`+b64("1")+`"}`)
	if got := next(); at(got, "result", "events", 0, "kv", "value") != b64("1") {
		t.Errorf("event: %v", got)
	}
	go io.WriteString(ask, `{"create_request":{"key":"`+b64("b")+`","watch_id":"7"}}`+"\n")
	if got := next(); at(got, "result", "created") != true || at(got, "result", "watch_id") != "7" {
		t.Errorf("created: %v", got)
	}
}

// TestGatewayWebSocket is a watch and a put of a page in a browser.
func TestGatewayWebSocket(t *testing.T) {
	m := start(t, settings(), inMemory(vfs.NewMem()))
	at0 := strings.Replace(m.ClientEndpoints()[0], "http://", "ws://", 1)
	ctx := within(t)
	dial := func(path string, o *websocket.DialOptions) *websocket.Conn {
		t.Helper()
		c, _, err := websocket.Dial(ctx, at0+path, o)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	exchange := func(c *websocket.Conn, ask string) (m map[string]any) {
		t.Helper()
		if ask != "" {
			if err := c.Write(ctx, websocket.MessageText, []byte(ask)); err != nil {
				t.Fatal(err)
			}
		}
		_, text, err := c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return m
	}
	w := dial("/v3/watch", nil)
	if got := exchange(w, `{"create_request":{"key":"`+b64("k")+`"}}`); at(got, "result", "created") != true {
		t.Fatalf("created: %v", got)
	}
	p := dial("/v3/kv/put", &websocket.DialOptions{Subprotocols: []string{"Bearer", "token"}})
	if p.Subprotocol() != "Bearer" {
		t.Errorf("subprotocol %q", p.Subprotocol())
	}
	if got := exchange(p, `{"key":"`+b64("k")+`"}`); at(got, "header", "revision") != "2" {
		t.Errorf("put: %v", got)
	}
	if got := exchange(w, ""); at(got, "result", "events", 0, "kv", "key") != b64("k") {
		t.Errorf("event: %v", got)
	}
	if err := w.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: %v", err)
	}
	// A page of a stranger gets no connection.
	_, a, err := websocket.Dial(ctx, at0+"/v3/watch", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://stranger.example"}}})
	if err == nil || a == nil || a.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger's page: %v", err)
	}
}

// TestOrigins: pages change nothing unless the settings name where they come from; what is no page is never asked.
func TestOrigins(t *testing.T) {
	c := settings()
	c.CORS = []string{"https://good.example"}
	m := start(t, c, inMemory(vfs.NewMem()))
	at0 := m.ClientEndpoints()[0]
	put := `{"key":"` + b64("k") + `"}`
	for origin, want := range map[string]int{
		"":                      200,
		at0:                     200,
		"https://good.example":  200,
		"https://evil.example":  403,
		"null":                  403,
		"http://localhost:9999": 403,
	} {
		headers := []string{}
		if origin != "" {
			headers = []string{"Origin", origin}
		}
		if code, answer := post(t, at0+"/v3/kv/put", put, headers...); code != want {
			t.Errorf("from %q: %d %v, want %d", origin, code, answer, want)
		}
	}
	r, _ := http.NewRequestWithContext(within(t), http.MethodOptions, at0+"/v3/kv/put", nil)
	r.Header.Set("Origin", "https://good.example")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "https://good.example" {
		t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
	}
}

// TestPorts: gRPC, HTTP and probes on ports of their own.
func TestPorts(t *testing.T) {
	free := func() url.URL { return url.URL{Scheme: "http", Host: "127.0.0.1:0"} }
	c := settings()
	c.ListenClientHTTPURLs = []url.URL{free()}
	c.ListenMetricsURLs = []url.URL{free()}
	c.EnablePprof = true
	m := start(t, c, inMemory(vfs.NewMem()))
	grpc, web, probes := m.ClientEndpoints()[0], holdfast.HTTPEndpoints(m)[0], holdfast.HTTPEndpoints(m)[1]
	if _, err := client(t, grpc).Put(within(t), "k", "v"); err != nil {
		t.Error(err)
	}
	get := func(to string) int {
		a, err := http.Get(to)
		if err != nil {
			return 0
		}
		a.Body.Close()
		return a.StatusCode
	}
	for to, want := range map[string]int{
		grpc + "/health": 0, web + "/health": 200, probes + "/health": 200, probes + "/metrics": 200, web + "/version": 200,
		probes + "/version": 404, probes + "/v3/kv/put": 404, web + "/debug/pprof/cmdline": 200, web + "/debug/vars": 200,
		probes + "/debug/pprof/cmdline": 404,
	} {
		if got := get(to); got != want {
			t.Errorf("%s: %d, want %d", to, got, want)
		}
	}
}

// TestHostWhitelist: a name that leads here but is not ours is not served.
func TestHostWhitelist(t *testing.T) {
	c := settings()
	c.HostWhitelist = []string{"good.example"}
	m := start(t, c, inMemory(vfs.NewMem()))
	for host, want := range map[string]int{"good.example": 200, "good.example:2379": 200, "evil.example": 421} {
		r, _ := http.NewRequestWithContext(within(t), http.MethodGet, m.ClientEndpoints()[0]+"/health", nil)
		r.Host = host
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, a.StatusCode, want)
		}
	}
}
