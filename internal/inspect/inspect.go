// Package inspect holds the commands that look into the files of a stopped member: its log and its store. They read
// only, except for "inspect wal --cut", which says first what will be lost.
//
// The member must not be running: the commands take the data directory's lock, as a member does.
package inspect

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"holdfast/internal/auth"
	"holdfast/internal/datadir"
	"holdfast/internal/lease"
	"holdfast/internal/machine"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
	"holdfast/internal/wal"
)

// Command returns "inspect" with its sub-commands.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect",
		Short: "Look into the files of a stopped member and check them",
	}
	var dataDir string
	c.PersistentFlags().StringVar(&dataDir, "data-dir", "default.holdfast", "the data directory of the member")
	c.AddCommand(logCommand(&dataDir), storeCommand(&dataDir))
	return c
}

// open takes the data directory for reading.
func open(dataDir string) (*datadir.Dir, error) {
	d, err := datadir.Open(vfs.Default, dataDir, datadir.Options{Modes: datadir.OSModes(), ReadOnly: true})
	if err != nil {
		return nil, err
	}
	if d.Fresh() {
		_ = d.Close()
		return nil, fmt.Errorf("%s holds no member yet: there is nothing to inspect", dataDir)
	}
	return d, nil
}

// errDamaged makes the process exit with an error after the damage has been reported.
var errDamaged = errors.New("damage was found")

// saying makes the RunE of a command from what it does. An error is said here, once; damage has been reported already.
func saying(do func(*cobra.Command) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := do(cmd)
		if err != nil && !errors.Is(err, errDamaged) {
			fmt.Fprintf(cmd.ErrOrStderr(), "holdfast: %v\n", err)
		}
		return err
	}
}

func logCommand(dataDir *string) *cobra.Command {
	var records, cut, yes bool
	c := &cobra.Command{
		Use:   "wal",
		Short: "Dump and check the log",
		Long: "Reads the whole log, checks every record, and says where it ends and whether it is damaged.\n\n" +
			"With --cut it says what would be lost by cutting a damaged log at the damage, and with --yes as well it cuts.",
		Args: cobra.NoArgs,
		RunE: saying(func(cmd *cobra.Command) error {
			d, err := open(*dataDir)
			if err != nil {
				return err
			}
			defer d.Close()
			out := cmd.OutOrStdout()
			if cut {
				return cutLog(out, d.LogDir(), yes)
			}
			return dumpLog(out, d.LogDir(), d.StoreDir(), records)
		}),
	}
	c.Flags().BoolVar(&records, "records", false, "print a line for each record")
	c.Flags().BoolVar(&cut, "cut", false, "say what cutting a damaged log would lose")
	c.Flags().BoolVar(&yes, "yes", false, "with --cut: cut it")
	return c
}

func dumpLog(out io.Writer, dir, storeDir string, records bool) error {
	lines := io.Writer(nil)
	if records {
		lines = out
	}
	r, err := wal.Inspect(vfs.Default, dir, lines)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "log              %s\n", dir)
	fmt.Fprintf(out, "identity         %v\n", r.Identity)
	fmt.Fprintf(out, "begins after     entry %d of term %d\n", r.Start.Index, r.Start.Term)
	fmt.Fprintf(out, "last entry       %d of term %d\n", r.Last.Index, r.Last.Term)
	if h := r.HardState; h != nil {
		fmt.Fprintf(out, "hard state       term %d, vote %x, commit %d\n", h.GetTerm(), h.GetVote(), h.GetCommit())
	}
	fmt.Fprintf(out, "segments         %d\n", r.Segments)
	fmt.Fprintf(out, "records          %d\n", r.Records)
	fmt.Fprintf(out, "ends in          %s at offset %d\n", r.End, r.EndOffset)
	if r.Damage != nil {
		fmt.Fprintf(out, "DAMAGED          %v\n", r.Damage)
		fmt.Fprintf(out, "behind it        %d intact records\n", r.Behind)
		fmt.Fprintln(out, "Restore the member from a backup, or remove it from its cluster and let it join anew; "+
			"\"inspect wal --cut\" says what the last resort would lose.")
		return errDamaged
	}
	if _, err := fmt.Fprintln(out, "The log is whole."); err != nil {
		return err
	}
	return compareWithStore(out, r, storeDir)
}

