// Package restore makes the data directory of a member of a new cluster out of what was saved elsewhere: a snapshot in
// etcd's format, or the data directory of an etcd that has stopped.
//
// Invariants:
//
//	O1  The directory is complete or not there, as far as the next start can see (package datadir, D1 and D2).
//	O2  Members that are made of the same file, with the same token and list of members, begin with the same store.
//	O3  Nothing is ever changed in what is read.
//
// Use: Run, and then start the member with the same name and list of members.
package restore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/config"
	"holdfast/internal/datadir"
	"holdfast/internal/etcdfile"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
	"holdfast/internal/wal"
)

// Options say what is made of what.
type Options struct {
	From    string // a snapshot file, or an etcd data directory
	DataDir string // of the new member; it must be empty or not exist
	// Name is the new member's, one of Members; Token and Members make the identity of the new cluster.
	Name    string
	Token   string
	Members []config.InitialMember

	etcdfile.ImportOptions
	// SkipChecksum takes a file without a checksum behind it, as a copy of etcd's backend has none.
	SkipChecksum bool

	FS vfs.FS // of DataDir; nil for the disk
}

// Result is what has been made.
type Result struct {
	etcdfile.Summary
	Identity kind.Identity
	Replayed int // commands of etcd's log that its backend had not seen
	Dropped  int // entries at the end of etcd's log that nobody was told of
}

// ErrNotEmpty: the data directory holds something already.
var ErrNotEmpty = errors.New("the data directory holds a member already: name another, or move it away")

// Run makes the data directory.
func Run(ctx context.Context, o Options) (_ Result, err error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	backend, isDir := etcdfile.Backend(o.From)
	path := o.From
	if isDir {
		path = backend
	}
	f, err := etcdfile.Open(path, etcdfile.OpenOptions{SkipChecksum: o.SkipChecksum || isDir})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()

	members := make([]member.Member, 0, len(o.Members))
	for _, m := range o.Members {
		members = append(members, member.Member{PeerURLs: texts(m.PeerURLs)})
	}
	cluster, made, err := member.Genesis(o.Token, members)
	if err != nil {
		return Result{}, err
	}
	id := kind.Identity{Cluster: cluster, Incarnation: incarnation()}
	for _, m := range o.Members {
		if m.Name != o.Name {
			continue
		}
		for _, peer := range made {
			if slices.Equal(peer.PeerURLs, texts(m.PeerURLs)) {
				id.Member = peer.ID
			}
		}
	}
	if id.Member == 0 {
		return Result{}, fmt.Errorf("--name is %q, but --initial-cluster has no member of that name", o.Name)
	}

	modes := datadir.Modes{}
	if o.FS == vfs.Default {
		modes = datadir.OSModes()
	}
	dir, err := datadir.Open(o.FS, o.DataDir, datadir.Options{Modes: modes})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if !dir.Fresh() {
		return Result{}, fmt.Errorf("%s: %w", o.DataDir, ErrNotEmpty)
	}
	r := Result{Identity: id}
	err = dir.Init(id, o.Name, func(logDir, storeDir string) error {
		at, err := r.fill(ctx, o, f, isDir, id, made, storeDir)
		if err != nil {
			return err
		}
		return wal.Create(o.FS, logDir, id, at, wal.Options{})
	})
	if err != nil {
		return Result{}, fmt.Errorf("make a member of %s: %w", o.From, err)
	}
	return r, nil
}

// fill makes the store and returns the position at which its log begins.
func (r *Result) fill(ctx context.Context, o Options, f *etcdfile.File, isDir bool, id kind.Identity, members []member.Member, storeDir string) (at kind.Position, err error) {
	err = store.Create(o.FS, storeDir, id, func(set func(key, value []byte)) error {
		machine.Genesis(set, members)
		return nil
	})
	if err != nil {
		return at, err
	}
	db, err := store.Open(o.FS, storeDir, id, store.Options{})
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, db.Close(err == nil)) }()
	options := o.ImportOptions
	var log etcdfile.Log
	if isDir {
		// What the log holds comes first: the revision is raised behind it.
		options.BumpRevision, options.MarkCompacted = 0, false
	}
	if r.Summary, err = f.Import(ctx, db, options); err != nil {
		return at, err
	}
	if isDir {
		if log, err = etcdfile.ReadLog(o.From, r.Index); err != nil {
			return at, err
		}
		r.Replayed, r.Dropped = len(log.Commands), log.Uncommitted
		if err := r.replay(db, id, log.Commands); err != nil {
			return at, err
		}
		if err := r.raise(db, o.ImportOptions); err != nil {
			return at, err
		}
	}
	applied, err := db.Applied()
	if err != nil {
		return at, err
	}
	return applied.Position, db.Flush()
}

// replay runs the commands that etcd's backend had not seen. What etcd refused is refused here too.
func (r *Result) replay(db *store.DB, id kind.Identity, commands []command.Command) error {
	if len(commands) == 0 {
		return nil
	}
	kv, err := mvcc.Open(db, mvcc.Options{})
	if err != nil {
		return err
	}
	m, err := machine.Open(db, kv, machine.Options{})
	if err != nil {
		return err
	}
	for i, c := range commands {
		at := m.Applied()
		p := m.Begin(machine.Local{Member: id.Member})
		entry := command.AppendEntry(nil, &command.Entry{Commands: []command.Command{c}})
		if err := p.Apply(machine.Entry{Position: kind.Position{Index: at.Index + 1, Term: at.Term}, Data: entry}); err != nil {
			return fmt.Errorf("replay command %d of etcd's log: %w", i+1, err)
		}
		if err := p.Commit(); err != nil {
			return fmt.Errorf("replay command %d of etcd's log: %w", i+1, err)
		}
	}
	state := m.State()
	r.Revision, r.Compacted, r.Keys = state.Revision, state.Compacted, state.LiveKeys
	return m.Close()
}

// raise raises the revision of a store as the options say.
func (r *Result) raise(db *store.DB, o etcdfile.ImportOptions) error {
	if o.BumpRevision == 0 && !o.MarkCompacted {
		return nil
	}
	applied, err := db.Applied()
	if err != nil {
		return err
	}
	applied.Revision += kind.Revision(o.BumpRevision)
	if o.MarkCompacted {
		applied.Compacted = applied.Revision
	}
	r.Revision, r.Compacted = applied.Revision, applied.Compacted
	if err := db.Set(store.AppliedKey(), store.EncodeApplied(applied), nil); err != nil {
		return store.WrapRead("raise the revision", err)
	}
	return nil
}

// incarnation draws what has to differ from directory to directory. It is not a secret.
func incarnation() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails; see its documentation
	return max(1, binary.LittleEndian.Uint64(b[:]))
}

func texts(urls []url.URL) []string {
	out := make([]string, len(urls))
	for i, u := range urls {
		out[i] = u.String()
	}
	return out
}
