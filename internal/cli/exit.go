package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// The codes that a command exits with, which are etcdctl's. A code of 128 means that nothing was sent.
const (
	exitFailed       = 1   // the cluster refused, or did not answer in time; a flag that cobra does not know
	exitNoConnection = 2   // no client could be made: a wrong password, no endpoint
	exitBadInput     = 3   // what was read from standard input makes no transaction
	exitBadFeature   = 4   // a flag is known, but not its value
	exitInterrupted  = 5   // a snapshot was not saved, a watch was ended by the server
	exitBadArguments = 128 // the arguments do not fit the command
)

// failure is an error with the code to exit with. Its text has been shown when a command returns it.
type failure struct {
	code int
	err  error
	hint string // what the user can do, in a sentence; may be empty
	said bool   // err has been shown already
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// failed gives err the code to exit with. A nil err stays nil.
func failed(code int, err error) error {
	if err == nil {
		return nil
	}
	return &failure{code: code, err: err}
}

func badArguments(format string, args ...any) error {
	return failed(exitBadArguments, fmt.Errorf(format, args...))
}

// ExitCode returns the code to exit with after a command returned err: 0 for nil, and 1 for an error that did
// not come from a client command.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return exitFailed
}

// action makes the RunE of a command from what it does. An error is shown here, once, without the usage text,
// which nobody needs to read who got a key wrong.
func action(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := do(cmd, args)
		if err == nil {
			return nil
		}
		show(cmd, err)
		return err
	}
}

// show tells the user what went wrong and, where we know it, what to do.
func show(cmd *cobra.Command, err error) {
	stderr := cmd.ErrOrStderr()
	f, ok := errors.AsType[*failure](err)
	if ok && f.said {
		return
	}
	fmt.Fprintln(stderr, "Error:", err)
	if ok && f.hint != "" {
		fmt.Fprintln(stderr, f.hint)
	}
}

// badFlag is what cobra calls when it cannot read the flags of cmd.
func badFlag(cmd *cobra.Command, err error) error {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = &failure{
		code: exitFailed,
		err:  err,
		hint: fmt.Sprintf("\"%s --help\" lists the flags.", cmd.CommandPath()),
	}
	show(cmd, err)
	return err
}
