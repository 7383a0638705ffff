package assembly

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/kind"
	"holdfast/internal/member"
)

// defaultPeerURL is what --initial-advertise-peer-urls is where it is not set, as it need not be after the first start.
const defaultPeerURL = "http://localhost:2380"

// moved says what is to be done about a member that is started with other peer URLs than the cluster has for it: the
// others go on calling where it was, and nothing else would tell why it does not come up. It is empty where there is
// nothing to do.
func moved(id kind.MemberID, everyone []member.Member, advertised []string) string {
	i := slices.IndexFunc(everyone, func(m member.Member) bool { return m.ID == id && !m.Removed })
	if i < 0 || slices.Equal(advertised, []string{defaultPeerURL}) {
		return ""
	}
	known, now := slices.Sorted(slices.Values(everyone[i].PeerURLs)), slices.Sorted(slices.Values(advertised))
	if len(known) == 0 || slices.Equal(known, now) {
		return ""
	}
	return fmt.Sprintf("the other members know this one at %s as far as it knows, but --initial-advertise-peer-urls is %s: they cannot reach it "+
		"there until somebody runs \"holdfast member update %v --peer-urls=%s\" at another member's endpoint",
		strings.Join(known, ","), strings.Join(now, ","), id, strings.Join(now, ","))
}
