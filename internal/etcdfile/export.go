package etcdfile

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/auth"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
)

// ExportConfig is what Export is made of.
type ExportConfig struct {
	// View is closed as soon as it has been read, before the file is made, and at the latest when Export returns.
	View *mvcc.View
	// Dir is a directory for temporary files, which Export makes. Nobody else uses it.
	Dir string
	// ClusterVersion and StorageVersion are what etcd's files say of themselves, such as 3.7.0.
	ClusterVersion, StorageVersion string
	// Alarms are those that are raised.
	Alarms []*pb.AlarmMember
}

// batchBytes is how much is written at a time.
const batchBytes = 8 << 20

// Export makes a snapshot in etcd's format of what a view shows. It reads the view once in order and closes it; from then on
// the store is not touched. When ctx ends, Export stops and removes what it has made.
func Export(ctx context.Context, c ExportConfig) (_ *Snapshot, err error) {
	if err := os.RemoveAll(c.Dir); err != nil {
		return nil, errors.Join(fmt.Errorf("empty the directory for the snapshot: %w", err), c.View.Close())
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("make a directory for the snapshot: %w", err), c.View.Close())
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(c.Dir)
		}
	}()
	e := &exporter{ExportConfig: c, ctx: ctx}
	err = e.collect()
	if closeErr := c.View.Close(); err == nil {
		err = closeErr
	}
	if e.rows != nil {
		defer func() { _ = e.rows.Close() }()
	}
	if err != nil {
		return nil, fmt.Errorf("make a snapshot: %w", err)
	}
	path := filepath.Join(c.Dir, "db")
	size, err := e.write(path)
	if err != nil {
		return nil, fmt.Errorf("make a snapshot: %w", err)
	}
	return openSnapshot(c.Dir, path, size)
}

// exporter is one snapshot in the making.
type exporter struct {
	ExportConfig
	ctx context.Context

	// rows brings what the view shows into the order of revisions: rows by revision and key, changes by revision and
	// number. It is an engine without a log, whose sorted runs are merged by reading.
	rows  *pebble.DB
	batch *pebble.Batch

	revision, compacted kind.Revision
	index, term         uint64
	confState           []byte
	members             []member.Member
	leases              []lease.Lease
	users               *auth.Snapshot
}

// The two families of rows: 'r' revision key -> the row; 'c' revision sub -> deleted (1) key, or the row itself.
const (
	rowFamily    = 'r'
	changeFamily = 'c'

	changeIsDelete = 1
	changeIsPut    = 2 // of the row in the other family
	changeHasRow   = 3
)

// collect reads the view.
func (e *exporter) collect() error {
	e.revision, e.compacted = e.View.Revision(), e.View.Compacted()
	applied, err := e.View.Applied()
	if err != nil {
		return err
	}
	e.index, e.term = uint64(applied.Position.Index), uint64(applied.Position.Term)
	r := e.View.Pinned()
	members, confState, err := member.Load(r)
	if err != nil {
		return err
	}
	e.members = members
	if e.confState, err = json.Marshal(confState); err != nil {
		return err
	}
	users, err := auth.Open(r)
	if err != nil {
		return err
	}
	e.users = users.Snapshot()
	if err := lease.EachRecord(r, func(l lease.Lease) error { e.leases = append(e.leases, l); return nil }); err != nil {
		return err
	}
	cache := pebble.NewCache(1 << 20)
	defer cache.Unref()
	e.rows, err = pebble.Open(filepath.Join(e.Dir, "runs"), &pebble.Options{
		Cache:                       cache,
		DisableWAL:                  true,
		DisableAutomaticCompactions: true,
		MemTableSize:                16 << 20,
		L0StopWritesThreshold:       1 << 20,
		L0CompactionThreshold:       1 << 20,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      silent{},
	})
	if err != nil {
		return fmt.Errorf("make sorted runs: %w", err)
	}
	e.batch = e.rows.NewBatch()
	defer func() { _ = e.batch.Close() }()
	err = e.View.EachVersion(e.ctx, func(row mvcc.Row) error {
		return e.put(rowKey(row.Mod, row.Key()), row.Encoded)
	})
	if err != nil {
		return err
	}
	err = e.View.EachChange(e.ctx, func(c mvcc.Change) error {
		key := changeKey(c.Revision, uint64(c.Sub))
		switch {
		case c.Deleted:
			return e.put(key, append([]byte{changeIsDelete}, c.Key...))
		case c.Row.Exists():
			return e.put(key, append([]byte{changeHasRow}, c.Row.Encoded...))
		}
		return e.put(key, append([]byte{changeIsPut}, c.Key...))
	})
	if err != nil {
		return err
	}
	return e.batch.Commit(pebble.NoSync)
}

