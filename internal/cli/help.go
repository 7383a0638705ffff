package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usage prints how a command is used. It differs from cobra's own in one thing: the flags that all client
// commands share stand apart from those of the command.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.Runnable() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s [command]\n", cmd.CommandPath())
		for _, g := range cmd.Groups() {
			listCommands(&b, cmd, g.ID, g.Title)
		}
		listCommands(&b, cmd, "", "Commands:")
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	own := pflag.NewFlagSet("own", pflag.ContinueOnError)
	client := pflag.NewFlagSet("client", pflag.ContinueOnError)
	own.SortFlags, client.SortFlags = true, true
	sortFlag := func(f *pflag.Flag) {
		if f.Annotations[clientAnnotation] != nil {
			client.AddFlag(f)
		} else {
			own.AddFlag(f)
		}
	}
	cmd.LocalFlags().VisitAll(sortFlag)
	cmd.InheritedFlags().VisitAll(sortFlag)
	if own.HasAvailableFlags() {
		fmt.Fprintf(&b, "\nFlags:\n%s", own.FlagUsages())
	}
	if client.HasAvailableFlags() {
		fmt.Fprintf(&b, "\nFlags of every client command (also as HOLDFASTCTL_<NAME> or ETCDCTL_<NAME> in the environment):\n%s", client.FlagUsages())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nUse \"%s [command] --help\" for more about a command.\n", cmd.CommandPath())
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// listCommands lists those commands of cmd that are in a group, if there are any.
func listCommands(b *strings.Builder, cmd *cobra.Command, group, title string) {
	first := true
	for _, sub := range cmd.Commands() {
		if sub.GroupID != group || !sub.IsAvailableCommand() && sub.Name() != "help" {
			continue
		}
		if first {
			fmt.Fprintf(b, "\n%s\n", title)
			first = false
		}
		fmt.Fprintf(b, "  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
	}
}
