package offline

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/cli"
	"holdfast/internal/config"
	"holdfast/internal/etcdfile"
	"holdfast/internal/mvcc"
	"holdfast/internal/restore"
)

func (t *tool) snapshotCommand() *cobra.Command {
	c := &cobra.Command{Use: "snapshot <subcommand>", Short: "Save, look at and restore snapshots"}
	c.AddCommand(t.statusCommand(), t.restoreCommand())
	return c
}

// snapshotStatus is what etcdutl prints as JSON.
type snapshotStatus struct {
	Hash      uint32 `json:"hash"`
	Revision  int64  `json:"revision"`
	TotalKey  int    `json:"totalKey"`
	TotalSize int64  `json:"totalSize"`
	Version   string `json:"version"`
}

func (t *tool) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status <filename>",
		Short: "Say what is in a snapshot: hash, revision, records, bytes, version of the storage",
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.BadArguments("snapshot status needs one file, and got %d arguments", len(args))
			}
			f, err := etcdfile.Open(args[0], etcdfile.OpenOptions{SkipChecksum: true})
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			s, err := f.Status(cmd.Context())
			if err != nil {
				return err
			}
			return t.show(cmd, snapshotStatus{s.Hash, int64(s.Revision), s.TotalKey, s.TotalSize, s.Version}, []fact{
				{"hash", "Hash", fmt.Sprintf("%x", s.Hash), s.Hash},
				{"revision", "Revision", fmt.Sprint(s.Revision), s.Revision},
				{"total keys", "Keys", fmt.Sprint(s.TotalKey), s.TotalKey},
				{"total size", "Size", cli.Size(s.TotalSize), s.TotalSize},
				{"version", "Version", s.Version, s.Version},
			})
		}),
	}
}

// safeBump is by how much a restore raises the revision if nobody says otherwise: far more than a cluster writes between a
// backup and its end.
const safeBump = 1_000_000_000

// target are the flags that say what is made.
type target struct {
	name, dataDir, cluster, token, peerURLs string
}

func (g *target) addTo(c *cobra.Command, defaultDir string) {
	f := c.Flags()
	f.StringVar(&g.name, "name", "default", "the new member's name, as in --initial-cluster")
	f.StringVar(&g.dataDir, "data-dir", "", "the directory to make; it must be empty or not exist (default "+defaultDir+")")
	f.StringVar(&g.cluster, "initial-cluster", "", "all members of the new cluster, as name=peer URL with commas between them (default \"default=http://localhost:2380\", with the member's own name)")
	f.StringVar(&g.token, "initial-cluster-token", "etcd-cluster", "what tells the new cluster from others; the same for all its members")
	f.StringVar(&g.peerURLs, "initial-advertise-peer-urls", "http://localhost:2380", "the new member's peer URLs, as in --initial-cluster")
	_ = c.MarkFlagDirname("data-dir")
}

// options are what the flags say; suffix is that of the default directory.
func (g *target) options(from, suffix string) (restore.Options, error) {
	cluster := g.cluster
	if cluster == "" {
		cluster = g.name + "=" + g.peerURLs
	}
	args := []string{"--name=" + g.name, "--initial-cluster=" + cluster, "--initial-advertise-peer-urls=" + g.peerURLs, "--initial-cluster-token=" + g.token}
	c, _, err := config.Parse("holdfast", args, nil, nil)
	if err != nil {
		return restore.Options{}, err
	}
	if err := c.CheckBootstrap(); err != nil {
		return restore.Options{}, err
	}
	dir := g.dataDir
	if dir == "" {
		dir = g.name + suffix
	}
	return restore.Options{From: from, DataDir: dir, Name: c.Name, Token: c.InitialClusterToken, Members: c.InitialCluster}, nil
}

