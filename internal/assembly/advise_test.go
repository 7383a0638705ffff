package assembly

import (
	"errors"
	"strings"
	"testing"
)

// A member of a cluster whose store cannot be opened is to be replaced: with an empty directory or old data it would have
// forgotten what it acknowledged, and the first is refused.
func TestAdvise(t *testing.T) {
	cause := errors.New("the store is damaged")
	err := advise(cause)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "holdfast member replace") || strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("the advice is: %v", err)
	}
}
