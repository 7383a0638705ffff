package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

const recordVersion = 1

const (
	flagLearner   = 1
	flagRemoved   = 2
	flagAutoLeave = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var confStateKey = store.AppendKey(nil, store.FamilyMember, "c")

// ErrRecord says that a stored record is broken or of a version that this program does not know.
var ErrRecord = errors.New("a record of the cluster's members cannot be read")

func memberKey(id kind.MemberID) []byte {
	return store.AppendKey(nil, store.FamilyMember, string(binary.BigEndian.AppendUint64([]byte{'m'}, uint64(id))))
}

// Encode returns the stored form of m without its id, which is the key.
func Encode(m Member) []byte {
	var flags byte
	if m.Learner {
		flags |= flagLearner
	}
	if m.Removed {
		flags |= flagRemoved
	}
	b := []byte{recordVersion, flags}
	b = appendString(b, m.Name)
	b = appendStrings(b, m.PeerURLs)
	b = appendStrings(b, m.ClientURLs)
	return seal(b)
}

// Decode reads the stored form of the member with this id. The error is ErrRecord.
func Decode(id kind.MemberID, b []byte) (Member, error) {
	r, flags, err := unseal(b)
	if err != nil {
		return Member{}, fmt.Errorf("member %v: %w", id, err)
	}
	m := Member{ID: id, Learner: flags&flagLearner != 0, Removed: flags&flagRemoved != 0}
	m.Name = r.string()
	m.PeerURLs = r.strings()
	m.ClientURLs = r.strings()
	if flags&^(flagLearner|flagRemoved) != 0 || !r.done() {
		return Member{}, fmt.Errorf("member %v: %w", id, ErrRecord)
	}
	return m, nil
}

// EncodeConfState returns the stored form of Raft's configuration.
func EncodeConfState(cs *raftpb.ConfState) []byte {
	var flags byte
	if cs.GetAutoLeave() {
		flags = flagAutoLeave
	}
	b := []byte{recordVersion, flags}
	for _, ids := range [][]uint64{cs.GetVoters(), cs.GetLearners(), cs.GetVotersOutgoing(), cs.GetLearnersNext()} {
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = binary.BigEndian.AppendUint64(b, id)
		}
	}
	return seal(b)
}

// DecodeConfState reads the stored form of Raft's configuration. The error is ErrRecord.
func DecodeConfState(b []byte) (*raftpb.ConfState, error) {
	r, flags, err := unseal(b)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	cs := &raftpb.ConfState{Voters: r.ids(), Learners: r.ids(), VotersOutgoing: r.ids(), LearnersNext: r.ids()}
	if flags&flagAutoLeave != 0 {
		cs.AutoLeave = new(true)
	}
	if flags&^flagAutoLeave != 0 || !r.done() {
		return nil, fmt.Errorf("configuration: %w", ErrRecord)
	}
	return cs, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func seal(b []byte) []byte { return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)) }

func unseal(b []byte) (r *reader, flags byte, err error) {
	end := len(b) - 4
	if end < 2 || crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, 0, fmt.Errorf("%w: its checksum does not match", ErrRecord)
	}
	if b[0] != recordVersion {
		return nil, 0, fmt.Errorf("%w: it has version %d, this build knows %d", ErrRecord, b[0], recordVersion)
	}
	return &reader{b: b[2:end]}, b[1], nil
}

// reader takes a record apart; after the first part that is not there, it has failed.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) done() bool { return !r.failed && len(r.b) == 0 }

// length reads a length of parts that are at least size bytes each.
func (r *reader) length(size int) int {
	n, l := binary.Uvarint(r.b)
	if l <= 0 || l > 1 && r.b[l-1] == 0 || n > uint64((len(r.b)-l)/size) {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[l:]
	return int(n)
}

func (r *reader) string() string {
	n := r.length(1)
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) strings() (list []string) {
	for range r.length(1) {
		list = append(list, r.string())
	}
	return list
}

func (r *reader) ids() (list []uint64) {
	for range r.length(8) {
		list = append(list, binary.BigEndian.Uint64(r.b))
		r.b = r.b[8:]
	}
	return list
}
