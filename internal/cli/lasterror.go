package cli

import (
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// lastError is a log that keeps nothing but the last error the client library wrote into it: the library tells
// there, and not in the error it returns, why no member could be reached.
type lastError struct {
	mu   sync.Mutex
	last string
}

func (l *lastError) logger() *zap.Logger { return zap.New(l) }

// text returns the reason, shorn of the layers that carried it; empty if there was none.
func (l *lastError) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.last
	for _, layer := range []string{"desc = ", "latest balancer error: ", "connection error: ", "transport: ", "Error while dialing: "} {
		if _, after, ok := strings.Cut(text, layer); ok {
			text = strings.TrimPrefix(after, "desc = ")
		}
		text = strings.Trim(text, `"`)
	}
	return text
}

func (l *lastError) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (l *lastError) With([]zapcore.Field) zapcore.Core { return l }

func (l *lastError) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(e.Level) {
		return ce.AddCore(e, l)
	}
	return ce
}

func (l *lastError) Write(_ zapcore.Entry, fields []zapcore.Field) error {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Key == "error" {
			l.mu.Lock()
			l.last = err.Error()
			l.mu.Unlock()
		}
	}
	return nil
}

func (l *lastError) Sync() error { return nil }
