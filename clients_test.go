package holdfast_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// jsonClient speaks to the gateway of a built server as the clients do that have no gRPC: every call on HTTP/1.1, with the
// headers that the client sends, and nothing that it does not send.
type jsonClient struct {
	t       *testing.T
	base    string // with the prefix of the API
	headers map[string]string
	term    int64 // the highest that was seen
	cluster string
}

func newJSONClient(t *testing.T, base string, headers map[string]string) *jsonClient {
	return &jsonClient{t: t, base: base, headers: headers}
}

// do sends a request and leaves the body to be read.
func (c *jsonClient) do(method, to string, fields any) *http.Response {
	c.t.Helper()
	var body io.Reader
	if fields != nil {
		text, err := json.Marshal(fields)
		if err != nil {
			c.t.Fatal(err)
		}
		body = strings.NewReader(string(text))
	}
	r, err := http.NewRequestWithContext(within(c.t), method, to, body)
	if err != nil {
		c.t.Fatal(err)
	}
	for name, value := range c.headers {
		r.Header.Set(name, value)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	if a.ProtoMajor != 1 {
		c.t.Errorf("%s was answered with %s", to, a.Proto)
	}
	return a
}

// call is one request and its answer. Like Patroni it looks at the header of each answer: the cluster stays the same, the
// term never goes back, and all 64-bit numbers are strings.
func (c *jsonClient) call(path string, fields any) (int, map[string]any) {
	c.t.Helper()
	a := c.do(http.MethodPost, c.base+path, fields)
	defer a.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(a.Body).Decode(&answer); err != nil {
		c.t.Fatalf("%s answered %d, no JSON: %v", path, a.StatusCode, err)
	}
	header := at(answer, "header")
	if header == nil {
		header = at(answer, "result", "header")
	}
	if header != nil {
		c.look(path, header)
	}
	return a.StatusCode, answer
}

func (c *jsonClient) look(path string, header any) {
	c.t.Helper()
	for _, name := range []string{"cluster_id", "member_id", "raft_term"} {
		if text, _ := at(header, name).(string); text == "" {
			c.t.Errorf("%s: the header's %s is %v, not a string", path, name, at(header, name))
		}
	}
	cluster, _ := at(header, "cluster_id").(string)
	if c.cluster == "" {
		c.cluster = cluster
	}
	if cluster != c.cluster {
		c.t.Errorf("%s: the cluster was %s and is %s", path, c.cluster, cluster)
	}
	term := whole(c.t, at(header, "raft_term"))
	if term < c.term {
		c.t.Errorf("%s: the term was %d and is %d", path, c.term, term)
	}
	c.term = term
}

// must is call for what has to be answered with 200.
func (c *jsonClient) must(path string, fields any) map[string]any {
	c.t.Helper()
	code, answer := c.call(path, fields)
	if code != http.StatusOK || answer["error"] != nil {
		c.t.Fatalf("%s: %d %v", path, code, answer)
	}
	return answer
}

// whole is a 64-bit number as JSON holds it: the text of one.
func whole(t *testing.T, v any) int64 {
	t.Helper()
	text, _ := v.(string)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Errorf("%#v is not the text of a number", v)
	}
	return n
}

// numbers parses a version as Patroni does: split at the points, each an int().
func numbers(t *testing.T, version any) []int {
	t.Helper()
	text, _ := version.(string)
	var ns []int
	for _, part := range strings.Split(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			t.Fatalf("int() fails with the version %q", text)
		}
		ns = append(ns, n)
	}
	return ns
}

// fields is a JSON object.
type fields = map[string]any

// watchLines opens a watch and returns a function that reads its next message. Both clients want HTTP chunks, and Patroni
// cuts them at the braces, not at the lines.
func (c *jsonClient) watchLines(create fields) func() map[string]any {
	c.t.Helper()
	a := c.do(http.MethodPost, c.base+"/watch", fields{"create_request": create})
	c.t.Cleanup(func() { _ = a.Body.Close() })
	if a.StatusCode != http.StatusOK || !slices.Equal(a.TransferEncoding, []string{"chunked"}) {
		c.t.Fatalf("watch: %d, transfer encoding %q", a.StatusCode, a.TransferEncoding)
	}
	messages := json.NewDecoder(a.Body)
	return func() map[string]any {
		c.t.Helper()
		var m map[string]any
		if err := messages.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			c.t.Fatal(err)
		}
		return m
	}
}

// version is how both begin: GET /version, without a body.
func (c *jsonClient) version(server string) (etcdserver, etcdcluster []int) {
	c.t.Helper()
	a := c.do(http.MethodGet, server+"/version", nil)
	defer a.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(a.Body).Decode(&answer); err != nil || a.StatusCode != http.StatusOK {
		c.t.Fatalf("/version: %d, %v", a.StatusCode, err)
	}
	return numbers(c.t, answer["etcdserver"]), numbers(c.t, answer["etcdcluster"])
}

