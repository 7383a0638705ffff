package offline

import (
	"strings"

	"holdfast/internal/config"
)

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
