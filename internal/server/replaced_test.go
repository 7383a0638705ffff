package server

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/store"
)

// Who meets a store that a snapshot has replaced long ago is told to come again.
func TestReplacedStore(t *testing.T) {
	if got := status.Code(toStatus(fmt.Errorf("open a view: %w", store.ErrReplaced))); got != codes.Unavailable {
		t.Errorf("code %v", got)
	}
}
