package datadir

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/internal/kind"
)

const (
	formatMagic = "holdfast data directory"
	storeMagic  = "holdfast current store"
	markerMagic = "holdfast data directory being made"
)

func encodeFormat(id kind.Identity, name string) []byte {
	return seal(formatMagic, fmt.Sprintf("cluster %x", uint64(id.Cluster)), fmt.Sprintf("member %x", uint64(id.Member)),
		fmt.Sprintf("incarnation %x", id.Incarnation), "name "+strconv.QuoteToASCII(name))
}

func decodeFormat(path string, content []byte) (id kind.Identity, name string, err error) {
	lines, err := unseal(formatMagic, path, content)
	if err != nil {
		return id, "", err
	}
	numbers := make([]uint64, 3)
	if len(lines) != 4 {
		return id, "", &Corruption{path, 0, fmt.Sprintf("it has %d lines between format and checksum, but must have 4", len(lines))}
	}
	for i, label := range []string{"cluster ", "member ", "incarnation "} {
		text, ok := strings.CutPrefix(lines[i], label)
		if numbers[i], err = strconv.ParseUint(text, 16, 64); !ok || err != nil {
			return id, "", &Corruption{path, lineOffset(content, i+2), fmt.Sprintf("the line must be %q and a hexadecimal number", strings.TrimSpace(label))}
		}
	}
	quoted, ok := strings.CutPrefix(lines[3], "name ")
	if name, err = strconv.Unquote(quoted); !ok || err != nil {
		return id, "", &Corruption{path, lineOffset(content, 5), "the line must be \"name\" and a quoted text"}
	}
	id = kind.Identity{Cluster: kind.ClusterID(numbers[0]), Member: kind.MemberID(numbers[1]), Incarnation: numbers[2]}
	if id.Cluster == 0 || id.Member == 0 {
		return kind.Identity{}, "", &Corruption{path, lineOffset(content, 2), "cluster and member must not be 0"}
	}
	return id, name, nil
}

func encodeStore(name string) []byte { return seal(storeMagic, "store "+name) }

func decodeStore(path string, content []byte) (name string, err error) {
	lines, err := unseal(storeMagic, path, content)
	if err != nil {
		return "", err
	}
	if len(lines) == 1 {
		name, _ = strings.CutPrefix(lines[0], "store ")
	}
	if _, ok := storeNumber(name); !ok || lines[0] != "store "+name {
		return "", &Corruption{path, lineOffset(content, 2), "it must name one store directory, such as store-1"}
	}
	return name, nil
}

func encodeMarker(names []string) []byte {
	lines := make([]string, len(names))
	for i, name := range names {
		lines[i] = "remove " + name
	}
	return seal(markerMagic, lines...)
}

// decodeMarker returns the names to remove. It lets through only names of the layout that Init makes, so that even
// a marker made by someone else cannot remove anything but a log and stores.
func decodeMarker(path string, content []byte) (names []string, err error) {
	lines, err := unseal(markerMagic, path, content)
	if err != nil {
		return nil, err
	}
	for i, line := range lines {
		name, ok := strings.CutPrefix(line, "remove ")
		_, isStore := storeNumber(name)
		if !ok || !isStore && name != logName && name != storeName {
			return nil, &Corruption{path, lineOffset(content, i+2), "it may name only the log, STORE and store directories"}
		}
		names = append(names, name)
	}
	return names, nil
}

// lineOffset returns where the n-th line begins, counted from 0.
func lineOffset(content []byte, n int) int64 {
	at := 0
	for range n {
		at += strings.IndexByte(string(content[at:]), '\n') + 1
	}
	return int64(at)
}
