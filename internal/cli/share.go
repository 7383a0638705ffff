package cli

import (
	"io"

	"github.com/spf13/cobra"
)

// What the commands that work on files have in common with those that ask a cluster.

// Size writes a number of bytes for people, as etcdctl does: in powers of a thousand, two digits below ten.
func Size(bytes int64) string { return sizeText(bytes) }

// Table draws a table as etcdctl does.
func Table(out io.Writer, header []string, rows [][]string) error {
	return (&tablePrinter{out}).draw(header, rows)
}

// Action makes the RunE of a command from what it does. An error is shown once, without the usage text.
func Action(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return action(do)
}

// BadArguments is the error of a command whose arguments do not fit: it exits with etcdctl's code for that.
func BadArguments(format string, args ...any) error { return badArguments(format, args...) }
