package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/cli"
	"holdfast/internal/grpcproxy"
	"holdfast/internal/tcpproxy"
)

// proxies are the commands that stand between clients and members.
func proxies() []*cobra.Command {
	return []*cobra.Command{tcpproxy.Command(), grpcproxy.Command()}
}

// etcd runs the program under etcd's name: a member, or one of the proxies if the first argument names it.
func etcd(args []string) int {
	if len(args) == 0 || args[0] != "gateway" && args[0] != "grpc-proxy" {
		return serve("etcd", args)
	}
	root := &cobra.Command{Use: "etcd", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(proxies()...)
	root.SetArgs(args)
	err := root.Execute()
	if err != nil && strings.HasPrefix(err.Error(), "unknown ") {
		fmt.Fprintf(os.Stderr, "etcd: %v (\"etcd %s --help\" lists the commands and flags)\n", err, args[0])
	}
	return cli.ExitCode(err)
}