// enableAuth makes a root and a user of one prefix, through the gateway too.
func (c *jsonClient) enableAuth(user, password, prefix string) {
	c.t.Helper()
	c.must("/auth/user/add", fields{"name": "root", "password": "secret"})
	c.must("/auth/user/grant", fields{"user": "root", "role": "root"})
	c.must("/auth/role/add", fields{"name": user})
	c.must("/auth/role/grant", fields{"name": user, "perm": fields{"permType": "READWRITE", "key": b64(prefix), "range_end": b64(after(prefix))}})
	c.must("/auth/user/add", fields{"name": user, "password": password})
	c.must("/auth/user/grant", fields{"user": user, "role": user})
	c.must("/auth/enable", fields{})
}

// after is the end of the range of all keys with a prefix.
func after(prefix string) string {
	return prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1)
}

// TestPatroni makes the calls of Patroni's etcd3 module (patroni/dcs/etcd3.py), in the order in which a new cluster of
// PostgreSQL makes them, without a Content-Type, and reads of the answers what that reads.
func TestPatroni(t *testing.T) {
	s := startServer(t)
	c := newJSONClient(t, s.Endpoint()+"/v3beta", map[string]string{"User-Agent": "Patroni/4.0.4", "Accept-Encoding": "identity"})
	server, cluster := c.version(s.Endpoint())
	if slices.Compare(server, []int{3, 0, 4}) < 0 || len(server) != 3 || slices.Compare(cluster, []int{3, 4}) < 0 {
		t.Fatalf("versions %v and %v: Patroni would not take the prefix /v3", server, cluster)
	}
	// The prefix of before the version was known serves too.
	if list := c.must("/cluster/member/list", fields{}); at(list, "members", 0, "clientURLs", 0) != s.Endpoint() {
		t.Errorf("members: %v", list)
	}
	c.base = s.Endpoint() + "/v3"

	all := fields{"key": b64("/service/pg/"), "range_end": b64(after("/service/pg/"))}
	serializable := fields{"key": all["key"], "range_end": all["range_end"], "serializable": true}
	if got := c.must("/kv/range", serializable); got["kvs"] != nil {
		t.Errorf("an empty range: %v", got)
	}

	// The race for the initialisation, and for the leader's key: put if create_revision is 0, EQUAL not said.
	lease, _ := c.must("/lease/grant", fields{"TTL": 30})["ID"].(string)
	leader := fields{"key": b64("/service/pg/leader"), "value": b64("node1"), "lease": lease}
	absent := fields{"key": leader["key"], "target": "CREATE", "create_revision": "0"}
	acquire := fields{"compare": []any{absent}, "success": []any{fields{"request_put": leader}}}
	if won := c.must("/kv/txn", acquire); won["succeeded"] != true {
		t.Fatalf("the first does not become the leader: %v", won)
	}
	// Who is not the first is told so by the field being absent.
	if lost := c.must("/kv/txn", acquire); lost["succeeded"] != nil {
		t.Errorf("a second leader: %v", lost)
	}
	// With the failure a transaction of its own: take the key over if it is there with this value.
	own := fields{"key": leader["key"], "target": "VALUE", "value": b64("node1")}
	acquire["failure"] = []any{fields{"request_txn": fields{"compare": []any{own}, "success": []any{fields{"request_put": leader}}, "failure": []any{}}}}
	nested := c.must("/kv/txn", acquire)
	if nested["succeeded"] != nil || at(nested, "responses", 0, "response_txn", "succeeded") != true {
		t.Errorf("the nested transaction: %v", nested)
	}

	got := c.must("/kv/range", serializable)
	kv := at(got, "kvs", 0)
	if at(kv, "key") != leader["key"] || at(kv, "value") != leader["value"] || at(kv, "lease") != lease {
		t.Errorf("the leader's key: %v", got)
	}
	revision, modified := whole(t, at(got, "header", "revision")), whole(t, at(kv, "mod_revision"))
	if revision != 3 || modified != 3 || whole(t, at(kv, "create_revision")) != 2 || whole(t, at(kv, "version")) != 2 || whole(t, got["count"]) != 1 {
		t.Errorf("numbers: %v", got)
	}

	// Its cache is a watch from the next revision on, that a put, a delete by mod_revision and a keep-alive go by.
	next := c.watchLines(fields{"key": all["key"], "range_end": all["range_end"], "start_revision": strconv.FormatInt(revision+1, 10)})
	if m := next(); at(m, "result", "created") != true {
		t.Fatalf("watch: %v", m)
	}
	c.must("/kv/put", fields{"key": b64("/service/pg/status"), "value": b64(`{"optime":1}`)})
	if m := next(); at(m, "result", "events", 0, "kv", "key") != b64("/service/pg/status") || at(m, "result", "events", 0, "type") != nil {
		t.Errorf("a put: %v", m) // the type is 0, which is absent
	}
	drop := func(mod string) map[string]any {
		return c.must("/kv/txn", fields{
			"compare": []any{fields{"key": leader["key"], "target": "MOD", "mod_revision": mod}},
			"success": []any{fields{"request_delete_range": fields{"key": leader["key"]}}},
		})
	}
	if drop("2")["succeeded"] != nil || drop(strconv.FormatInt(modified, 10))["succeeded"] != true {
		t.Error("deleting by mod_revision")
	}
	if m := next(); at(m, "result", "events", 0, "type") != "DELETE" || at(m, "result", "events", 0, "kv", "key") != leader["key"] {
		t.Errorf("a delete: %v", m)
	}
	if kept := c.must("/lease/keepalive", fields{"ID": lease}); whole(t, at(kept, "result", "TTL")) != 30 {
		t.Errorf("keep-alive: %v", kept)
	}
	// A lease that is gone is told by the TTL being absent, not by an error.
	if gone := c.must("/lease/keepalive", fields{"ID": "7587848390000000000"}); at(gone, "result", "ID") == nil || at(gone, "result", "TTL") != nil {
		t.Errorf("keep-alive of a lease that is gone: %v", gone)
	}
	refused := func(path string, f fields, status int, code float64, text string) {
		t.Helper()
		if s, a := c.call(path, f); s != status || a["code"] != code || a["error"] != text || a["message"] != text {
			t.Errorf("%s: %d %v, want %d %v %q", path, s, a, status, code, text)
		}
	}
	refused("/kv/put", fields{"key": b64("k"), "lease": "7587848390000000000"}, 404, 5, "etcdserver: requested lease not found")
	refused("/kv/range", fields{"key": b64("k"), "revision": "99"}, 400, 11, "etcdserver: mvcc: required revision is a future revision")
	refused("/auth/authenticate", fields{"name": "patroni", "password": "p"}, 400, 9, "etcdserver: authentication is not enabled")

	// The term that it compares across restarts does not go back.
	s.Restart()
	if list := c.must("/cluster/member/list", fields{}); at(list, "members", 0, "name") == nil {
		t.Errorf("members: %v", list)
	}

	// With a user: the token stands alone in the header, without "Bearer".
	c.enableAuth("patroni", "p", "/service/")
	refused("/kv/range", all, 400, 3, "etcdserver: user name is empty")
	refused("/auth/authenticate", fields{"name": "patroni", "password": "q"}, 400, 3, "etcdserver: authentication failed, invalid user ID or password")
	token, _ := c.must("/auth/authenticate", fields{"name": "patroni", "password": "p"})["token"].(string)
	c.headers["authorization"] = token
	c.must("/kv/range", all)
	refused("/kv/put", fields{"key": b64("/elsewhere")}, 403, 7, "etcdserver: permission denied")
	c.headers["authorization"] = "nobody's"
	refused("/kv/range", all, 401, 16, "etcdserver: invalid auth token")
}