func rowKey(rev kind.Revision, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{rowFamily}, uint64(rev)), key...)
}

func changeKey(rev kind.Revision, sub uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{changeFamily}, uint64(rev)), sub)
}

func (e *exporter) put(key, value []byte) error {
	if err := e.batch.Set(key, value, nil); err != nil {
		return err
	}
	if e.batch.Len() < batchBytes {
		return nil
	}
	if err := e.batch.Commit(pebble.NoSync); err != nil {
		return err
	}
	e.batch.Reset()
	return nil
}

// silent is a log for an engine of which nobody wants to hear.
type silent struct{}

// Infof does nothing.
func (silent) Infof(string, ...any) {}

// Errorf does nothing: errors are returned.
func (silent) Errorf(string, ...any) {}

// Fatalf panics, which Export's callers see as a bug.
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// write makes the bbolt file and returns how long the part of it is that counts.
func (e *exporter) write(path string) (size int64, err error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return 0, fmt.Errorf("make %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := &fileWriter{db: db}
	if err := w.begin(); err != nil {
		return 0, err
	}
	defer w.end()
	for _, name := range buckets {
		if _, err := w.tx.CreateBucketIfNotExists(name); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(e.writeKeys(w), e.writeRest(w)); err != nil {
		return 0, err
	}
	if err := w.commit(); err != nil {
		return 0, err
	}
	err = db.View(func(tx *bolt.Tx) error { size = tx.Size(); return nil })
	return size, err
}

// fileWriter writes a bbolt file in transactions of a bounded size.
type fileWriter struct {
	db    *bolt.DB
	tx    *bolt.Tx
	bytes int
}

func (w *fileWriter) begin() (err error) {
	w.tx, err = w.db.Begin(true)
	w.bytes = 0
	return err
}

func (w *fileWriter) commit() error {
	tx := w.tx
	w.tx = nil
	return tx.Commit()
}

func (w *fileWriter) end() {
	if w.tx != nil {
		_ = w.tx.Rollback()
	}
}

// put adds a record behind those of its bucket.
func (w *fileWriter) put(bucket, key, value []byte) error {
	b := w.tx.Bucket(bucket)
	b.FillPercent = 0.9 // keys come in order
	if err := b.Put(key, value); err != nil {
		return err
	}
	if w.bytes += len(key) + len(value); w.bytes < batchBytes {
		return nil
	}
	if err := w.commit(); err != nil {
		return err
	}
	return w.begin()
}

// writeKeys writes the changes in the order of revisions. Below the compacted revision the history is gone, and with it
// the numbers of the changes of one revision: they are counted anew, in the order of keys.
func (e *exporter) writeKeys(w *fileWriter) error {
	it, err := e.rows.NewIter(&pebble.IterOptions{LowerBound: []byte{rowFamily}, UpperBound: []byte{rowFamily + 1}})
	if err != nil {
		return err
	}
	defer func() { _ = it.Close() }()
	var last kind.Revision
	var sub uint64
	limit := max(e.compacted, 0)
	steps := 0
	upper := rowKey(limit, nil)
	if e.compacted == mvcc.NeverCompacted {
		upper = []byte{rowFamily}
	}
	for ok := it.First(); ok && string(it.Key()) < string(upper); ok = it.Next() {
		if steps++; steps%1024 == 0 && e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		rev := kind.Revision(binary.BigEndian.Uint64(it.Key()[1:]))
		if rev != last {
			last, sub = rev, 0
		}
		row, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := w.put(bucketKey, appendRevision(nil, rev, sub, false), row); err != nil {
			return err
		}
		sub++
	}
	if err := it.Error(); err != nil {
		return err
	}
	changes, err := e.rows.NewIter(&pebble.IterOptions{LowerBound: []byte{changeFamily}, UpperBound: []byte{changeFamily + 1}})
	if err != nil {
		return err
	}
	defer func() { _ = changes.Close() }()
	for ok := changes.First(); ok; ok = changes.Next() {
		if steps++; steps%1024 == 0 && e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		value, err := changes.ValueAndErr()
		if err != nil {
			return err
		}
		if err := e.writeChange(w, it, changes.Key(), value); err != nil {
			return err
		}
	}
	return changes.Error()
}

func (e *exporter) writeChange(w *fileWriter, rows *pebble.Iterator, at, change []byte) error {
	rev, sub := kind.Revision(binary.BigEndian.Uint64(at[1:])), binary.BigEndian.Uint64(at[9:])
	rest := change[1:]
	switch change[0] {
	case changeIsDelete:
		kv := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), rest)
		return w.put(bucketKey, appendRevision(nil, rev, sub, true), kv)
	case changeHasRow:
		return w.put(bucketKey, appendRevision(nil, rev, sub, false), rest)
	}
	key := rowKey(rev, rest)
	if !rows.SeekGE(key) || string(rows.Key()) != string(key) {
		if err := rows.Error(); err != nil {
			return err
		}
		return fmt.Errorf("the history names a version of %q at revision %d that is not there", rest, rev)
	}
	row, err := rows.ValueAndErr()
	if err != nil {
		return err
	}
	return w.put(bucketKey, appendRevision(nil, rev, sub, false), row)
}

