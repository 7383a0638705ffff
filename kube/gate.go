package kube

import (
	"fmt"
	"strconv"
	"strings"
)

// A version is the three numbers of a release.
type version [3]int

// parseVersion reads a plain version. Apiserver takes a server whose version has a suffix, or cannot be read, for one that lacks the feature.
func parseVersion(text string) (version, error) {
	var v version
	parts := strings.Split(text, ".")
	if len(parts) != len(v) {
		return v, fmt.Errorf("version %q: want three numbers", text)
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return v, fmt.Errorf("version %q: %w", text, err)
		}
		v[i] = int(n)
	}
	return v, nil
}

func (v version) atLeast(o version) bool {
	for i := range v {
		if v[i] != o[i] {
			return v[i] > o[i]
		}
	}
	return true
}

// supportsProgress says whether consistent reads from a cache are safe on a server of this version: before 3.4.31, and from 3.5.0 to
// 3.5.12, a request for progress could be answered ahead of events.
func supportsProgress(v version) bool {
	broken := v.atLeast(version{3, 5, 0}) && !v.atLeast(version{3, 5, 13})
	return v.atLeast(version{3, 4, 31}) && !broken
}
