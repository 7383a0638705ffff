// Command holdfast is the server, the client and the admin tool in one binary.
//
//	holdfast [serve] [flags]       a member; without a command it serves
//	holdfast dev                   a whole cluster on this machine, for trying things out
//	holdfast get | put | …         the client, as etcdctl
//	holdfast inspect wal | store   looks into the files of a stopped member
//	holdfast doctor                says what is wrong with a cluster or a data directory, and what to do
//
// Called by the name etcd it is the server with etcd's defaults, by the name etcdctl the client with etcdctl's
// command line.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/cli"
	"holdfast/internal/doctor"
	"holdfast/internal/inspect"
	"holdfast/internal/offline"
	"holdfast/internal/server"
)

// version is what the client's version command prints.
var version = cli.Version{Holdfast: server.Version, API: "3.7"}

func main() { os.Exit(run(os.Args)) }

// run picks the program by the name it was called by and the first argument.
func run(args []string) int {
	switch strings.TrimSuffix(filepath.Base(args[0]), ".exe") {
	case "etcd":
		return etcd(args[1:])
	case "etcdctl":
		return cli.Main(version, args, os.Stdin, os.Stdout, os.Stderr)
	case "etcdutl":
		return offline.Main(version, args[1:], os.Stdout, os.Stderr)
	}
	rest := args[1:]
	switch {
	case len(rest) == 0:
		return serve("holdfast", nil)
	case rest[0] == "serve":
		return serve("holdfast", rest[1:])
	case rest[0] == "--help" || rest[0] == "-h" || rest[0] == "-help":
		// The commands first; the server's flags have a page of their own.
	case strings.HasPrefix(rest[0], "-"):
		return serve("holdfast", rest)
	}
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "A distributed, reliable key-value store with the etcd v3 API: server, client and admin tool.",
		Long: "Holdfast is a distributed, reliable key-value store with the etcd v3 API.\n\n" +
			"Without a command it serves, as \"holdfast serve\" does; \"holdfast serve --help\" lists the settings.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(&cobra.Command{
		Use:                "serve [flags]",
		Short:              "Run a member",
		DisableFlagParsing: true, // the table in config parses; it is reached only for help
		Run:                func(_ *cobra.Command, args []string) { os.Exit(serve("holdfast", args)) },
	})
	root.AddCommand(devCommand())
	root.AddCommand(inspect.Command())
	root.AddCommand(doctor.Command())
	root.AddCommand(proxies()...)
	cli.AddTo(root, version)
	offline.AddTo(root)
	root.SetArgs(rest)
	root.SetContext(context.Background())
	err := root.Execute()
	if err != nil && strings.HasPrefix(err.Error(), "unknown command") {
		said, _, _ := strings.Cut(err.Error(), "\n") // cobra's own suggestions follow, over several lines
		if near := root.SuggestionsFor(rest[0]); len(near) > 0 {
			said += ", did you mean " + strings.Join(near, " or ") + "?"
		}
		fmt.Fprintf(os.Stderr, "holdfast: %s (\"holdfast --help\" lists the commands)\n", said)
	}
	return cli.ExitCode(err)
}
