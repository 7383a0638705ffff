package offline

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"holdfast/internal/config"
)

// progress tells a person at a terminal how far long work has come, in one line that is written over.
type progress struct {
	out  io.Writer // nil for nobody
	last time.Time
	said bool
}

// progressPause is how long a line stands at least.
const progressPause = 200 * time.Millisecond

func newProgress(out io.Writer) *progress {
	p := &progress{last: time.Now()}
	if f, ok := out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		p.out = f
	}
	return p
}

func (p *progress) tell(format string, args ...any) {
	if p.out == nil || time.Since(p.last) < progressPause {
		return
	}
	p.last, p.said = time.Now(), true
	fmt.Fprintf(p.out, "\r\x1b[K"+format, args...)
}

// end removes the line.
func (p *progress) end() {
	if p.said {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// members writes a list as --initial-cluster takes it.
func members(list []config.InitialMember) string {
	var pairs []string
	for _, m := range list {
		for _, u := range m.PeerURLs {
			pairs = append(pairs, m.Name+"="+u.String())
		}
	}
	return strings.Join(pairs, ",")
}
