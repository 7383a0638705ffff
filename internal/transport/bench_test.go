package transport

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkAppends is what a stream of appends with one entry of 1 KiB costs both sides together: time, processor time
// and allocations for each. Sends come as from a leader under load: a few messages at a time.
func BenchmarkAppends(b *testing.B) {
	var received atomic.Int64
	a, c := start(b, 1), start(b, 2, func(_ *Config, m *member) {
		m.onReceive = func(ms []Message) { received.Add(int64(len(ms))) }
	})
	acquaint(a, c)
	eventually(b, "both are there", func() bool { _, ok := a.Active(2); return ok })
	const each = 4
	data := make([]byte, kib)
	ms := make([]Message, each)
	for i := range ms {
		ms[i] = appendOf(1, 2, uint64(i)+1, data)
	}
	queue := a.Transport.peer(2).data
	b.SetBytes(kib)
	b.ReportAllocs()
	received.Store(0)
	before := processorTime()
	sent := int64(0)
	for b.Loop() {
		if sent++; sent%each != 0 {
			continue
		}
		a.Send(ms)
		for queue.waits() > 8000 {
			time.Sleep(50 * time.Microsecond)
		}
	}
	for received.Load() < sent/each*each {
		time.Sleep(50 * time.Microsecond)
	}
	b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func (l *messageLink) waits() int {
	l.queued.Lock()
	defer l.queued.Unlock()
	return l.queued.messages
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRoundTrip is a heartbeat and its answer, one at a time.
func BenchmarkRoundTrip(b *testing.B) {
	back := make(chan struct{}, 1)
	var a, c *member
	a = start(b, 1, func(_ *Config, m *member) { m.onReceive = func([]Message) { back <- struct{}{} } })
	c = start(b, 2, func(_ *Config, m *member) { m.onReceive = func([]Message) { c.Send([]Message{heartbeat(2, 1, 1)}) } })
	acquaint(a, c)
	eventually(b, "both are there", func() bool { _, ok := a.Active(2); _, back := c.Active(1); return ok && back })
	b.ReportAllocs()
	for b.Loop() {
		a.Send([]Message{heartbeat(1, 2, 1)})
		<-back
	}
}

// BenchmarkEncode and BenchmarkDecode are an append with one entry of 1 KiB.
func BenchmarkEncode(b *testing.B) {
	m := appendOf(1, 2, 1000, make([]byte, kib))
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		var start int
		buffer, start = appendFrame(buffer[:0], frameMessages)
		buffer = appendMessage(buffer, &m, 1)
		endFrame(buffer, start)
	}
}

func BenchmarkDecode(b *testing.B) {
	m := appendOf(1, 2, 1000, make([]byte, kib))
	body := appendMessage(nil, &m, 1)
	d := messagesDecoder{1, 2, true}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.decode(body); err != nil {
			b.Fatal(err)
		}
	}
}