// writeRest writes everything but the keys.
func (e *exporter) writeRest(w *fileWriter) error {
	var failed error
	put := func(bucket, key, value []byte) { failed = errors.Join(failed, w.put(bucket, key, value)) }
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

	put(bucketMeta, keyConsistentIndex, number(e.index))
	put(bucketMeta, keyTerm, number(e.term))
	put(bucketMeta, keyConfState, e.confState)
	put(bucketMeta, keyStorageVersion, []byte(e.StorageVersion))
	if e.compacted != mvcc.NeverCompacted {
		at := appendRevision(nil, e.compacted, 0, false)
		put(bucketMeta, keyScheduledCompact, at)
		put(bucketMeta, keyFinishedCompact, at)
	}
	for _, l := range e.leases {
		put(bucketLease, number(uint64(l.ID)), etcdLease{ID: int64(l.ID), TTL: l.TTL}.encode())
	}
	enabled := []byte{0}
	if e.users.Enabled() {
		enabled[0] = 1
	}
	put(bucketAuth, keyAuthEnabled, enabled)
	put(bucketAuth, keyAuthRevision, number(e.users.Revision()))
	for _, name := range e.users.Users() {
		u := e.users.User(name)
		b, err := proto.Marshal(&authpb.User{
			Name: []byte(name), Password: u.Hash, Roles: u.Roles, Options: &authpb.UserAddOptions{NoPassword: u.NoPassword},
		})
		failed = errors.Join(failed, err)
		put(bucketAuthUsers, []byte(name), b)
	}
	for _, name := range e.users.Roles() {
		role := &authpb.Role{Name: []byte(name)}
		for _, p := range e.users.Role(name).Permissions {
			key, end := p.Interval.Wire()
			role.KeyPermission = append(role.KeyPermission, &authpb.Permission{PermType: authpb.Permission_Type(p.Type), Key: key, RangeEnd: end})
		}
		b, err := proto.Marshal(role)
		failed = errors.Join(failed, err)
		put(bucketAuthRoles, []byte(name), b)
	}
	for _, m := range e.members {
		id := []byte(m.ID.String())
		if m.Removed {
			put(bucketMembersRemoved, id, []byte("removed"))
			continue
		}
		b, err := json.Marshal(etcdMember{uint64(m.ID), m.PeerURLs, m.Learner, m.Name, m.ClientURLs})
		failed = errors.Join(failed, err)
		put(bucketMembers, id, b)
	}
	put(bucketCluster, keyClusterVersion, []byte(e.ClusterVersion))
	for _, a := range e.Alarms {
		b, err := proto.Marshal(a)
		failed = errors.Join(failed, err)
		put(bucketAlarm, b, nil)
	}
	return failed
}

// etcdMember is a member as etcd's backend has it.
type etcdMember struct {
	ID         uint64   `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	IsLearner  bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
}
