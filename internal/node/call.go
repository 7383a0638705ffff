package node

import (
	"context"
	"fmt"

	"holdfast/internal/kind"
)

// Call answers a question of another member.
func (n *Node) Call(ctx context.Context, from kind.MemberID, method string, request []byte) ([]byte, error) {
	switch method {
	case CallSnapshot:
		return n.callSnapshot(from, request)
	case CallHash:
		return n.answerHash(ctx, request)
	}
	return nil, fmt.Errorf("this member knows no question %q; it runs another version of Holdfast", method)
}
