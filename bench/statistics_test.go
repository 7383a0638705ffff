package main

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/grpc"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestMedian holds the middle of odd, even and no values.
func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

// TestPercentile holds the smallest value that enough others do not exceed.
func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i)
	}
	for _, c := range []struct {
		share float64
		want  time.Duration
	}{{0, 1}, {0.5, 50}, {0.99, 99}, {0.991, 100}, {1, 100}} {
		if got := percentile(hundred, c.share); got != c.want {
			t.Errorf("%v of 1 to 100 is %d, want %d", c.share, got, c.want)
		}
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

// TestParseStat holds that a name with blanks and brackets does not shift the fields.
func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte("42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0"))
	if err != nil || got != 2*time.Second {
		t.Errorf("%v, %v; want 2 s", got, err)
	}
	for _, bad := range []string{"", "42 (a", "42 (a) S 1 2", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x 50 0"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestParseStatus holds the unit of VmRSS.
func TestParseStatus(t *testing.T) {
	got, err := parseStatus([]byte("Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t    1024 kB\n"), "VmRSS:")
	if err != nil || got != 1<<20 {
		t.Errorf("%d, %v; want 1 MiB", got, err)
	}
	if _, err := parseStatus([]byte("Name:\tx\n"), "VmRSS:"); err == nil {
		t.Error("a status without VmRSS was taken")
	}
}

// counter is a KV service that counts puts by key.
type counter struct {
	pb.KVClient
	puts map[string]int
	last string
	rose int // puts of a key above all before
}

func (c *counter) Put(_ context.Context, p *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	k := string(p.Key)
	c.puts[k]++
	if k > c.last {
		c.last = k
		c.rose++
	}
	return &pb.PutResponse{}, nil
}

// TestHalfOverwrite holds rule B5: a load of puts writes every key exactly twice, in random order.
func TestHalfOverwrite(t *testing.T) {
	const n = 1000
	c := &counter{puts: map[string]int{}}
	l := puts(1, n)
	for i := range n {
		if err := l.do(context.Background(), api{KVClient: c}, rand.New(rand.NewPCG(1, 1)), i); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.puts) != n/2 {
		t.Errorf("%d keys were put, want %d", len(c.puts), n/2)
	}
	for k, times := range c.puts {
		if times != 2 {
			t.Errorf("%q was put %d times", k, times)
		}
	}
	if c.rose > n/10 {
		t.Errorf("keys are nearly in order: %d of %d exceed all before", c.rose, n)
	}
}

// TestMarks holds that every mark names a row and is kept as it says.
func TestMarks(t *testing.T) {
	marks, err := readMarks(marksFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range marks {
		if _, err := chooseRows(m.Row); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		mark           mark
		holdfast, etcd float64
		want           bool
	}{
		{mark{Ratio: 0.5}, 4, 10, true},
		{mark{Ratio: 0.5}, 6, 10, false},
		{mark{Ratio: 0.5, Seconds: 1}, 2, 10, false},
		{mark{Ratio: 0.5, Seconds: 1}, 0.9, 10, true},
		{mark{Value: 1.1}, 1.1, 2, true},
		{mark{Value: 1.1}, 1.2, 2, false},
		{mark{AtMost: singlePutMark}, 0.39, 10, true},
		{mark{AtMost: singlePutMark}, 0.41, 10, false},
	} {
		l := line{Holdfast: c.holdfast, Etcd: c.etcd, Ratio: c.holdfast / c.etcd}
		l.hold(c.mark, 0.1)
		if *l.Reached != c.want {
			t.Errorf("%+v with %v against %v: reached %v", c.mark, c.holdfast, c.etcd, *l.Reached)
		}
	}
	if _, err := readMarks([]byte(`[{"row":"put-1","atMost":"a while"}]`)); err == nil {
		t.Error("a mark that nobody can hold was taken")
	}
}
