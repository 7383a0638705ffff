package machine

import (
	"encoding/binary"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// Responses are built as bytes: the rows that they are made of lie in the store as protobuf messages already.

// The tags of the fields of responses: number<<3 | wire type.
const (
	tagHeader    = 1<<3 | 2 // of every response
	tagRevision  = 3 << 3   // ResponseHeader
	fieldPrevKV  = 2<<3 | 2 // PutResponse
	tagDeleted   = 2 << 3   // DeleteRangeResponse
	fieldPrevKVs = 3<<3 | 2 // DeleteRangeResponse
	tagSucceeded = 2 << 3   // TxnResponse
	tagResponse  = 3<<3 | 2 // TxnResponse

	tagLeaseID  = 2 << 3 // LeaseGrantResponse
	tagLeaseTTL = 3 << 3 // LeaseGrantResponse

	tagMembers         = 2<<3 | 2 // MemberListResponse
	tagMemberID        = 1 << 3   // Member
	tagMemberName      = 2<<3 | 2 // Member
	tagMemberPeerURL   = 3<<3 | 2 // Member
	tagMemberClientURL = 4<<3 | 2 // Member
	tagMemberLearner   = 5 << 3   // Member

	tagAlarms      = 2<<3 | 2 // AlarmResponse
	tagAlarmMember = 1 << 3   // AlarmMember
	tagAlarmType   = 2 << 3   // AlarmMember

	tagRangeResponse  = 1<<3 | 2 // ResponseOp
	tagPutResponse    = 2<<3 | 2 // ResponseOp
	tagDeleteResponse = 3<<3 | 2 // ResponseOp
	tagTxnResponse    = 4<<3 | 2 // ResponseOp
)

func appendVarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// appendMessage appends a field that holds a message.
func appendMessage(dst []byte, tag byte, message []byte) []byte {
	dst = appendVarint(append(dst, tag), uint64(len(message)))
	return append(dst, message...)
}

// appendTxn is the third pass: it runs the branch that t takes and, if somebody waits for it, appends the response
// without its header to dst.
func (r *run) appendTxn(dst []byte, t *command.Txn) ([]byte, error) {
	branch, succeeded := r.take(t)
	if r.want && succeeded {
		dst = append(dst, tagSucceeded, 1)
	}
	for i := range branch {
		var err error
		if dst, err = r.appendOp(dst, &branch[i]); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// appendOp runs one operation and appends the field of a TxnResponse for it. The header of an operation's response
// has the revision only, and that of a nested transaction not even that, as etcd's have.
func (r *run) appendOp(dst []byte, o *command.Op) ([]byte, error) {
	switch {
	case o.Range != nil:
		if !r.want {
			return dst, nil
		}
		// What the answer before has reserved is given back first: two transactions that each hold some and wait
		// for more would wait for ever.
		r.held.Release()
		a, err := r.reader.Range(*o.Range)
		if err != nil {
			return nil, err
		}
		dst = appendResponse(dst, tagRangeResponse, a.Revision, a.Body)
		r.held, r.held.Body = a, nil
		return dst, nil
	case o.Put != nil:
		prev := r.put(o.Put)
		if !r.want {
			return dst, nil
		}
		r.inner = r.inner[:0]
		if o.Put.PrevKV && prev.Exists() {
			r.inner = appendMessage(r.inner, fieldPrevKV, prev.Encoded)
		}
		return appendResponse(dst, tagPutResponse, r.writer.Revision(), r.inner), nil
	case o.Delete != nil:
		r.inner = r.delete(r.inner[:0], o.Delete)
		if !r.want {
			return dst, nil
		}
		return appendResponse(dst, tagDeleteResponse, r.writer.Revision(), r.inner), nil
	case o.Txn != nil:
		nested, err := r.appendTxn(nil, o.Txn)
		if err != nil || !r.want {
			return dst, err
		}
		return appendResponse(dst, tagTxnResponse, 0, nested), nil
	}
	return dst, nil
}

// appendResponse appends the field responses of a TxnResponse: a ResponseOp that holds, under tag, the response
// with a header of this revision, or an empty one for 0, and with the fields of body.
func appendResponse(dst []byte, tag byte, revision kind.Revision, body []byte) []byte {
	var head [2 + 1 + binary.MaxVarintLen64]byte
	header := append(head[:0], tagHeader, 0)
	if revision != 0 {
		header = appendVarint(append(header, tagRevision), uint64(revision))
		header[1] = byte(len(header) - 2)
	}
	response := len(header) + len(body)
	op := 1 + varintLen(response) + response
	dst = appendVarint(append(dst, tagResponse), uint64(op))
	dst = appendVarint(append(dst, tag), uint64(response))
	return append(append(dst, header...), body...)
}

func varintLen(n int) int {
	l := 1
	for ; n >= 0x80; n >>= 7 {
		l++
	}
	return l
}
