package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
)

// Applied is the one record that every batch rewrites: where the store stands. It reaches Pebble in the same batch
// as the effects of the entry it names (I2), so whatever a crash leaves of the store, the record tells the truth
// about the rest.
type Applied struct {
	Position       kind.Position // the last entry whose effects are whole in the store
	Revision       kind.Revision // the revision of the last command that changed keys; 1 in a new store
	Compacted      kind.Revision // reads below it are refused; 0 if nothing was compacted yet
	Digest         uint64        // the running digest over the effects of all entries so far
	Elapsed        uint64        // cluster time, in nanoseconds
	MachineVersion uint32        // the version of the machine that applied the entry
	LiveKeys       int64         // keys whose latest version is not a tombstone
	LiveBytes      int64         // bytes of keys and values of those
	Versions       int64         // versions in the store, tombstones included
}

// appliedVersion is the first byte of the record. A reader refuses any other.
const appliedVersion = 1

// AppliedLen is the length of an encoded applied record, in bytes.
const AppliedLen = 1 + 6*8 + 4 + 3*8 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeApplied returns the stored form of a (the layout is drawn in the package comment).
func EncodeApplied(a Applied) []byte { return AppendApplied(make([]byte, 0, AppliedLen), a) }

// AppendApplied appends the stored form of a to dst.
func AppendApplied(dst []byte, a Applied) []byte {
	start := len(dst)
	dst = append(dst, appliedVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.Position.Index))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.Position.Term))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.Revision))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.Compacted))
	dst = binary.BigEndian.AppendUint64(dst, a.Digest)
	dst = binary.BigEndian.AppendUint64(dst, a.Elapsed)
	dst = binary.BigEndian.AppendUint32(dst, a.MachineVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.LiveKeys))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.LiveBytes))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.Versions))
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// DecodeApplied reads the stored form. The error is ErrNewer for a version that this build does not know and a
// *Corruption for anything else that is not a record.
func DecodeApplied(b []byte) (Applied, error) {
	if len(b) > 0 && b[0] > appliedVersion {
		return Applied{}, fmt.Errorf("%w: its applied record has version %d, this build reads %d", ErrNewer, b[0], appliedVersion)
	}
	if len(b) != AppliedLen || b[0] != appliedVersion {
		return Applied{}, corrupted("the applied record has %d bytes instead of %d, or no version", len(b), AppliedLen)
	}
	body := b[:AppliedLen-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[AppliedLen-4:]) {
		return Applied{}, corrupted("the checksum of the applied record does not match")
	}
	u64 := func(i int) uint64 { return binary.BigEndian.Uint64(body[i:]) }
	return Applied{
		Position:       kind.Position{Index: kind.Index(u64(1)), Term: kind.Term(u64(9))},
		Revision:       kind.Revision(u64(17)),
		Compacted:      kind.Revision(u64(25)),
		Digest:         u64(33),
		Elapsed:        u64(41),
		MachineVersion: binary.BigEndian.Uint32(body[49:]),
		LiveKeys:       int64(u64(53)),
		LiveBytes:      int64(u64(61)),
		Versions:       int64(u64(69)),
	}, nil
}

// Applied reads the latest applied record, flushed or not.
func (db *DB) Applied() (Applied, error) { return ReadApplied(db.DB) }

// ReadApplied reads the applied record out of a snapshot, a batch or the store itself, so that a view and the
// record that describes it come from the same moment.
func ReadApplied(r pebble.Reader) (Applied, error) {
	value, closer, err := r.Get(appliedKey)
	if err != nil {
		return Applied{}, readFailure("read the applied record", err)
	}
	defer closer.Close()
	return DecodeApplied(value)
}

// Durable returns the position that survives a power cut now: it reads the applied record out of the flushed
// tables alone, never inferring it (I3). The log may be cut below it and nowhere else.
func (db *DB) Durable() (kind.Position, error) {
	it, err := db.NewIter(&pebble.IterOptions{OnlyReadGuaranteedDurable: true})
	if err != nil {
		return kind.Position{}, readFailure("read the durable applied record", err)
	}
	defer it.Close()
	if !it.SeekGE(appliedKey) || Compare(it.Key(), appliedKey) != 0 {
		if err := it.Error(); err != nil {
			return kind.Position{}, readFailure("read the durable applied record", err)
		}
		return kind.Position{}, corrupted("no flushed table holds an applied record")
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return kind.Position{}, readFailure("read the durable applied record", err)
	}
	a, err := DecodeApplied(value)
	return a.Position, err
}
