package assembly

import (
	"strings"
	"testing"

	"holdfast/internal/kind"
	"holdfast/internal/member"
)

// Who starts with other peer URLs than the cluster has is told the command; who leaves the setting out, or has given the
// same ones in another order, is not.
func TestMoved(t *testing.T) {
	everyone := []member.Member{{ID: 7, PeerURLs: []string{"http://a:1", "http://b:1"}}, {ID: 8, PeerURLs: []string{"http://c:1"}}, {ID: 9, Removed: true}}
	if s := moved(7, everyone, []string{"http://d:1", "http://b:1"}); !strings.Contains(s, "member update 7 --peer-urls=http://b:1,http://d:1") {
		t.Errorf("it says %q", s)
	}
	for id, advertised := range map[kind.MemberID][]string{7: {"http://b:1", "http://a:1"}, 8: {defaultPeerURL}, 9: {"http://x:1"}, 10: {"http://x:1"}} {
		if s := moved(id, everyone, advertised); s != "" {
			t.Errorf("member %v is told %q", id, s)
		}
	}
}
