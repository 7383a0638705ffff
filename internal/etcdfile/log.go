package etcdfile

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"holdfast/internal/command"
)

// ErrLog: the log of an etcd data directory cannot be read, or does not go with its backend.
var ErrLog = errors.New("etcd's log cannot be read")

// Log is what etcd's log holds behind the backend beside it.
type Log struct {
	// Commands are those of the entries that are known to be committed and that the backend has not seen, in order.
	Commands []command.Command
	// Uncommitted is how many entries stand behind those; nobody was told that they were written.
	Uncommitted int
}

// The types of a record of etcd's log.
const (
	recordEntry = 2
	recordState = 3
	recordCRC   = 4
)

// maxRecord bounds a record: far more than etcd lets a request have.
const maxRecord = 1 << 30

// ReadLog reads the log of an etcd data directory from the entry behind index on. An etcd that was stopped in the usual
// way leaves none; one that was killed leaves what its backend had not written yet.
func ReadLog(dataDir string, index uint64) (Log, error) {
	dir := filepath.Join(dataDir, "member", "wal")
	names, err := os.ReadDir(dir)
	if err != nil {
		return Log{}, fmt.Errorf("%w: %w", ErrLog, err)
	}
	var files []string
	for _, n := range names {
		if strings.HasSuffix(n.Name(), ".wal") {
			files = append(files, filepath.Join(dir, n.Name()))
		}
	}
	slices.Sort(files) // by sequence, in hexadecimal of a fixed width
	if len(files) == 0 {
		return Log{}, fmt.Errorf("%w: %s holds no file of it", ErrLog, dir)
	}
	r := logReader{after: index}
	for i, file := range files {
		if err := r.read(file, i == len(files)-1); err != nil {
			return Log{}, err
		}
	}
	return r.log()
}

type logReader struct {
	after   uint64
	crc     uint32
	commit  uint64
	first   uint64 // of the entries, 0 for none
	entries []*raftpb.Entry
}

// read reads one file. Only the last may end in the middle of a record: a kill cuts a write that nobody was told of.
func (r *logReader) read(file string, last bool) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLog, err)
	}
	for at := 0; len(b)-at >= 8; {
		head := binary.LittleEndian.Uint64(b[at:])
		if head == 0 {
			return nil // the rest was made in advance
		}
		length, padding := int64(head&(1<<56-1)), 0
		if int64(head) < 0 {
			padding = int(head >> 56 & 7)
		}
		if length > maxRecord || length+int64(padding) > int64(len(b)-at-8) {
			if last {
				return nil
			}
			return fmt.Errorf("%w: %s is cut short at offset %d", ErrLog, file, at)
		}
		if err := r.record(b[at+8 : at+8+int(length)]); err != nil {
			if last {
				return nil
			}
			return fmt.Errorf("%w: %s, offset %d: %w", ErrLog, file, at, err)
		}
		at += 8 + int(length) + padding
	}
	return nil
}

var errRecord = errors.New("a record is damaged")

func (r *logReader) record(b []byte) error {
	var kind, crc uint64
	var data []byte
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errRecord
		}
		b = b[n:]
		switch {
		case number == 1 && wire == protowire.VarintType:
			kind, n = protowire.ConsumeVarint(b)
		case number == 2 && wire == protowire.VarintType:
			crc, n = protowire.ConsumeVarint(b)
		case number == 3 && wire == protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, wire, b)
		}
		if n < 0 {
			return errRecord
		}
		b = b[n:]
	}
	if kind == recordCRC {
		if r.crc != 0 && r.crc != uint32(crc) {
			return errRecord
		}
		r.crc = uint32(crc)
		return nil
	}
	r.crc = crc32.Update(r.crc, crc32.MakeTable(crc32.Castagnoli), data)
	if r.crc != uint32(crc) {
		return errRecord
	}
	switch kind {
	case recordEntry:
		var e raftpb.Entry
		if err := proto.Unmarshal(data, &e); err != nil {
			return errRecord
		}
		return r.entry(&e)
	case recordState:
		var s raftpb.HardState
		if err := proto.Unmarshal(data, &s); err != nil {
			return errRecord
		}
		r.commit = max(r.commit, s.GetCommit())
	}
	return nil
}

