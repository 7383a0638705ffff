package etcdfile

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// ImportOptions say what is made of a file.
type ImportOptions struct {
	// BumpRevision is added to the revision, so that no revision is given out a second time that was seen after the file
	// was made. MarkCompacted then calls everything up to there compacted, so that watchers read anew.
	BumpRevision  int64
	MarkCompacted bool
	// Progress, if any, is told from time to time how many changes have been read.
	Progress func(changes int64)
}

// Summary is what came of an import.
type Summary struct {
	Revision  kind.Revision
	Compacted kind.Revision // mvcc.NeverCompacted if nothing was
	Changes   int64         // that were read
	Keys      int64         // that are live
	Leases    int
	Users     int
	Roles     int
	Index     uint64 // of the last entry of etcd's log whose effects are in the file, and its term
	Term      uint64
}

// Import fills a store, which holds the first records of a new cluster and nothing else, with what is in the file. The
// store is not to be used if it fails.
func (f *File) Import(ctx context.Context, db *store.DB, o ImportOptions) (s Summary, err error) {
	err = f.guard(func() error {
		return f.db.View(func(tx *bolt.Tx) error {
			i := &importer{ctx: ctx, tx: tx, db: db, o: o}
			err := i.run()
			s = i.summary
			return err
		})
	})
	return s, err
}

type importer struct {
	ctx     context.Context
	tx      *bolt.Tx
	db      *store.DB
	o       ImportOptions
	summary Summary

	leases map[kind.LeaseID]bool
	batch  *pebble.Batch
	failed error
}

func (i *importer) run() error {
	i.batch = i.db.NewBatch()
	defer func() { _ = i.batch.Close() }()
	if err := i.readLeases(); err != nil {
		return err
	}
	if err := i.readAuth(); err != nil {
		return err
	}
	counts, err := i.readKeys()
	if err != nil {
		return err
	}
	applied, err := i.db.Applied()
	if err != nil {
		return err
	}
	if err := i.settle(); err != nil {
		return err
	}
	applied.Revision, applied.Compacted = i.summary.Revision, i.summary.Compacted
	applied.LiveKeys, applied.LiveBytes, applied.Versions = counts.LiveKeys, counts.LiveBytes, counts.Versions
	i.summary.Keys = counts.LiveKeys
	i.set(store.AppliedKey(), store.EncodeApplied(applied))
	if i.failed != nil {
		return i.failed
	}
	if err := i.batch.Commit(pebble.NoSync); err != nil {
		return store.WrapRead("write the imported records", err)
	}
	return i.db.Flush()
}

// set puts a record into the batch. Attachments of leases may be many, so it is emptied now and then.
func (i *importer) set(key, value []byte) {
	if i.failed != nil {
		return
	}
	if i.failed = i.batch.Set(key, value, nil); i.failed != nil || i.batch.Len() < batchBytes {
		return
	}
	if i.failed = i.batch.Commit(pebble.NoSync); i.failed == nil {
		i.batch.Reset()
	}
}

// readKeys reads the changes. Deletes at or below the compacted revision show themselves only to watches from there on.
func (i *importer) readKeys() (mvcc.Counts, error) {
	keys := mvcc.NewImporter(i.db)
	defer func() { _ = keys.Close() }()
	s := &i.summary
	s.Revision = mvcc.FirstRevision
	err := i.tx.Bucket(bucketKey).ForEach(func(k, v []byte) error {
		if s.Changes++; s.Changes%1024 == 0 {
			if i.ctx.Err() != nil {
				return i.ctx.Err()
			}
			if i.o.Progress != nil {
				i.o.Progress(s.Changes)
			}
		}
		rev, sub, deleted, err := splitRevision(k)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotSnapshot, err)
		}
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(v, &kv); err != nil {
			return fmt.Errorf("%w: revision %d.%d: %w", ErrNotSnapshot, rev, sub, err)
		}
		s.Revision = max(s.Revision, rev)
		if len(kv.Key) == 0 && rev > 0 {
			return nil // a mark that etcdutl has left to raise the revision
		}
		c := mvcc.Change{Revision: rev, Sub: uint32(sub), Key: kv.Key, Deleted: deleted}
		if !deleted {
			c.Row = mvcc.NewRow(kv.Key, kv.Value, kind.Revision(kv.CreateRevision), rev, kv.Version, kind.LeaseID(kv.Lease))
		}
		if err := keys.Add(c); err != nil {
			return fmt.Errorf("%w: %w", ErrNotSnapshot, err)
		}
		return nil
	})
	if err != nil {
		return mvcc.Counts{}, err
	}
	return keys.Finish(i.ctx, func(row mvcc.Row) error {
		// etcd itself does not mind a key whose lease is gone, and neither may we.
		if i.leases[row.Lease] {
			lease.WriteAttachment(i.set, row.Lease, row.Key())
		}
		return i.failed
	})
}

