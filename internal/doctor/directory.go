package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/auth"
	"holdfast/internal/cli"
	"holdfast/internal/datadir"
	"holdfast/internal/lease"
	"holdfast/internal/machine"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
	"holdfast/internal/wal"
)

// DirectoryOptions say how a data directory is looked at.
type DirectoryOptions struct {
	Limits Limits // the zero value means DefaultLimits
	// FS and Modes reach the files, and Owner tells the number of the user that one belongs to. Nil, or zero, means the
	// operating system's.
	FS    vfs.FS
	Modes datadir.Modes
	Owner func(path string) (user uint32, err error)
}

// directory is one look at a data directory.
type directory struct {
	DirectoryOptions
	report
	ctx  context.Context
	path string
}

// Directory looks at the data directory of a stopped member, and reads every block of its log and its store. The error is
// that of ctx alone: what cannot be read is a finding.
func Directory(ctx context.Context, path string, o DirectoryOptions) ([]Finding, error) {
	if o.FS == nil {
		o.FS, o.Modes, o.Owner = vfs.Default, datadir.OSModes(), ownerOf
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	d := &directory{DirectoryOptions: o, ctx: ctx, path: path}
	d.look()
	return d.sorted(), ctx.Err()
}

func ownerOf(path string) (uint32, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Uid, nil
	}
	return 0, nil
}

func (d *directory) look() {
	info, err := d.FS.Stat(d.path)
	if err == nil && info.IsDir() {
		d.lookAround()
	}
	dir, err := datadir.Open(d.FS, d.path, datadir.Options{ReadOnly: true})
	if err != nil {
		d.refused(err)
		return
	}
	defer func() { _ = dir.Close() }()
	if dir.Fresh() {
		d.add("no-member-yet", "path", d.path)
		return
	}
	d.stores(dir)
	if q, marked, err := dir.Quarantine(); err != nil {
		d.refused(err)
	} else if marked {
		d.add("quarantine-mark", "cause", printable(q.Cause))
	}
	r, err := wal.Inspect(d.FS, dir.LogDir(), nil)
	sound := err == nil && r.Damage == nil
	switch {
	case errors.Is(err, wal.ErrNewerFormat):
		d.add("newer-format", "path", d.path, "cause", err.Error())
	case err != nil:
		d.add("log-damaged", "damage", err.Error())
	case r.Damage != nil:
		d.add("log-damaged", "damage", fmt.Sprintf("at offset %d of %s, %s", r.Damage.Offset, r.Damage.File, r.Damage.Reason))
	}
	d.lookIntoStore(dir, r, sound)
}

// lookAround looks at what can be seen without opening anything.
func (d *directory) lookAround() {
	if d.Modes.Get != nil {
		if mode, err := d.Modes.Get(d.path); err == nil && mode.Perm()&0o077 != 0 {
			d.add("directory-open", "path", d.path, "mode", fmt.Sprintf("%04o", mode.Perm()))
		}
	}
	if usage, err := d.FS.GetDiskUsage(d.path); err == nil && usage.AvailBytes < uint64(d.Limits.FreeBytes) {
		d.add("directory-disk-full", "path", d.path, "free", cli.Size(int64(usage.AvailBytes)))
	}
	if d.Owner == nil {
		return
	}
	user, err := d.Owner(d.path)
	if err != nil {
		return
	}
	d.owners(d.path, user, 0)
}

// owners compares the owners of the files, down to those of log and store. One of another owner is enough.
func (d *directory) owners(path string, user uint32, depth int) (found bool) {
	names, err := d.FS.List(path)
	if err != nil || depth > 2 {
		return false
	}
	slices.Sort(names)
	for _, name := range names {
		inside := d.FS.PathJoin(path, name)
		if name == "lost+found" {
			continue
		}
		if owner, err := d.Owner(inside); err == nil && owner != user {
			d.add("wrong-owner", "path", inside, "owner", fmt.Sprint(owner), "user", fmt.Sprint(user), "directory", d.path)
			return true
		}
		if info, err := d.FS.Stat(inside); err == nil && info.IsDir() && d.owners(inside, user, depth+1) {
			return true
		}
	}
	return false
}

