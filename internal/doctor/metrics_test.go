package doctor

import (
	"math"
	"testing"
)

const someMetrics = `# HELP a Something.
# TYPE a gauge
a 1.5
b{To="x y",odd="a\"}b\\"} 2 1700000000
c{} +Inf
h_bucket{le="0.1",To="p"} 90
h_bucket{le="1",To="p"} 98
h_bucket{le="+Inf",To="p"} 100
h_bucket{le="0.1",To="q"} 100
h_bucket{le="+Inf",To="q"} 100
nonsense
d{x="unended} 1
e{x} 1
f 1 2 3
`

func TestParseMetrics(t *testing.T) {
	all := parseMetrics(someMetrics)
	if len(all) != 8 {
		t.Fatalf("%d samples: %+v", len(all), all)
	}
	if v, ok := all.get("a"); !ok || v != 1.5 {
		t.Errorf("a is %v, %v", v, ok)
	}
	if v, ok := all.get("b", "odd", `a"}b\`); !ok || v != 2 {
		t.Errorf("b is %v, %v", v, ok)
	}
	if _, ok := all.get("b", "odd", "else"); ok {
		t.Error("b was found with another label")
	}
	if v, _ := all.get("c"); !math.IsInf(v, 1) {
		t.Errorf("c is %v", v)
	}
	for _, c := range []struct {
		share float64
		peer  string
		want  float64
	}{{0.5, "p", 0.1}, {0.95, "p", 1}, {0.99, "p", 1}, {0.99, "q", 0.1}} {
		if at, count := all.quantile(c.share, "h", "To", c.peer); at != c.want || count != 100 {
			t.Errorf("the quantile %v of %s is %v of %v, not %v", c.share, c.peer, at, count, c.want)
		}
	}
	if names := all.values("h_bucket", "To"); len(names) != 2 || names[0] != "p" || names[1] != "q" {
		t.Errorf("the peers are %v", names)
	}
}

func FuzzParseMetrics(f *testing.F) {
	f.Add(someMetrics)
	f.Add("a{b=\"\\n\"} NaN\n")
	f.Fuzz(func(t *testing.T, text string) {
		all := parseMetrics(text)
		for _, s := range all {
			if s.name == "" {
				t.Fatalf("a sample without a name in %q", text)
			}
			all.quantile(0.99, s.name)
			all.values(s.name, "le")
		}
		judge(&facts{limits: DefaultLimits(), all: []*observed{{metrics: all}}})
	})
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"127.0.0.1:2379", "http://[::1]:1", "unix:///a", "unixs:b", "https://x:y", "ftp://z", "://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, endpoint string) {
		a, err := parseEndpoint(endpoint, true)
		if err == nil {
			a.local()
		}
		judge(&facts{limits: DefaultLimits(), all: []*observed{{address: a, err: err}}})
	})
}