// compareWithStore says whether the log continues the store (I6): a log that is whole may still be the wrong one.
func compareWithStore(out io.Writer, r wal.Report, storeDir string) error {
	db, err := store.OpenReadOnly(vfs.Default, storeDir, store.Options{})
	if err != nil {
		fmt.Fprintf(out, "The store cannot be opened, so the log was not compared with it: %v\n", err)
		return errDamaged
	}
	defer db.Close(false)
	applied, err := db.Applied()
	if err != nil {
		return err
	}
	at := applied.Position
	switch {
	case at.Index > r.Last.Index:
		fmt.Fprintf(out, "It does not belong to the store, which has applied entry %d: the log ends before it, so it is an older copy or "+
			"has lost entries. Restore both from the same backup.\n", at.Index)
		return errDamaged
	case at.Index < r.Start.Index:
		fmt.Fprintf(out, "It does not belong to the store, which has applied entries up to %d only: those between are missing. "+
			"Restore both from the same backup.\n", at.Index)
		return errDamaged
	}
	_, err = fmt.Fprintf(out, "It continues the store, which has applied entry %d of term %d.\n", at.Index, at.Term)
	return err
}

func cutLog(out io.Writer, dir string, yes bool) error {
	loss, err := wal.PlanCut(vfs.Default, dir)
	if err != nil {
		return err
	}
	fmt.Fprint(out, loss.String())
	if !yes {
		_, err := fmt.Fprintln(out, "Nothing has been changed. To cut, run the same command with --yes.")
		return err
	}
	if err := wal.Cut(vfs.Default, dir, loss); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "The log has been cut.")
	return err
}

func storeCommand(dataDir *string) *cobra.Command {
	var records, check bool
	c := &cobra.Command{
		Use:   "store",
		Short: "Dump and check the store",
		Long: "Says whose store it is, where it stands, and what it holds.\n\n" +
			"With --check every block of every file is read and its checksum compared, and the history is held against the versions.",
		Args: cobra.NoArgs,
		RunE: saying(func(cmd *cobra.Command) error {
			d, err := open(*dataDir)
			if err != nil {
				return err
			}
			defer d.Close()
			out := cmd.OutOrStdout()
			if check {
				return checkStore(cmd, out, d.StoreDir())
			}
			return store.Inspect(vfs.Default, d.StoreDir(), out, store.Dump{Records: records, Describe: map[byte]store.Describer{
				store.FamilyAuth:  auth.Describe,
				store.FamilyLease: lease.Describe,
			}})
		}),
	}
	c.Flags().BoolVar(&records, "records", false, "print a line for each record")
	c.Flags().BoolVar(&check, "check", false, "read and check everything")
	return c
}

func checkStore(cmd *cobra.Command, out io.Writer, dir string) error {
	broken, err := store.Check(vfs.Default, dir)
	if err != nil {
		return err
	}
	for _, c := range broken {
		fmt.Fprintf(out, "DAMAGED          %v\n", c)
	}
	if len(broken) > 0 {
		fmt.Fprintln(out, "Restore the member from a backup, or remove it from its cluster and let it join anew.")
		return errDamaged
	}
	db, err := store.OpenReadOnly(vfs.Default, dir, store.Options{})
	if err != nil {
		return err
	}
	defer db.Close(false)
	kv, err := mvcc.Open(db, mvcc.Options{})
	if err != nil {
		return err
	}
	problems := 0
	err = kv.Check(cmd.Context(), func(problem string) {
		problems++
		fmt.Fprintf(out, "WRONG            %s\n", problem)
	})
	if err != nil {
		return err
	}
	if _, err := auth.Open(db.DB); err != nil {
		return err
	}
	leases, err := lease.Open(db)
	if err != nil {
		return err
	}
	err = machine.CheckLeases(cmd.Context(), leases, kv, func(problem string) {
		problems++
		fmt.Fprintf(out, "WRONG            %s\n", problem)
	})
	if err != nil {
		return err
	}
	if problems > 0 {
		return errDamaged
	}
	_, err = fmt.Fprintln(out, "The store is whole.")
	return err
}