// TestAPISIX makes the calls of lua-resty-etcd (lib/resty/etcd/v3.lua) as APISIX does: the version, all of its configuration
// at once and a watch after it, changes by its admin API, and leases by the paths with kv in them.
func TestAPISIX(t *testing.T) {
	s := startServer(t)
	c := newJSONClient(t, s.Endpoint()+"/v3", map[string]string{"User-Agent": "lua-resty-http/0.17.1 (Lua) ngx_lua/10026", "Content-Type": "application/json"})
	if server, _ := c.version(s.Endpoint()); slices.Compare(server, []int{3, 4, 0}) < 0 {
		t.Fatalf("version %v", server)
	}
	c.enableAuth("apisix", "a", "/apisix")
	answer := c.must("/auth/authenticate", fields{"name": "apisix", "password": "a"})
	token, _ := answer["token"].(string)
	if token == "" {
		t.Fatalf("authenticate: %v", answer)
	}
	c.headers["Authorization"] = token

	// The admin API: a directory's marker, then a route, by put and by a transaction on its revision.
	route := func(n int, uri string) fields {
		return fields{"key": b64(fmt.Sprintf("/apisix/routes/%d", n)), "value": b64(`{"uri":"` + uri + `"}`)}
	}
	c.must("/kv/put", fields{"key": b64("/apisix/routes/"), "value": b64("init_dir")})
	first := c.must("/kv/put", route(1, "/a"))
	again := c.must("/kv/txn", fields{
		"compare": []any{fields{"key": route(1, "")["key"], "target": "MOD", "result": "EQUAL", "mod_revision": at(first, "header", "revision")}},
		"success": []any{fields{"requestPut": route(1, "/b")}},
		"failure": []any{fields{"requestRange": fields{"key": route(1, "")["key"]}}},
	})
	if again["succeeded"] != true || at(again, "responses", 0, "response_put") == nil {
		t.Fatalf("txn, with names as protobuf's JSON has them: %v", again)
	}
	prev := fields{"prev_kv": true}
	for k, v := range route(1, "/c") {
		prev[k] = v
	}
	if got := c.must("/kv/put", prev); at(got, "prev_kv", "value") != route(1, "/b")["value"] {
		t.Errorf("put with prev_kv: %v", got)
	}

	// readdir, with all that the library may send along.
	dir := fields{"key": b64("/apisix/routes/"), "range_end": b64("/apisix/routes0")}
	read := fields{"limit": 0, "revision": nil, "sort_order": "ASCEND", "sort_target": "KEY", "serializable": false, "keys_only": false, "count_only": false}
	for k, v := range dir {
		read[k] = v
	}
	got := c.must("/kv/range", read)
	if got["count"] != "2" || at(got, "kvs", 1, "value") != route(1, "/c")["value"] {
		t.Fatalf("readdir: %v", got)
	}
	// waitdir: it decodes line by line, and wants each change with the revision that it goes on from.
	watch := fields{"start_revision": whole(t, at(got, "header", "revision")) + 1, "progress_notify": true, "prev_kv": true}
	for k, v := range dir {
		watch[k] = v
	}
	next := c.watchLines(watch)
	if m := next(); at(m, "result", "created") != true {
		t.Fatalf("watch: %v", m)
	}
	c.must("/kv/put", route(2, "/d"))
	if m := next(); at(m, "result", "events", 0, "kv", "value") != route(2, "/d")["value"] || at(m, "result", "events", 0, "kv", "mod_revision") != at(m, "result", "header", "revision") {
		t.Errorf("event: %v", m)
	}
	if gone := c.must("/kv/deleterange", fields{"key": route(2, "")["key"], "prev_kv": true}); gone["deleted"] != "1" || at(gone, "prev_kvs", 0, "value") != route(2, "/d")["value"] {
		t.Errorf("delete: %v", gone)
	}
	if m := next(); at(m, "result", "events", 0, "type") != "DELETE" {
		t.Errorf("event: %v", m)
	}

	// The registration of a data plane, by a lease, and by the paths that etcd calls old.
	lease, _ := c.must("/lease/grant", fields{"TTL": 60, "ID": 0})["ID"].(string)
	c.must("/kv/put", fields{"key": b64("/apisix/data_plane/server_info/1"), "value": b64("{}"), "lease": lease})
	ttl := c.must("/kv/lease/timetolive", fields{"ID": lease, "keys": true})
	key, err := base64.StdEncoding.DecodeString(fmt.Sprint(at(ttl, "keys", 0)))
	if err != nil || string(key) != "/apisix/data_plane/server_info/1" || ttl["grantedTTL"] != "60" {
		t.Errorf("time to live: %v", ttl)
	}
	if kept := c.must("/lease/keepalive", fields{"ID": lease}); at(kept, "result", "TTL") != "60" {
		t.Errorf("keep-alive: %v", kept)
	}
	if list := c.must("/lease/leases", fields{}); at(list, "leases", 0, "ID") != lease {
		t.Errorf("leases: %v", list)
	}
	c.must("/kv/lease/revoke", fields{"ID": lease})
	if got := c.must("/kv/range", fields{"key": b64("/apisix/data_plane/server_info/1")}); got["kvs"] != nil {
		t.Errorf("after the lease: %v", got)
	}

	// It goes over all its configuration again when the revision that it watched from is compacted, which the message says.
	revision := at(c.must("/kv/put", route(3, "/e")), "header", "revision")
	c.headers["Authorization"] = fmt.Sprint(c.must("/auth/authenticate", fields{"name": "root", "password": "secret"})["token"])
	c.must("/kv/compaction", fields{"revision": revision})
	c.headers["Authorization"] = token
	watch["start_revision"] = 1
	next = c.watchLines(watch)
	m := next()
	if at(m, "result", "compact_revision") == nil {
		m = next()
	}
	if at(m, "result", "canceled") != true || at(m, "result", "compact_revision") != revision {
		t.Errorf("a watch from a compacted revision: %v", m)
	}
	// An endpoint is marked as down by a status of 500 and above, so what is refused has less.
	if code, refused := c.call("/kv/range", fields{"key": b64("/other")}); code != http.StatusForbidden || refused["error"] != "etcdserver: permission denied" {
		t.Errorf("another's key: %d %v", code, refused)
	}
}
