package offline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"
	etcdversion "go.etcd.io/etcd/api/v3/version"

	"holdfast/internal/cli"
	"holdfast/internal/datadir"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// hashStatus is what etcdutl prints as JSON.
type hashStatus struct {
	Hash            uint32 `json:"hash"`
	HashRevision    int64  `json:"hashRevision"`
	CompactRevision int64  `json:"compactRevision"`
}

func (t *tool) hashCommand() *cobra.Command {
	var revision int64
	c := &cobra.Command{
		Use:   "hashkv <data directory>",
		Short: "Hash what a stopped member holds, as the API's HashKV does",
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.BadArguments("hashkv needs the data directory of a stopped member, and got %d arguments", len(args))
			}
			var s hashStatus
			err := withStore(args[0], func(db *store.DB) error {
				kv, err := mvcc.Open(db, mvcc.Options{})
				if err != nil {
					return err
				}
				hash, compacted, hashed, err := kv.HashKV(cmd.Context(), kind.Revision(revision))
				s = hashStatus{hash, int64(hashed), int64(compacted)}
				return err
			})
			if err != nil {
				return err
			}
			return t.show(cmd, s, []fact{
				{"hash", "Hash", fmt.Sprint(s.Hash), s.Hash},
				{"hash revision", "Hash revision", fmt.Sprint(s.HashRevision), s.HashRevision},
				{"compact revision", "Compact revision", fmt.Sprint(s.CompactRevision), s.CompactRevision},
			})
		}),
	}
	c.Flags().Int64Var(&revision, "rev", 0, "the revision up to which is hashed; 0 for the latest")
	return c
}

// withStore opens the store of a stopped member for reading. A snapshot in etcd's format is told apart.
func withStore(path string, read func(*store.DB) error) (err error) {
	if info, statErr := os.Stat(path); statErr == nil && !info.IsDir() {
		return fmt.Errorf("%s is a file: name the data directory of a stopped member; \"snapshot status\" looks at snapshots", path)
	}
	d, err := datadir.Open(vfs.Default, path, datadir.Options{Modes: datadir.OSModes(), ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if d.Fresh() {
		return fmt.Errorf("%s holds no member yet", path)
	}
	db, err := store.OpenReadOnly(vfs.Default, d.StoreDir(), store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close(false)) }()
	return read(db)
}

func (t *tool) migrateCommand() *cobra.Command {
	var dir, target string
	var force bool
	c := &cobra.Command{
		Use:   "migrate --data-dir {directory} --target-version {version}",
		Short: "Say whether a data directory fits a version",
		Long: "etcd's data directories have a schema for each version, and migrate changes it. A Holdfast directory has one format, which " +
			"every version since the first reads, so there is nothing to migrate; to go to etcd, restore a snapshot there.",
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			if dir == "" || target == "" {
				return cli.BadArguments("migrate needs --data-dir and --target-version")
			}
			return withStore(dir, func(db *store.DB) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s needs no migration: Holdfast's format does not depend on etcd's version %s. "+
					"To run etcd on this data, save a snapshot of the running member and restore it with etcd's etcdutl.\n", dir, target)
				return err
			})
		}),
	}
	c.Flags().StringVar(&dir, "data-dir", "", "the data directory")
	c.Flags().StringVar(&target, "target-version", "", "the version of etcd, as in 3.6")
	c.Flags().BoolVar(&force, "force", false, "accepted for compatibility; has no effect because nothing is changed")
	_ = c.MarkFlagDirname("data-dir")
	return c
}

func (t *tool) defragCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "defrag --data-dir {directory}",
		Short: "Say that a store needs no defragmentation",
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			if dir == "" {
				return cli.BadArguments("defrag needs --data-dir")
			}
			if _, err := os.Stat(filepath.Join(dir, "FORMAT")); err != nil {
				return fmt.Errorf("%s is no data directory of Holdfast's: %w", dir, err)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s needs no defragmentation: Holdfast gives the space of what is deleted back by itself.\n", dir)
			return err
		}),
	}
	c.Flags().StringVar(&dir, "data-dir", "", "the data directory of a stopped member")
	_ = c.MarkFlagDirname("data-dir")
	return c
}

func (t *tool) boltCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "bbolt",
		Short:              "Say why there is no bbolt file to look into",
		DisableFlagParsing: true,
		RunE: cli.Action(func(*cobra.Command, []string) error {
			return errors.New("there is no bbolt file: \"holdfast inspect store\" shows what a data directory holds, and " +
				"\"snapshot save\" writes a bbolt file that etcd's own tools open")
		}),
	}
}

func (t *tool) versionCommand(v cli.Version) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions",
		RunE: cli.Action(func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "etcdutl version: %s\nAPI version: %s\nholdfast version: %s\n", etcdversion.Version, v.API, v.Holdfast)
			return err
		}),
	}
}
