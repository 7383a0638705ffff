package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) memberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "member <subcommand>",
		Short: "List, add, remove, update and promote the members of the cluster",
	}
	cmd.AddCommand(f.memberAddCommand(), f.memberListCommand(), f.memberPromoteCommand(), f.memberRemoveCommand(), f.memberRepairCommand(), f.memberReplaceCommand(), f.memberUpdateCommand())
	return cmd
}

func (f *family) memberListCommand() *cobra.Command {
	var consistency string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the members of the cluster",
		Long: `List the members of the cluster.

In the simple format a line holds, separated by commas: id, whether it has started, name, peer URLs, client URLs,
whether it is a learner.`,
	}
	cmd.Flags().StringVar(&consistency, "consistency", "l", "l: what the whole cluster knows; s: what the asked member knows")
	completeWith(cmd, "consistency", "l", "s")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		var options []clientv3.OpOption
		switch consistency {
		case "l":
		case "s":
			options = append(options, clientv3.WithSerializable())
		default:
			return failed(exitBadFeature, fmt.Errorf("unknown consistency flag %q", consistency))
		}
		return clusterAction(f, cmd, func(ctx context.Context, client *clientv3.Client, p memberListPrinter) error {
			resp, err := client.MemberList(ctx, options...)
			if err != nil {
				return err
			}
			return p.MemberList(resp)
		})
	})
	return cmd
}

func (f *family) memberAddCommand() *cobra.Command {
	var urls string
	var learner bool
	cmd := &cobra.Command{
		Use:   "add <memberName> [options]",
		Short: "Add a member to the cluster",
		Long: `Add a member to the cluster.

In the simple format this prints the settings with which the new member is to be started, for its environment.`,
		Example: `  member add fourth --peer-urls=http://10.0.0.4:2380
  member add fourth --peer-urls=http://10.0.0.4:2380 --learner`,
	}
	cmd.Flags().StringVar(&urls, "peer-urls", "", "where the other members reach the new one, separated by commas")
	cmd.Flags().BoolVar(&learner, "learner", false, "the new member receives what is written and does not vote")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < 1:
			return badArguments("member name not provided")
		case len(args) > 1:
			advice := "too many arguments"
			for _, a := range args {
				if strings.HasPrefix(strings.ToLower(a), "http") {
					advice += ", did you mean --peer-urls=" + a
				}
			}
			return badArguments("%s", advice)
		case urls == "":
			return badArguments("member peer urls not provided")
		}
		return clusterAction(f, cmd, func(ctx context.Context, client *clientv3.Client, p memberPrinter) error {
			add := client.MemberAdd
			if learner {
				add = client.MemberAddAsLearner
			}
			resp, err := add(ctx, strings.Split(urls, ","))
			if err != nil {
				return err
			}
			return p.MemberAdd(args[0], urls, resp)
		})
	})
	return cmd
}

func (f *family) memberRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove <memberID>",
		Short:   "Remove a member from the cluster",
		Example: `  member remove 8211f1d0f64f3269`,
	}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		id, err := memberArgument(args)
		if err != nil {
			return err
		}
		return clusterAction(f, cmd, func(ctx context.Context, client *clientv3.Client, p memberPrinter) error {
			resp, err := client.MemberRemove(ctx, id)
			if err != nil {
				return err
			}
			return p.MemberRemove(id, resp)
		})
	})
	return cmd
}

func (f *family) memberUpdateCommand() *cobra.Command {
	var urls string
	cmd := &cobra.Command{
		Use:     "update <memberID> [options]",
		Short:   "Give a member other peer URLs",
		Example: `  member update 8211f1d0f64f3269 --peer-urls=http://10.0.0.7:2380`,
	}
	cmd.Flags().StringVar(&urls, "peer-urls", "", "where the other members reach it from now on, separated by commas")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		id, err := memberArgument(args)
		if err != nil {
			return err
		}
		if urls == "" {
			return badArguments("member peer urls not provided")
		}
		return clusterAction(f, cmd, func(ctx context.Context, client *clientv3.Client, p memberPrinter) error {
			resp, err := client.MemberUpdate(ctx, id, strings.Split(urls, ","))
			if err != nil {
				return err
			}
			return p.MemberUpdate(id, resp)
		})
	})
	return cmd
}

func (f *family) memberPromoteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "promote <memberID>",
		Short: "Make a learner a member that votes",
	}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		id, err := memberArgument(args)
		if err != nil {
			return err
		}
		return clusterAction(f, cmd, func(ctx context.Context, client *clientv3.Client, p memberPrinter) error {
			resp, err := client.MemberPromote(ctx, id)
			if err != nil {
				return err
			}
			return p.MemberPromote(id, resp)
		})
	})
	return cmd
}

// memberArgument reads the one argument of a command, the id of a member in hexadecimal.
func memberArgument(args []string) (uint64, error) {
	if len(args) != 1 {
		return 0, badArguments("member ID is not provided")
	}
	id, err := strconv.ParseUint(args[0], 16, 64)
	if err != nil {
		return 0, badArguments("bad member ID arg (%w), expecting ID in Hex", err)
	}
	return id, nil
}

// clusterAction runs a command about the cluster with its printer, and a client with a context that ends when the time
// for one request is up.
func clusterAction[P any](f *family, cmd *cobra.Command, do func(context.Context, *clientv3.Client, P) error) error {
	c, err := f.connector(cmd)
	if err != nil {
		return err
	}
	p, err := printerOf[P](f.globals, cmd)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, client *clientv3.Client) error { return do(ctx, client, p) })
}
