// Package command holds the requests that change or read keys as values, decoded once, checked, and the encoding in
// which commands travel in Raft entries.
//
// Invariants:
//
//  1. Every member, the proposer included, executes what the decoders of this package read from the committed
//     bytes; they read exactly what the protobuf library would.
//  2. The value that is checked and authorised is the value that is executed: Check, authorisation and the
//     machine look at the same Interval.
//  3. Encoding what was decoded from an entry gives the same bytes, and a decoded canonical request gives the
//     same value.
//  4. An entry is understood wholly or not at all (I5).
//
// # The entry
//
// All numbers called uvarint and varint are those of encoding/binary in their shortest form.
//
//	entry    version (1 byte: 1)
//	         elapsed (uvarint, nanoseconds of cluster time)
//	         wall    (varint, Unix nanoseconds)
//	         count   (uvarint), then so many commands, then nothing
//
//	command  kind           (1 byte: 1 put, 2 delete range, 3 transaction, 4 compaction, 5 lease grant,
//	                         6 lease revoke, 7 lease renew, 8 lease expire, 9 auth, 10 authenticate,
//	                         11 token touch, 12 member publish, 13 member update, 14 alarm,
//	                         15 version raise, 16 member change)
//	         encoding       (1 byte: 1 protobuf messages of the etcd v3 API)
//	         member         (8 bytes, little endian)  \
//	         boot           (uvarint)                  > who waits for the reply
//	         sequence       (uvarint)                 /
//	         user           (uvarint length, bytes)
//	         auth revision  (uvarint)
//	         payload        (uvarint length, bytes)
//
// The payloads of 7 and 8 are messages with field 1, a varint, once for each lease: a LeaseKeepAliveRequest of
// several leases. That of 9 is a byte for the operation (AuthOp) and the request of that operation with the hash, in
// bytes, in the place of the password. Those of 10 and 11 are messages of the fields that AppendTokenGrant and
// AppendTokenTouch name; they hold the SHA-256 of a token, never the token. That of 13 is a MemberUpdateRequest, that
// of 14 an AlarmRequest; those of 12, 15 and 16 are messages of the fields that their Append functions name. An entry
// without commands carries only time.
//
// A member change is never in an entry of the normal kind. An entry that holds it and nothing else is the context of
// the change of Raft's configuration that it asks for.
//
// An entry has no checksum; the log and the transport that carry it have theirs. An empty Raft entry is not an
// entry of this format: it is the one with which a leader begins its term.
//
// # Use
//
// A server decodes a request (DecodePut), checks it (Put.Check) and proposes the bytes that came if they were
// known whole, otherwise a new encoding (AppendPut). A proposer packs: AppendEntryHeader, then AppendCommand for
// each. The machine reads: Entry.Decode, then the decoder that belongs to each command's kind.
package command
