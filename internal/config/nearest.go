package config

import (
	"fmt"
	"slices"
	"strings"
)

// removed are the flags that etcd's help still shows and that etcd 3.7 itself refuses, with what to use instead.
var removed = map[string]string{
	"discovery":       "the service it names has been switched off; use --discovery-endpoints and --discovery-token, or --discovery-srv",
	"discovery-proxy": "it belonged to --discovery, which is no more",
}

// unknownName is the refusal of a flag (prefix "--") or a key (prefix "") that is no setting.
func unknownName(prefix, name string) error {
	if why := removed[name]; why != "" {
		return unknownError("%s%s is a setting that etcd 3.7 refuses too: %s.", prefix, name, why)
	}
	if near := nearest(name); near != "" {
		return unknownError("%s%s is not a setting; did you mean %s%s? See --help for all of them.", prefix, name, prefix, near)
	}
	return unknownError("%s%s is not a setting. See --help for all of them.", prefix, name)
}

func unknownVariable(variable string) Warning {
	bare := strings.TrimPrefix(strings.TrimPrefix(variable, holdfastPrefix), etcdPrefix)
	name := strings.ReplaceAll(strings.ToLower(bare), "_", "-")
	if s, ok := lookup(name); ok { // The right name with the wrong prefix: a setting that etcd does not have.
		return Warning(fmt.Sprintf("The environment variable %s is ignored; did you mean %s?", variable, s.Environment()[0]))
	}
	if why := removed[name]; why != "" {
		return Warning(fmt.Sprintf("The environment variable %s is ignored; etcd 3.7 refuses its setting too: %s.", variable, why))
	}
	if near := nearest(name); near != "" {
		s, _ := lookup(near)
		return Warning(fmt.Sprintf("The environment variable %s is ignored: it belongs to no setting; did you mean %s?",
			variable, s.Environment()[0]))
	}
	return Warning(fmt.Sprintf("The environment variable %s is ignored: it belongs to no setting.", variable))
}

// nearest returns the name in the table that a person most likely meant, or "" if none is near.
func nearest(name string) string {
	if len(name) > 64 {
		return ""
	}
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	best, bestDistance := "", 1+max(2, len(name)/3)
	for _, s := range Flags() {
		d := distance(name, s.Name)
		if d < bestDistance {
			best, bestDistance = s.Name, d
		}
	}
	return best
}

// distance is the number of single-byte insertions, deletions and replacements that turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = slices.Min([]int{replace, row[j] + 1, row[j+1] + 1})
		}
	}
	return row[len(b)]
}