// entry takes an entry in: it replaces every entry from its index on.
func (r *logReader) entry(e *raftpb.Entry) error {
	if e.GetIndex() <= r.after {
		r.entries, r.first = nil, 0 // what came later was of an overruled leader
		return nil
	}
	if r.first == 0 {
		r.first = e.GetIndex()
	}
	if e.GetIndex() < r.first || e.GetIndex() > r.first+uint64(len(r.entries)) {
		return errRecord
	}
	r.entries = append(r.entries[:e.GetIndex()-r.first], e)
	return nil
}

// log turns the entries into commands.
func (r *logReader) log() (Log, error) {
	var l Log
	if len(r.entries) > 0 && r.first != r.after+1 {
		return l, fmt.Errorf("%w: it begins with entry %d, but the backend ends with entry %d: a file of the log is missing", ErrLog, r.first, r.after)
	}
	if last := r.after + uint64(len(r.entries)); r.commit > last {
		return l, fmt.Errorf("%w: entries up to %d were written, but it ends with entry %d: the end of the log is missing", ErrLog, r.commit, last)
	}
	for _, e := range r.entries {
		if e.GetIndex() > r.commit {
			l.Uncommitted++
			continue
		}
		if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
			continue
		}
		c, is, err := commandOf(e.GetData())
		if err != nil {
			return l, fmt.Errorf("%w: entry %d: %w", ErrLog, e.GetIndex(), err)
		}
		if is {
			l.Commands = append(l.Commands, c)
		}
	}
	return l, nil
}

// The fields of etcd's InternalRaftRequest whose message is the payload of a command as it is.
var kinds = map[protowire.Number]command.Kind{
	4: command.KindPut,
	5: command.KindDelete,
	6: command.KindTxn,
	7: command.KindCompact,
	8: command.KindLeaseGrant,
	9: command.KindLeaseRevoke,
}

// The fields of changes of users whose message stands behind the operation as it is.
var authOps = map[protowire.Number]command.AuthOp{
	1000: command.AuthEnable,
	1011: command.AuthDisable,
	1101: command.UserDelete,
	1104: command.UserGrantRole,
	1105: command.UserRevokeRole,
	1200: command.RoleAdd,
	1201: command.RoleDelete,
	1203: command.RoleGrantPermission,
	1204: command.RoleRevokePermission,
}

const (
	fieldUserAdd        = 1100
	fieldChangePassword = 1103
)

// commandOf turns a request in etcd's log into a command. Reads, and what concerns etcd's cluster alone, are none.
func commandOf(request []byte) (c command.Command, is bool, err error) {
	c.AuthRevision = command.ByMember
	for len(request) > 0 {
		number, wire, n := protowire.ConsumeTag(request)
		if n < 0 {
			return c, false, errRecord
		}
		request = request[n:]
		if wire != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, wire, request); n < 0 {
				return c, false, errRecord
			}
			request = request[n:]
			continue
		}
		message, n := protowire.ConsumeBytes(request)
		if n < 0 {
			return c, false, errRecord
		}
		request = request[n:]
		if kind, ok := kinds[number]; ok {
			c.Kind, c.Payload, is = kind, message, true
			continue
		}
		op, ok := authOps[number]
		switch {
		case ok:
			c.Kind, c.Payload, is = command.KindAuth, append([]byte{byte(op)}, message...), true
		case number == fieldUserAdd:
			var r pb.AuthUserAddRequest
			hash, err := passwordOf(message, &r, func() string { return r.HashedPassword })
			if err != nil {
				return c, false, err
			}
			change := command.AuthChange{Op: command.UserAdd, User: r.Name, Hash: hash, NoPassword: r.Options.GetNoPassword()}
			c.Kind, c.Payload, is = command.KindAuth, command.AppendAuthChange(nil, &change), true
		case number == fieldChangePassword:
			var r pb.AuthUserChangePasswordRequest
			hash, err := passwordOf(message, &r, func() string { return r.HashedPassword })
			if err != nil {
				return c, false, err
			}
			change := command.AuthChange{Op: command.UserChangePassword, User: r.Name, Hash: hash}
			c.Kind, c.Payload, is = command.KindAuth, command.AppendAuthChange(nil, &change), true
		}
	}
	return c, is, nil
}

func passwordOf(message []byte, into proto.Message, hashed func() string) ([]byte, error) {
	if err := proto.Unmarshal(message, into); err != nil {
		return nil, errRecord
	}
	hash, err := base64.StdEncoding.DecodeString(hashed())
	if err != nil {
		return nil, errRecord
	}
	return hash, nil
}
