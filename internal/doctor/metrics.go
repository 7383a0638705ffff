package doctor

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// sample is one line of what /metrics answers: a name with labels, and a value.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// samples is what one reading of /metrics has brought.
type samples []sample

// parseMetrics reads the text format of Prometheus. Comments and lines that are none of the format's are passed over: what
// is missing is found by who looks for it.
func parseMetrics(text string) (all samples) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if s, ok := parseSample(line); ok {
			all = append(all, s)
		}
	}
	return all
}

func parseSample(line string) (s sample, ok bool) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return sample{}, false
	}
	s.name, line = line[:end], line[end:]
	if line[0] == '{' {
		if s.labels, line, ok = parseLabels(line[1:]); !ok {
			return sample{}, false
		}
	}
	fields := strings.Fields(line) // the value, and perhaps a time
	if len(fields) == 0 || len(fields) > 2 {
		return sample{}, false
	}
	value, err := strconv.ParseFloat(fields[0], 64)
	s.value = value
	return s, err == nil
}

// parseLabels reads name="value" pairs up to the closing brace and returns what stands behind it.
func parseLabels(text string) (labels map[string]string, rest string, ok bool) {
	labels = make(map[string]string)
	for {
		text = strings.TrimLeft(text, ", \t")
		if rest, ok = strings.CutPrefix(text, "}"); ok {
			return labels, rest, true
		}
		name, quoted, found := strings.Cut(text, "=")
		if !found || name == "" {
			return nil, "", false
		}
		prefix, err := strconv.QuotedPrefix(quoted)
		if err != nil {
			return nil, "", false
		}
		value, err := strconv.Unquote(prefix)
		if err != nil {
			return nil, "", false
		}
		labels[name], text = value, quoted[len(prefix):]
	}
}

// get returns the first value under a name whose labels hold the pair, if one is given.
func (all samples) get(name string, pair ...string) (value float64, ok bool) {
	for _, s := range all {
		if s.name == name && (len(pair) < 2 || s.labels[pair[0]] == pair[1]) {
			return s.value, true
		}
	}
	return 0, false
}

// bucket is one of a histogram: so many were at most so much.
type bucket struct{ upTo, count float64 }

// quantile returns the upper end of the bucket of a histogram in which a share of all observations is reached, and how
// many there were. A pair selects one histogram of several. Of what lies above the last bound, that bound is returned.
func (all samples) quantile(share float64, name string, pair ...string) (value float64, count float64) {
	var buckets []bucket
	for _, s := range all {
		if s.name != name+"_bucket" || len(pair) == 2 && s.labels[pair[0]] != pair[1] {
			continue
		}
		upTo, err := strconv.ParseFloat(s.labels["le"], 64)
		if err == nil && !math.IsNaN(upTo) {
			buckets = append(buckets, bucket{upTo, s.value})
		}
	}
	if len(buckets) == 0 {
		return 0, 0
	}
	slices.SortFunc(buckets, func(a, b bucket) int {
		switch {
		case a.upTo < b.upTo:
			return -1
		case a.upTo > b.upTo:
			return 1
		}
		return 0
	})
	count = buckets[len(buckets)-1].count
	for i, b := range buckets {
		if b.count >= share*count {
			if math.IsInf(b.upTo, 1) && i > 0 {
				return buckets[i-1].upTo, count
			}
			return b.upTo, count
		}
	}
	return buckets[len(buckets)-1].upTo, count
}

// values returns the distinct values of a label under a name, in order.
func (all samples) values(name, label string) (found []string) {
	for _, s := range all {
		if v := s.labels[label]; s.name == name && v != "" && !slices.Contains(found, v) {
			found = append(found, v)
		}
	}
	slices.Sort(found)
	return found
}
