package member

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Write sets the record of m.
func Write(set func(key, value []byte), m Member) { set(memberKey(m.ID), Encode(m)) }

// WriteConfState sets the record of Raft's configuration.
func WriteConfState(set func(key, value []byte), cs *raftpb.ConfState) {
	set(confStateKey, EncodeConfState(cs))
}

// Load reads the members, removed ones included, ordered by id, and Raft's configuration. A store without a
// configuration, or with anything else in the family, is refused with ErrRecord.
func Load(r pebble.Reader) (members []Member, cs *raftpb.ConfState, err error) {
	it, err := r.NewIter(store.FamilyOptions(store.FamilyMember))
	if err != nil {
		return nil, nil, store.WrapRead("read the members", err)
	}
	defer func() { err = errors.Join(err, store.WrapRead("read the members", it.Close())) }()
	for valid := it.First(); valid; valid = it.Next() {
		key := it.Key()
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, nil, store.WrapRead("read the members", err)
		}
		switch {
		case len(key) == 11 && key[1] == 'm':
			m, err := Decode(kind.MemberID(binary.BigEndian.Uint64(key[2:])), value)
			if err != nil {
				return nil, nil, err
			}
			members = append(members, m)
		case bytes.Equal(key, confStateKey):
			if cs, err = DecodeConfState(value); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, fmt.Errorf("%w: its key is %x", ErrRecord, key)
		}
	}
	if cs == nil {
		return nil, nil, fmt.Errorf("%w: the store holds no configuration", ErrRecord)
	}
	return members, cs, nil
}
