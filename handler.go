package holdfast

import (
	"context"
	"fmt"

	"holdfast/internal/kind"
	"holdfast/internal/node"
	"holdfast/internal/transport"
)

// handler is the node as its transport sees it, with calls that it does not answer refused.
func (m *Member) handler() transport.Handler {
	if h, ok := any(m.node).(transport.Handler); ok {
		return h
	}
	return uncalled{m.node}
}

type uncalled struct{ *node.Node }

func (uncalled) Call(_ context.Context, from kind.MemberID, method string, _ []byte) ([]byte, error) {
	return nil, fmt.Errorf("member %v calls %s, which this version does not answer", from, method)
}
