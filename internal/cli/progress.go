package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// Progress tells a person at a terminal how far long work has come, in one line that is written over. To anything else
// than a terminal it writes nothing. Its methods may be called from any goroutine.
type Progress struct {
	mu   sync.Mutex
	out  io.Writer // nil for nobody
	last time.Time
	said bool
}

// progressPause is how long a line stands at least.
const progressPause = 200 * time.Millisecond

// NewProgress returns a line on out, if that is a terminal. The first words come when the work has taken a while.
func NewProgress(out io.Writer) *Progress {
	p := &Progress{last: time.Now()}
	if f, ok := out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		p.out = f
	}
	return p
}

// Tell writes over the line, unless it was written a moment ago.
func (p *Progress) Tell(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil || time.Since(p.last) < progressPause {
		return
	}
	p.last, p.said = time.Now(), true
	fmt.Fprintf(p.out, "\r\x1b[K"+format, args...)
}

// End removes the line.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.said = false
	}
}