// refused turns a refusal of datadir's into a finding.
func (d *directory) refused(err error) {
	damaged, isDamage := errors.AsType[*datadir.Corruption](err)
	switch {
	case errors.Is(err, datadir.ErrMissing):
		d.add("no-directory", "path", d.path)
	case errors.Is(err, datadir.ErrNotDirectory):
		d.add("not-a-directory", "path", d.path)
	case errors.Is(err, datadir.ErrEtcd):
		d.add("etcd-directory", "path", d.path)
	case errors.Is(err, datadir.ErrLocked):
		d.add("directory-in-use", "path", d.path)
	case errors.Is(err, datadir.ErrNoFormat):
		d.add("no-format-file", "path", d.path)
	case errors.Is(err, datadir.ErrNewerFormat):
		d.add("newer-format", "path", d.path, "cause", strings.TrimSuffix(err.Error(), "."))
	case isDamage:
		d.add("file-damaged", "file", damaged.File, "offset", fmt.Sprint(damaged.Offset), "what", damaged.What)
	case errors.Is(err, datadir.ErrUnpaired):
		d.unpaired(err)
	default:
		d.add("directory-unreadable", "path", d.path, "cause", err.Error())
	}
}

// unpaired says which of log and store is missing.
func (d *directory) unpaired(err error) {
	names, _ := d.FS.List(d.path)
	hasLog := slices.Contains(names, "log")
	hasStore := slices.ContainsFunc(names, isStore)
	switch {
	case hasStore && !hasLog:
		d.add("store-without-log", "path", d.path)
	case hasLog && !hasStore:
		d.add("log-without-store", "path", d.path)
	default:
		d.add("directory-incomplete", "path", d.path, "cause", err.Error())
	}
}

func isStore(name string) bool { return strings.HasPrefix(name, "store-") }

// stores looks for more stores than one, and for what is not of the layout.
func (d *directory) stores(dir *datadir.Dir) {
	names, err := d.FS.List(d.path)
	if err != nil {
		d.refused(err)
		return
	}
	slices.Sort(names)
	var stores []string
	for _, name := range names {
		if isStore(name) {
			stores = append(stores, name)
		}
	}
	if len(stores) > 1 {
		d.add("two-stores", "path", d.path, "stores", strings.Join(stores, " and "), "current", d.FS.PathBase(dir.StoreDir()))
	}
	for _, name := range dir.Foreign() {
		d.add("foreign-file", "path", d.FS.PathJoin(d.path, name))
	}
}

// lookIntoStore reads the whole store, and compares it with the log if that is sound.
func (d *directory) lookIntoStore(dir *datadir.Dir, r wal.Report, sound bool) {
	broken, err := store.Check(d.FS, dir.StoreDir())
	if err != nil {
		d.storeFailed(err)
		return
	}
	for _, c := range broken {
		d.add("table-damaged", "damage", strings.TrimPrefix(strings.TrimSuffix(c.Error(), "."), "the store is damaged "))
	}
	if len(broken) > 0 {
		return
	}
	db, err := store.OpenReadOnly(d.FS, dir.StoreDir(), store.Options{})
	if err != nil {
		d.storeFailed(err)
		return
	}
	defer func() { _ = db.Close(false) }()
	if err := d.read(db, r, sound); err != nil && d.ctx.Err() == nil {
		d.storeFailed(err)
	}
}

func (d *directory) storeFailed(err error) {
	if errors.Is(err, store.ErrNewer) {
		d.add("newer-format", "path", d.path, "cause", err.Error())
		return
	}
	d.add("table-damaged", "damage", err.Error())
}

// read goes through what an open store holds.
func (d *directory) read(db *store.DB, r wal.Report, sound bool) error {
	applied, err := db.Applied()
	if err != nil {
		return err
	}
	if at := applied.Position.Index; sound && (at > r.Last.Index || at < r.Start.Index) {
		d.add("log-of-another", "applied", fmt.Sprint(at), "first", fmt.Sprint(r.Start.Index+1), "last", fmt.Sprint(r.Last.Index))
	}
	wrong := func(problem string) { d.add("store-wrong", "problem", strings.TrimSuffix(problem, ".")) }
	kv, err := mvcc.Open(db, mvcc.Options{})
	if err != nil {
		return err
	}
	if err := kv.Check(d.ctx, wrong); err != nil {
		return err
	}
	if _, err := auth.Open(db.DB); err != nil {
		return err
	}
	leases, err := lease.Open(db)
	if err != nil {
		return err
	}
	if err := machine.CheckLeases(d.ctx, leases, kv, wrong); err != nil {
		return err
	}
	return d.values(kv)
}

// values looks for the largest ones.
func (d *directory) values(kv *mvcc.Store) error {
	view, err := kv.View()
	if err != nil {
		return err
	}
	var large []largeValue
	seen := map[string]bool{}
	err = view.EachVersion(d.ctx, func(row mvcc.Row) error {
		if size := int64(len(row.Value())); size > int64(d.Limits.ValueBytes) && !seen[string(row.Key())] {
			seen[string(row.Key())] = true
			large = keepLarge(large, string(row.Key()), size, d.Limits)
		}
		return nil
	})
	if err := errors.Join(err, view.Close()); err != nil {
		return err
	}
	judgeValues(&d.report, large, d.Limits)
	return nil
}
