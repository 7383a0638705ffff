package discovery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/internal/config"
)

// nameServer is a name server of a few records, at a port of the loopback address.
type nameServer struct {
	srv map[string][]net.SRV // by the whole name, without the last dot
	ips map[string]string    // IPv4 addresses by host
}

// start serves until the test ends, and returns a resolver that asks it.
func (n *nameServer) start(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if answer := n.answer(b[:size]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// answer is the answer to a query of one question (RFC 1035, section 4; RFC 2782).
func (n *nameServer) answer(query []byte) []byte {
	var labels []string
	at := 12
	for at < len(query) && query[at] != 0 {
		length := int(query[at])
		labels = append(labels, string(query[at+1:at+1+length]))
		at += 1 + length
	}
	question := query[12 : at+5]
	name := strings.Join(labels, ".")
	be := binary.BigEndian
	var answers [][]byte
	switch be.Uint16(query[at+1:]) {
	case 1: // A
		if ip := n.ips[name]; ip != "" {
			answers = append(answers, net.ParseIP(ip).To4())
		}
	case 33: // SRV
		for _, r := range n.srv[name] {
			b := be.AppendUint16(be.AppendUint16(be.AppendUint16(nil, r.Priority), r.Weight), r.Port)
			for label := range strings.SplitSeq(strings.TrimSuffix(r.Target, "."), ".") {
				b = append(append(b, byte(len(label))), label...)
			}
			answers = append(answers, append(b, 0))
		}
	}
	flags := uint16(0x8180)
	if _, known := n.srv[name]; !known && n.ips[name] == "" {
		flags |= 3 // no such name
	}
	out := be.AppendUint16(append([]byte(nil), query[:2]...), flags)
	out = be.AppendUint16(be.AppendUint16(out, 1), uint16(len(answers)))
	out = append(append(out, 0, 0, 0, 0), question...)
	for _, data := range answers {
		out = append(out, 0xc0, 12) // the name of the question
		out = append(out, question[len(question)-4:]...)
		out = be.AppendUint16(be.AppendUint32(out, 60), uint16(len(data)))
		out = append(out, data...)
	}
	return out
}

func urls(t *testing.T, texts ...string) (list []url.URL) {
	t.Helper()
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, *u)
	}
	return list
}

func three() *nameServer {
	return &nameServer{
		srv: map[string][]net.SRV{
			"_etcd-server._tcp.example.test": {
				{Target: "a.example.test.", Port: 2380}, {Target: "b.example.test.", Port: 2380}, {Target: "c.example.test.", Port: 2380}},
			"_etcd-server-ssl-blue._tcp.example.test": {{Target: "a.example.test.", Port: 2390}, {Target: "b.example.test.", Port: 2390}},
		},
		ips: map[string]string{"a.example.test": "192.0.2.1", "b.example.test": "192.0.2.2", "c.example.test": "192.0.2.3"},
	}
}

