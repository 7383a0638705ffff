// Package cli holds the client commands of holdfast: get, put, del, txn and their kin, which speak to a
// running cluster and answer as etcdctl 3.7 does.
//
// What it promises:
//
//	C1  What a command writes to its standard output, in each of the five formats, and the code it exits with
//	    are etcdctl's, byte for byte and number for number. testdata/etcdctl holds them, written by etcdctl.
//	C2  A setting is taken from its flag, else from HOLDFASTCTL_<NAME>, else from ETCDCTL_<NAME>, else it has
//	    its default. An empty variable counts as absent.
//	C3  A command that cannot be carried out as it was written, or whose answer could not be shown in the
//	    format asked for, is refused before anything is sent.
//	C4  Everything read or written passes through the command's own streams, so that a test runs a command
//	    in its own process.
//
// Two programs are made of these commands. Under the root command of holdfast, which has flags of its own,
// AddTo hangs them with the client's flags on each one; Main is the whole program for the name etcdctl, where
// the client's flags belong to the root and may also stand before the command. A command that fails has
// already said why on standard error; ExitCode gives the number to exit with.
//
// Each command has a file of its own, and each format a printer (print_*.go). A printer implements one
// interface per family of replies, and only for families that its format can show: a new family of commands
// brings an interface, and the formats that know it.
package cli

import (
	"io"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"
)

// allowPrefixes lets a command be shortened to a beginning that no other has, as in etcdctl: "endp" for
// endpoint. cobra has one such setting for the whole process.
var allowPrefixes = sync.OnceFunc(func() { cobra.EnablePrefixMatching = true })

// family is the flags and the facts that the commands of one program share.
type family struct {
	version Version
	globals *globals
}

// Commands returns the client commands, each bearing the client's flags itself, so that they can hang under a
// root command that has other flags. They are made anew by each call.
func Commands(v Version) []*cobra.Command {
	f := &family{version: v, globals: &globals{}}
	commands := f.commands()
	for _, c := range commands {
		if needsCluster(c) {
			f.globals.register(c.PersistentFlags())
			completeGlobals(c)
		}
		c.SetUsageFunc(usage)
		c.SetFlagErrorFunc(badFlag)
	}
	return commands
}

// AddTo hangs the client commands under root.
func AddTo(root *cobra.Command, v Version) {
	root.AddCommand(Commands(v)...)
	group(root)
}

// Main runs the client as a program of its own. args[0] is the name it was called by; it may be a path. It
// returns the code to exit with and leaves the process running.
func Main(v Version, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	name := "holdfastctl"
	if len(args) > 0 {
		name, args = filepath.Base(args[0]), args[1:]
	}
	allowPrefixes()
	f := &family{version: v, globals: &globals{}}
	root := &cobra.Command{
		Use:   name,
		Short: "Reads and writes the keys of a Holdfast or etcd cluster.",
	}
	f.globals.register(root.PersistentFlags())
	completeGlobals(root)
	root.AddCommand(f.commands()...)
	group(root)
	root.SetUsageFunc(usage)
	root.SetFlagErrorFunc(badFlag)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return ExitCode(root.Execute())
}

func (f *family) commands() []*cobra.Command {
	return []*cobra.Command{
		f.getCommand(),
		f.putCommand(),
		f.delCommand(),
		f.txnCommand(),
		f.compactionCommand(),
		f.leaseCommand(),
		f.lockCommand(),
		f.electCommand(),
		f.watchCommand(),
		f.endpointCommand(),
		f.memberCommand(),
		f.moveLeaderCommand(),
		f.alarmCommand(),
		f.defragCommand(),
		f.downgradeCommand(),
		f.snapshotCommand(),
		f.mirrorCommand(),
		f.checkCommand(),
		f.authCommand(),
		f.userCommand(),
		f.roleCommand(),
		f.versionCommand(),
		f.optionsCommand(),
		f.completionCommand(),
	}
}

// needsCluster tells the commands that speak to a cluster from those that answer alone.
func needsCluster(c *cobra.Command) bool {
	return c.Annotations[localAnnotation] == ""
}

// localAnnotation marks a command that answers without a cluster and so has no use for the client's flags.
const localAnnotation = "holdfast-local"
