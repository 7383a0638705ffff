// Package offline holds the commands that need no running member: what etcdutl does, on snapshots, on Holdfast's data
// directories and on etcd's, and the way in from etcd.
//
// Called as etcdutl the program takes that tool's command line and has its defaults. Under the name holdfast the same
// commands stand beside the client's, and restoring is careful: it raises the revision and calls everything before
// compacted, so that no watcher takes what was restored for what it saw before.
package offline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/cli"
)

// tool is the commands under one name.
type tool struct {
	etcdutl bool
	form    string
	timeout time.Duration // etcdutl's, for a lock that nobody waits for here
}

// AddTo adds the commands to those of the program holdfast: status and restore to its command snapshot, if it has one.
func AddTo(root *cobra.Command) {
	t := &tool{}
	snapshot := t.snapshotCommand()
	for _, c := range root.Commands() {
		if c.Name() == "snapshot" {
			c.AddCommand(snapshot.Commands()...)
			snapshot = nil
		}
	}
	if snapshot != nil {
		root.AddCommand(snapshot)
	}
	root.AddCommand(t.importCommand(), t.hashCommand(), t.migrateCommand())
}

// Main runs etcdutl's command line and returns the code to exit with.
func Main(version cli.Version, args []string, out, failures io.Writer) int {
	t := &tool{etcdutl: true}
	root := &cobra.Command{
		Use:           "etcdutl",
		Short:         "Work on the files of Holdfast and of etcd, as etcdutl does",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cobra.EnablePrefixMatching = true
	flags := root.PersistentFlags()
	flags.StringVarP(&t.form, "write-out", "w", "simple", "the form of the output: fields, json, protobuf, simple or table")
	flags.DurationVar(&t.timeout, "timeout", 10*time.Second, "accepted for compatibility; has no effect because a directory that is in use is refused at once")
	root.AddCommand(t.snapshotCommand(), t.importCommand(), t.hashCommand(), t.migrateCommand(), t.defragCommand(), t.boltCommand(), t.versionCommand(version))
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(failures)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "unknown ") {
		fmt.Fprintf(failures, "etcdutl: %v (\"etcdutl --help\" lists the commands)\n", err)
	}
	return cli.ExitCode(err)
}

// forms are those of the flag write-out.
var forms = []string{"simple", "fields", "json", "table", "protobuf"}

// formOf returns the form that the user wants.
func (t *tool) formOf(cmd *cobra.Command) (string, error) {
	form := t.form
	if f := cmd.Flag("write-out"); f != nil {
		form = f.Value.String()
	}
	if form == "" {
		form = "simple"
	}
	if !slices.Contains(forms, form) {
		return "", cli.BadArguments("--write-out is %q, but must be one of %s", form, strings.Join(forms, ", "))
	}
	if form == "protobuf" {
		return "", errors.New("protobuf is not supported as output format here; choose simple, fields, json or table")
	}
	return form, nil
}

// fact is one thing that is shown: its name in a table, in the form "fields", and in JSON.
type fact struct {
	column, field string
	text          string // in a line or a table
	value         any    // in fields and JSON
}

// show writes facts in the wanted form.
func (t *tool) show(cmd *cobra.Command, json any, facts []fact) error {
	form, err := t.formOf(cmd)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch form {
	case "json":
		return writeJSON(out, json)
	case "fields":
		for _, f := range facts {
			if _, err := fmt.Fprintf(out, "%q : %v\n", f.field, f.value); err != nil {
				return err
			}
		}
		return nil
	}
	var header, row []string
	for _, f := range facts {
		header, row = append(header, f.column), append(row, f.text)
	}
	if form == "table" {
		return cli.Table(out, header, [][]string{row})
	}
	_, err = fmt.Fprintln(out, strings.Join(row, ", "))
	return err
}

func writeJSON(out io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, string(b))
	return err
}
