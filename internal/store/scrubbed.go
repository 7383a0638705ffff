package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
)

// Scrubbed is how far a member has come with reading its store over. It is a local record, all numbers big endian:
//
//	01 | finished u64 | running u8 | next u64 | crc32c u32
//
// It is written without a sync: what a crash loses of it is read once more.
type Scrubbed struct {
	Finished int64  // when the last pass was over, in seconds since 1970 by a wall clock that may be wrong; 0 for never
	Running  bool   // a pass is under way
	Next     uint64 // in it all tables with lower numbers have been read
}

const (
	scrubbedVersion = 1
	scrubbedLen     = 1 + 8 + 1 + 8 + 4
)

var scrubbedKey = LocalKey("scrubbed")

func encodeScrubbed(s Scrubbed) []byte {
	b := append(make([]byte, 0, scrubbedLen), scrubbedVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Finished))
	running := byte(0)
	if s.Running {
		running = 1
	}
	b = append(b, running)
	b = binary.BigEndian.AppendUint64(b, s.Next)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeScrubbed(b []byte) (Scrubbed, error) {
	if len(b) > 0 && b[0] > scrubbedVersion {
		return Scrubbed{}, ErrNewer
	}
	if len(b) != scrubbedLen || b[0] != scrubbedVersion || b[9] > 1 ||
		crc32.Checksum(b[:scrubbedLen-4], castagnoli) != binary.BigEndian.Uint32(b[scrubbedLen-4:]) {
		return Scrubbed{}, corrupted("the record of how far the store was read over is not what was written")
	}
	return Scrubbed{Finished: int64(binary.BigEndian.Uint64(b[1:])), Running: b[9] == 1, Next: binary.BigEndian.Uint64(b[10:])}, nil
}

// Scrubbed returns the record; ok is false in a store that has none yet.
func (db *DB) Scrubbed() (s Scrubbed, ok bool, err error) {
	value, closer, err := db.Get(scrubbedKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return Scrubbed{}, false, nil
	}
	if err != nil {
		return Scrubbed{}, false, readFailure("read how far the store was read over", err)
	}
	s, err = decodeScrubbed(value)
	return s, err == nil, errors.Join(err, closer.Close())
}

// SetScrubbed replaces the record. It may run beside the store's other writers.
func (db *DB) SetScrubbed(s Scrubbed) (err error) {
	defer func() {
		if e := Recovered(recover()); e != nil {
			err = e
		}
	}()
	return WrapRead("note how far the store was read over", db.Set(scrubbedKey, encodeScrubbed(s), pebble.NoSync))
}
