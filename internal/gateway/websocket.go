package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// isUpgrade reports whether a request wants to go on as a WebSocket.
func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// serveWebSocket serves a path over a WebSocket: each message of the client is one of the request's, each message to the
// client one of the response's, in JSON. A browser cannot set headers here, so its token may stand in the
// list of subprotocols, behind "Bearer".
func (g *Gateway) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	bearer, token := subprotocols(r)
	accept := &websocket.AcceptOptions{
		InsecureSkipVerify: true, // admit has looked at the origin
		CompressionMode:    websocket.CompressionDisabled,
	}
	if token != "" {
		accept.Subprotocols = []string{bearer}
	}
	conn, err := websocket.Accept(w, r, accept)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(g.maxBody())

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	body, requests := io.Pipe()
	defer func() { _ = body.Close() }()
	asked := r.Clone(ctx)
	asked.Method = http.MethodPost
	asked.Body = body
	asked.ContentLength = -1
	for _, h := range []string{"Upgrade", "Connection", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol"} {
		asked.Header.Del(h)
	}
	if token != "" && asked.Header.Get("Authorization") == "" {
		asked.Header.Set("Authorization", "Bearer "+token)
	}
	go func() {
		defer cancel() // a client that has gone waits for nothing
		feed(ctx, conn, requests, streaming(r.URL.Path))
	}()
	answers := &messageWriter{ctx: ctx, conn: conn, header: http.Header{}}
	g.mux.ServeHTTP(answers, asked)
	if answers.finish() == nil {
		_ = conn.Close(websocket.StatusNormalClosure, "")
	}
}

// feed writes the client's messages into the body of the request until the client closes. A request that is no stream
// has one message; what comes after it is not looked at.
func feed(ctx context.Context, conn *websocket.Conn, body *io.PipeWriter, stream bool) {
	for first := true; ; first = false {
		_, message, err := conn.Read(ctx)
		if err != nil {
			if websocket.CloseStatus(err) != -1 {
				err = io.EOF
			}
			_ = body.CloseWithError(err)
			return
		}
		if !first && !stream {
			continue
		}
		if _, err := body.Write(append(message, '\n')); err != nil {
			return // nobody reads any more
		}
		if !stream {
			_ = body.Close()
		}
	}
}

// subprotocols returns the word and the token of "Sec-WebSocket-Protocol: Bearer, <token>"; token is empty without.
func subprotocols(r *http.Request) (bearer, token string) {
	list := strings.Split(strings.Join(r.Header.Values("Sec-Websocket-Protocol"), ","), ",")
	if len(list) != 2 || !strings.EqualFold(strings.TrimSpace(list[0]), "bearer") {
		return "", ""
	}
	return strings.TrimSpace(list[0]), strings.TrimSpace(list[1])
}

// messageWriter is the answer to a request that came over a WebSocket: every line of it is a message.
type messageWriter struct {
	ctx    context.Context
	conn   *websocket.Conn
	header http.Header
	line   bytes.Buffer
	err    error
}

// Header returns the headers, which nobody sees: the answer's status is in its body.
func (m *messageWriter) Header() http.Header { return m.header }

// WriteHeader does nothing.
func (m *messageWriter) WriteHeader(int) {}

// Flush does nothing: a line is sent when it is whole.
func (m *messageWriter) Flush() {}

// Write sends the lines that are whole.
func (m *messageWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		m.line.Write(line)
		if whole {
			m.send()
		}
		rest = after
	}
	return len(p), m.err
}

func (m *messageWriter) send() {
	if m.err == nil && m.line.Len() > 0 {
		m.err = m.conn.Write(m.ctx, websocket.MessageText, m.line.Bytes())
	}
	m.line.Reset()
}

// finish sends what is left.
func (m *messageWriter) finish() error {
	m.send()
	return m.err
}