// Every member comes to the same URLs, as the records write them, whether it advertises its name or its address (D1).
func TestFromDNS(t *testing.T) {
	r := three().start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	const all = "http://a.example.test:2380 http://b.example.test:2380 http://c.example.test:2380"
	for name, advertised := range map[string]string{"a": "http://a.example.test:2380", "b": "http://192.0.2.2:2380", "0": "http://C.example.test:2380"} {
		members, err := FromDNS(ctx, r, DNS{Domain: "example.test", Self: config.InitialMember{Name: name, PeerURLs: urls(t, advertised)}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var found []string
		mine := ""
		names := map[string]bool{}
		for _, m := range members {
			names[m.Name] = true
			for _, u := range m.PeerURLs {
				found = append(found, u.String())
				if m.Name == name {
					mine = u.String()
				}
			}
		}
		if got := strings.Join(sorted(found), " "); got != all || len(names) != 3 {
			t.Errorf("%s: %s, %v", name, got, names)
		}
		if difference := Difference(ctx, r, urls(t, mine), urls(t, advertised)); difference != "" {
			t.Errorf("%s is %s: %s", name, mine, difference)
		}
	}
	members, err := FromDNS(ctx, r, DNS{Domain: "example.test", Suffix: "blue", Self: config.InitialMember{Name: "b", PeerURLs: urls(t, "https://b.example.test:2390")}})
	if got := config.FormatMembers(members); err != nil || got != "0=https://a.example.test:2390,b=https://b.example.test:2390" {
		t.Errorf("with a suffix: %s, %v", got, err)
	}
}

func sorted(list []string) []string {
	out := append([]string(nil), list...)
	for i := range out {
		for j := i; j > 0 && out[j] < out[j-1]; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

// A member that is not listed, or cannot tell who all the others are, is refused (D2).
func TestFromDNSRefuses(t *testing.T) {
	n := three()
	n.srv["_etcd-server._tcp.half.test"] = []net.SRV{{Target: "a.example.test.", Port: 2380}, {Target: "unknown.test.", Port: 2380}}
	r := n.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, c := range []struct {
		domain, advertised, says string
		kind                     error
	}{
		{"example.test", "http://d.invalid:2380", "none leads to this member", ErrNotListed},
		{"example.test", "https://a.example.test:2380", "but this member advertises https://a.example.test:2380", ErrNotListed},
		{"other.test", "http://a.example.test:2380", "no SRV record of other.test", ErrNoMembers},
		{"half.test", "http://a.example.test:2380", "unknown.test", ErrMembers},
	} {
		_, err := FromDNS(ctx, r, DNS{Domain: c.domain, Self: config.InitialMember{Name: "a", PeerURLs: urls(t, c.advertised)}})
		if !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s, %s: %v", c.domain, c.advertised, err)
		}
	}
}

// broken fails the test when it is asked.
type broken struct{ t *testing.T }

func (b broken) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	b.t.Error("a name server was asked for a service")
	return "", nil, errors.New("no")
}

func (b broken) LookupIPAddr(_ context.Context, host string) ([]net.IPAddr, error) {
	b.t.Errorf("a name server was asked for %s", host)
	return nil, errors.New("no")
}

// URLs that are written alike, addresses and localhost need no name server (D3).
func TestDifference(t *testing.T) {
	r := three().start(t)
	for _, c := range []struct {
		listed, advertised []string
		asks               bool
		says               string
	}{
		{listed: []string{"http://here.test:1", "http://b:2"}, advertised: []string{"http://b:2", "http://here.test:1"}},
		{listed: []string{"http://localhost:1"}, advertised: []string{"http://127.0.0.1:1"}},
		{listed: []string{"unix:///a"}, advertised: []string{"unix:///b"}, says: "unix:///a is not the address of unix:///b"},
		{listed: []string{"http://a:1"}, advertised: []string{"http://a:1", "http://a:2"}, says: "the one list has 1 and the other 2"},
		{listed: []string{"http://127.0.0.1:1"}, advertised: []string{"https://127.0.0.1:1"}, says: "is not the address"},
		{listed: []string{"http://a.example.test:1"}, advertised: []string{"http://192.0.2.1:1"}, asks: true},
		{listed: []string{"http://a.example.test:1"}, advertised: []string{"http://192.0.2.2:1"}, asks: true, says: "is not the address"},
		{listed: []string{"http://nowhere.test:1"}, advertised: []string{"http://192.0.2.2:1"}, asks: true, says: "is not the address"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		var resolver Resolver = broken{t}
		if c.asks {
			resolver = r
		}
		if got := Difference(ctx, resolver, urls(t, c.listed...), urls(t, c.advertised...)); !strings.Contains(got, c.says) || (got == "") != (c.says == "") {
			t.Errorf("%v and %v: %q", c.listed, c.advertised, got)
		}
		cancel()
	}
}

// Whatever stands in the registry, a record is one member or none.
func FuzzDecodeRecord(f *testing.F) {
	for _, seed := range []string{"m=http://127.0.0.1:1", "m=http://a:1,m=http://a:2", "m=unix:///s", "a=http://a:1,b=http://b:1", "=", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := decodeRecord(value)
		if err != nil {
			return
		}
		if m.Name == "" || len(m.PeerURLs) == 0 {
			t.Errorf("%q is read as %v", value, m)
		}
		again, err := decodeRecord([]byte(config.FormatMembers([]config.InitialMember{m})))
		if err != nil || config.FormatMembers([]config.InitialMember{again}) != config.FormatMembers([]config.InitialMember{m}) {
			t.Errorf("%q is written as %q and read as %v, %v", value, config.FormatMembers([]config.InitialMember{m}), again, err)
		}
	})
}