func (t *tool) restoreCommand() *cobra.Command {
	var g target
	var walDir string
	var skipHash, markCompacted bool
	var bump, mmap uint64
	suffix, defaultBump := ".holdfast", uint64(safeBump)
	if t.etcdutl {
		suffix, defaultBump = ".etcd", 0
	}
	c := &cobra.Command{
		Use:   "restore <filename> --data-dir {directory} [options]",
		Short: "Make the data directory of a member of a new cluster out of a snapshot",
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.BadArguments("snapshot restore needs one file, and got %d arguments", len(args))
			}
			if walDir != "" {
				return cli.BadArguments("--wal-dir is set, but Holdfast keeps its log in the data directory: leave it out, or put a mount point at <data-dir>/log")
			}
			if bump > 0 != markCompacted {
				return cli.BadArguments("--mark-compacted must be given with --bump-revision above 0, and only then: watchers have to read anew when revisions are raised")
			}
			o, err := g.options(args[0], suffix)
			if err != nil {
				return err
			}
			o.SkipChecksum = skipHash
			o.BumpRevision, o.MarkCompacted = int64(min(bump, 1<<62)), markCompacted
			return run(cmd, o)
		}),
	}
	g.addTo(c, "<name>"+suffix)
	f := c.Flags()
	f.StringVar(&walDir, "wal-dir", "", "refused: the log is in the data directory")
	f.BoolVar(&skipHash, "skip-hash-check", false, "take a file without a checksum behind it, such as one copied from a data directory")
	f.Uint64Var(&mmap, "initial-memory-map-size", 0, "accepted for compatibility; has no effect because the file is only read")
	f.Uint64Var(&bump, "bump-revision", defaultBump, "by how much the revision is raised, so that none is given out twice; 0 leaves it")
	f.BoolVar(&markCompacted, "mark-compacted", defaultBump > 0, "call everything up to the raised revision compacted, so that watchers read anew; needed with --bump-revision")
	return c
}

func (t *tool) importCommand() *cobra.Command {
	var g target
	var skipHash bool
	c := &cobra.Command{
		Use:   "import <snapshot or etcd data directory> --data-dir {directory} [options]",
		Short: "Make the data directory of a member out of etcd's data, with all revisions",
		Long: "Reads a snapshot (\"etcdctl snapshot save\"), or the data directory of an etcd that has stopped, its log included, and makes " +
			"the data directory of a Holdfast member with the same revisions, versions, leases, users and roles.\n\n" +
			"For a cluster run it for each member, from the same file and with the same --initial-cluster and --initial-cluster-token, or " +
			"for one member and let the others join it. What is read is not changed.",
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.BadArguments("import needs a snapshot or an etcd data directory, and got %d arguments", len(args))
			}
			o, err := g.options(args[0], ".holdfast")
			if err != nil {
				return err
			}
			o.SkipChecksum = skipHash
			return run(cmd, o)
		}),
	}
	g.addTo(c, "<name>.holdfast")
	c.Flags().BoolVar(&skipHash, "skip-hash-check", false, "take a file without a checksum behind it, such as one copied from a data directory")
	return c
}

// run makes the directory and says what it holds.
func run(cmd *cobra.Command, o restore.Options) error {
	note := cmd.ErrOrStderr()
	progress := cli.NewProgress(note)
	o.Progress = func(changes int64) { progress.Tell("%d changes read", changes) }
	r, err := restore.Run(cmd.Context(), o)
	progress.End()
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(note, format+"\n", args...) }
	say("Made %s: member %s (%v) of cluster %v.", o.DataDir, o.Name, r.Identity.Member, r.Identity.Cluster)
	say("It is at revision %d with %d keys, %d leases, %d users and %d roles.", r.Revision, r.Keys, r.Leases, r.Users, r.Roles)
	if r.Compacted != mvcc.NeverCompacted {
		say("Revisions below %d are compacted.", r.Compacted)
	}
	if o.BumpRevision > 0 {
		say("The revision was raised by %d and everything before called compacted, so that no client takes what was restored for what it "+
			"saw before; --bump-revision=0 --mark-compacted=false keeps the revisions.", o.BumpRevision)
	}
	if r.Replayed > 0 {
		say("%d commands came from etcd's log: it had not been stopped cleanly.", r.Replayed)
	}
	if r.Dropped > 0 {
		say("%d entries at the end of etcd's log were left out: no client was told that they were written.", r.Dropped)
	}
	return endings(note, o)
}

// endings says how to go on.
func endings(note io.Writer, o restore.Options) error {
	_, err := fmt.Fprintf(note, "Start it with: holdfast serve --data-dir %s --name %s --initial-cluster-token %s --initial-cluster %s\n",
		o.DataDir, o.Name, o.Token, members(o.Members))
	return err
}
