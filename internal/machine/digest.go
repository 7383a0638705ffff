package machine

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// The running digest. The digest D of a new store is 0. Each of these steps, in this order, replaces D by
// xxhash64, with the seed of the machine version (0 in version 1), of D (8 bytes, big endian) and the bytes of the step:
//
//	each entry that is not empty:                     'E' | index | elapsed
//	each command that had effects:                    the bytes of its effects, in the order in which they happened;
//	                                                  a command that lets leases expire makes a step for each of them
//	each entry that is not empty, at its end:         'N' | live keys | live bytes | versions, as they are counted
//	each change of the configuration:                 'E' | index | elapsed, then the effects of one command: the
//	                                                  configuration, each member that changed, each alarm cleared;
//	                                                  then 'N' as above
//
//	the effects of a command:
//	  a key was put        'P' | create revision | mod revision | version | lease | key | value
//	  a key was deleted    'D' | revision | key
//	  history was dropped  'C' | compacted revision
//	  a lease was granted  'G' | lease | TTL in seconds | deadline
//	  a lease was renewed  'R' | lease | deadline
//	  a lease has ended    'X' | lease, after what was deleted with it
//	  a member changed     'M' | id | its record; the configuration has the id 0
//	  an alarm was raised  'Q' | member | type, and cleared 'q' | member | type
//	  the version rose     'V' | machine version
//	  users and tokens     'A' | key | value of a record that was set, 'a' | key of one that was deleted
//
// Numbers are 8 bytes, big endian; a key, a value or a record is its length as such a number and its bytes. Elapsed
// is the cluster's time after the entry. Nothing else goes in: no reply, no encoding of a library, nothing that a
// member deletes on its own.
type digest struct {
	seed    uint64 // of the machine version that executes the entry
	value   uint64 // D after the last step
	step    xxhash.Digest
	open    bool // the step under way has bytes
	scratch []byte
}

// write adds bytes to the step under way.
func (d *digest) write(b []byte) {
	if !d.open {
		d.open = true
		d.step.ResetWithSeed(d.seed)
		var start [8]byte
		binary.BigEndian.PutUint64(start[:], d.value)
		d.step.Write(start[:])
	}
	d.step.Write(b)
}

// end ends the step under way; one without bytes is none.
func (d *digest) end() {
	if d.open {
		d.value = d.step.Sum64()
		d.open = false
	}
}

func (d *digest) entry(index kind.Index, elapsed uint64) {
	b := append(d.scratch[:0], 'E')
	b = binary.BigEndian.AppendUint64(b, uint64(index))
	b = binary.BigEndian.AppendUint64(b, elapsed)
	d.scratch = b
	d.write(b)
	d.end()
}

// counted is the last step of an entry. A counter that has gone wrong on one member is found although nothing reads it.
func (d *digest) counted(a *store.Applied) {
	d.numbers('N', uint64(a.LiveKeys), uint64(a.LiveBytes), uint64(a.Versions))
	d.end()
}

// effect is what mvcc tells of each changed key.
func (d *digest) effect(deleted bool, row mvcc.Row) {
	b := d.scratch[:0]
	if deleted {
		b = append(b, 'D')
		b = binary.BigEndian.AppendUint64(b, uint64(row.Mod))
		b = appendSized(b, row.Key())
		d.scratch = b
		d.write(b)
		return
	}
	b = append(b, 'P')
	b = binary.BigEndian.AppendUint64(b, uint64(row.Create))
	b = binary.BigEndian.AppendUint64(b, uint64(row.Mod))
	b = binary.BigEndian.AppendUint64(b, uint64(row.Version))
	b = binary.BigEndian.AppendUint64(b, uint64(row.Lease))
	b = appendSized(b, row.Key())
	value := row.Value()
	b = binary.BigEndian.AppendUint64(b, uint64(len(value)))
	d.scratch = b
	d.write(b)
	d.step.Write(value)
}

func (d *digest) compacted(revision kind.Revision) {
	d.scratch = binary.BigEndian.AppendUint64(append(d.scratch[:0], 'C'), uint64(revision))
	d.write(d.scratch)
}

func (d *digest) granted(l lease.Lease) { d.numbers('G', uint64(l.ID), uint64(l.TTL), l.Deadline) }
func (d *digest) renewed(l lease.Lease) { d.numbers('R', uint64(l.ID), l.Deadline) }
func (d *digest) leaseEnded(id kind.LeaseID) {
	d.numbers('X', uint64(id))
}

func (d *digest) numbers(what byte, numbers ...uint64) {
	b := append(d.scratch[:0], what)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	d.scratch = b
	d.write(b)
}

func (d *digest) member(id kind.MemberID, record []byte) {
	d.scratch = appendSized(binary.BigEndian.AppendUint64(append(d.scratch[:0], 'M'), uint64(id)), record)
	d.write(d.scratch)
}

func (d *digest) authSet(key, value []byte) {
	d.scratch = appendSized(appendSized(append(d.scratch[:0], 'A'), key), value)
	d.write(d.scratch)
}

func (d *digest) authDeleted(key []byte) {
	d.scratch = appendSized(append(d.scratch[:0], 'a'), key)
	d.write(d.scratch)
}

func appendSized(b, v []byte) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(v))), v...)
}
