package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/invariant"
)

// decode reads text as the value of s into c, and returns what is wrong as a clause that goes on after "but".
// The ranges and words of the row are checked, the checks that need other settings are not.
func (s Setting) decode(c *Config, text string) (complaint string) {
	switch p := s.field(c).(type) {
	case *string:
		if s.Kind == Word && !slices.Contains(s.OneOf, text) {
			return "must be " + orList(s.OneOf)
		}
		*p = text
	case *bool:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return "must be true or false"
		}
		*p = v
	case *[]string:
		*p = splitList(text)
		if len(*p) == 0 && s.Default != "" {
			return "must name at least one"
		}
	case *[]url.URL:
		if text == "" && s.Default == "" {
			*p = nil
			return ""
		}
		*p, complaint = decodeURLs(text)
	case *[]InitialMember:
		*p, complaint = decodeMembers(text)
	default:
		var v int64
		if v, complaint = s.decodeNumber(text); complaint == "" {
			s.store(p, v)
		}
	}
	return complaint
}

func (s Setting) store(field any, v int64) {
	switch p := field.(type) {
	case *int64:
		*p = v
	case *uint64:
		*p = uint64(v)
	case *uint32:
		*p = uint32(v)
	case *time.Duration:
		*p = time.Duration(v)
		if s.Kind == Milliseconds {
			*p = time.Duration(v) * time.Millisecond
		}
	default:
		invariant.Check(false, "setting %s has a field of type %T, which is not a kind of value", s.Name, field)
	}
}

// decodeNumber reads a number in the unit of the kind and checks the row's range.
func (s Setting) decodeNumber(text string) (v int64, complaint string) {
	var err error
	switch s.Kind {
	case Milliseconds:
		if v, err = strconv.ParseInt(text, 0, 64); err != nil {
			var d time.Duration
			if d, err = time.ParseDuration(text); err == nil && d%time.Millisecond != 0 {
				return 0, "must be a whole number of milliseconds"
			}
			v = int64(d / time.Millisecond)
		}
	case Duration:
		var d time.Duration
		d, err = time.ParseDuration(text)
		v = int64(d)
	case Bytes:
		v, err = parseBytes(text)
	default:
		v, err = strconv.ParseInt(text, 0, 64)
	}
	if err != nil {
		return 0, "must be " + s.allowed()
	}
	if s.Min == 0 && s.Max == 0 {
		if _, unsigned := s.field(&Config{}).(*uint64); unsigned && v < 0 {
			return 0, "must be at least 0"
		}
		return v, ""
	}
	if v < s.Min || v > s.Max {
		return 0, "must be " + s.allowed()
	}
	return v, ""
}

// allowed says in words which values the row takes.
func (s Setting) allowed() string {
	unit := map[Kind]string{
		Number: "a whole number", Milliseconds: "a whole number of milliseconds",
		Duration: "a duration such as 250ms or 2h", Bytes: "a number of bytes such as 1048576 or 64MiB",
	}[s.Kind]
	switch {
	case s.Kind == Word:
		return orList(s.OneOf)
	case s.Min == 0 && s.Max == 0:
		return unit
	}
	return fmt.Sprintf("%s from %s to %s", unit, s.formatNumber(s.Min), s.formatNumber(s.Max))
}

// format is the inverse of decode.
func (s Setting) format(c *Config) string {
	switch p := s.field(c).(type) {
	case *string:
		return *p
	case *bool:
		return strconv.FormatBool(*p)
	case *[]string:
		return strings.Join(*p, ",")
	case *[]url.URL:
		return formatURLs(*p)
	case *[]InitialMember:
		return formatMembers(*p)
	case *int64:
		return s.formatNumber(*p)
	case *uint64:
		return s.formatNumber(int64(*p))
	case *uint32:
		return s.formatNumber(int64(*p))
	case *time.Duration:
		if s.Kind == Milliseconds {
			return s.formatNumber(int64(*p / time.Millisecond))
		}
		return s.formatNumber(int64(*p))
	}
	invariant.Check(false, "setting %s has a field of no known kind", s.Name)
	return ""
}

func (s Setting) formatNumber(v int64) string {
	switch s.Kind {
	case Duration:
		return time.Duration(v).String()
	case Bytes:
		return formatBytes(v)
	}
	return strconv.FormatInt(v, 10)
}

// Value returns the value of the setting called name as it would be written in a flag, and "" for a name that is
// no setting. Lists come back sorted and without doubles where the setting keeps them so.
func (c *Config) Value(name string) string {
	s, ok := lookup(name)
	if !ok {
		return ""
	}
	return s.format(c)
}

var byteUnits = []struct {
	suffix string
	bytes  int64
}{{"GiB", gib}, {"MiB", mib}, {"KiB", kib}}

func parseBytes(text string) (int64, error) {
	for _, u := range byteUnits {
		if number, ok := strings.CutSuffix(text, u.suffix); ok {
			v, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
			if err == nil && (v > (1<<62)/u.bytes || v < -(1<<62)/u.bytes) {
				err = strconv.ErrRange
			}
			return v * u.bytes, err
		}
	}
	return strconv.ParseInt(text, 0, 64)
}

// formatBytes uses a unit only where it loses nothing and the figure is easier to read with it.
func formatBytes(v int64) string {
	for _, u := range byteUnits {
		if v != 0 && v%u.bytes == 0 {
			return strconv.FormatInt(v/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(v, 10)
}

// splitList splits at commas, drops blanks round the parts, empty parts and doubles, and keeps the order.
func splitList(text string) []string {
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return parts
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