// settle decides about the revisions of the store.
func (i *importer) settle() error {
	s := &i.summary
	meta := i.tx.Bucket(bucketMeta)
	s.Compacted = mvcc.NeverCompacted
	for _, name := range [][]byte{keyScheduledCompact, keyFinishedCompact} {
		if b := meta.Get(name); b != nil {
			rev, _, _, err := splitRevision(b)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", ErrNotSnapshot, name, err)
			}
			s.Compacted = max(s.Compacted, rev)
		}
	}
	s.Revision = max(s.Revision, s.Compacted)
	if b := meta.Get(keyConsistentIndex); len(b) == 8 {
		s.Index = binary.BigEndian.Uint64(b)
	}
	if b := meta.Get(keyTerm); len(b) == 8 {
		s.Term = binary.BigEndian.Uint64(b)
	}
	if i.o.BumpRevision < 0 || int64(s.Revision) > maxRevision-i.o.BumpRevision {
		return fmt.Errorf("the revision cannot be raised by %d: give a number from 0 to %d", i.o.BumpRevision, maxRevision-int64(s.Revision))
	}
	s.Revision += kind.Revision(i.o.BumpRevision)
	if i.o.MarkCompacted {
		s.Compacted = s.Revision
	}
	return nil
}

// maxRevision leaves room for a lifetime of writes.
const maxRevision = 1 << 62

// readLeases reads the leases. Each gets its whole time again, as after a change of leader in etcd.
func (i *importer) readLeases() error {
	i.leases = map[kind.LeaseID]bool{}
	b := i.tx.Bucket(bucketLease)
	if b == nil {
		return nil
	}
	return b.ForEach(func(_, v []byte) error {
		l, err := decodeLease(v)
		if err != nil || l.ID == 0 || l.TTL <= 0 || l.TTL > lease.MaxTTL {
			return fmt.Errorf("%w: lease %x has a TTL of %d s: %w", ErrNotSnapshot, uint64(l.ID), l.TTL, errors.Join(err, errLease))
		}
		i.leases[kind.LeaseID(l.ID)] = true
		i.summary.Leases++
		lease.Write(i.set, lease.Lease{ID: kind.LeaseID(l.ID), TTL: l.TTL, Deadline: uint64(l.TTL) * 1e9})
		return i.failed
	})
}

func (i *importer) readAuth() error {
	var users []auth.User
	var roles []auth.Role
	err := i.each(bucketAuthUsers, func(k, v []byte) error {
		var u authpb.User
		if err := proto.Unmarshal(v, &u); err != nil {
			return fmt.Errorf("%w: the user %q: %w", ErrNotSnapshot, k, err)
		}
		users = append(users, auth.User{Name: string(k), Hash: u.Password, NoPassword: u.Options.GetNoPassword(), Roles: u.Roles})
		return nil
	})
	if err != nil {
		return err
	}
	err = i.each(bucketAuthRoles, func(k, v []byte) error {
		var r authpb.Role
		if err := proto.Unmarshal(v, &r); err != nil {
			return fmt.Errorf("%w: the role %q: %w", ErrNotSnapshot, k, err)
		}
		role := auth.Role{Name: string(k)}
		for _, p := range r.KeyPermission {
			role.Permissions = append(role.Permissions, command.Permission{
				Type: command.PermissionType(p.PermType), Interval: command.NewInterval(p.Key, p.RangeEnd),
			})
		}
		roles = append(roles, role)
		return nil
	})
	if err != nil {
		return err
	}
	enabled, revision := false, uint64(0)
	if b := i.tx.Bucket(bucketAuth); b != nil {
		e := b.Get(keyAuthEnabled)
		enabled = len(e) == 1 && e[0] == 1
		if r := b.Get(keyAuthRevision); len(r) == 8 {
			revision = binary.BigEndian.Uint64(r)
		}
	}
	i.summary.Users, i.summary.Roles = len(users), len(roles)
	auth.Write(i.set, enabled, revision, users, roles)
	return i.failed
}

func (i *importer) each(name []byte, visit func(k, v []byte) error) error {
	b := i.tx.Bucket(name)
	if b == nil {
		return nil
	}
	return b.ForEach(visit)
}

// Member is a member of the cluster that a file comes from.
type Member struct {
	ID       uint64
	Name     string
	PeerURLs []string
}

// Members lists the members that the file names, for people: the new cluster has its own.
func (f *File) Members() (members []Member, err error) {
	err = f.guard(func() error {
		return f.db.View(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucketMembers)
			if b == nil {
				return nil
			}
			return b.ForEach(func(k, v []byte) error {
				var m etcdMember
				id, err := strconv.ParseUint(string(k), 16, 64)
				if err != nil || json.Unmarshal(v, &m) != nil {
					return fmt.Errorf("%w: the member %q cannot be read", ErrNotSnapshot, k)
				}
				members = append(members, Member{id, m.Name, m.PeerURLs})
				return nil
			})
		})
	})
	return members, err
}
