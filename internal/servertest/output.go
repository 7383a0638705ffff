package servertest

import "sync"

// outputLimit is how many bytes of a server's output are kept at least.
const outputLimit = 1 << 20

// output keeps the end of what a server writes.
type output struct {
	mu    sync.Mutex
	bytes []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes = append(o.bytes, b...)
	if len(o.bytes) > 2*outputLimit {
		o.bytes = append([]byte(nil), o.bytes[len(o.bytes)-outputLimit:]...)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.bytes)
}
