package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) leaseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lease <subcommand>",
		Short: "Grant leases, keep them alive, end them, and look at them",
		Long: `Grant leases, keep them alive, end them, and look at them.

A lease is a promise to keep keys for a time. Keys that are put with --lease=<id> are deleted when the lease ends:
when its time to live has passed without a keep-alive, or when it is revoked. Ids are written in hexadecimal.`,
	}
	cmd.AddCommand(f.leaseGrantCommand(), f.leaseRevokeCommand(), f.leaseTimeToLiveCommand(), f.leaseListCommand(),
		f.leaseKeepAliveCommand())
	return cmd
}

// leaseID reads the one argument of a command about a lease.
func leaseID(args []string, refusal string) (clientv3.LeaseID, error) {
	if len(args) != 1 {
		return 0, badArguments("%s", refusal)
	}
	id, err := strconv.ParseInt(args[0], 16, 64)
	if err != nil {
		return 0, badArguments("bad lease ID arg (%w), expecting ID in Hex", err)
	}
	return clientv3.LeaseID(id), nil
}

// leaseAction is action for a command about leases: its printer, and a client with a context that ends when the time
// for one request is up.
func (f *family) leaseAction(cmd *cobra.Command, do func(context.Context, *clientv3.Client, leasePrinter) error) error {
	c, err := f.connector(cmd)
	if err != nil {
		return err
	}
	p, err := printerOf[leasePrinter](f.globals, cmd)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, client *clientv3.Client) error { return do(ctx, client, p) })
}

func (f *family) leaseGrantCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "grant <ttl>", Short: "Grant a lease that lives so many seconds"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("lease grant command needs TTL argument")
		}
		ttl, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return badArguments("bad TTL (%w)", err)
		}
		return f.leaseAction(cmd, func(ctx context.Context, client *clientv3.Client, p leasePrinter) error {
			resp, err := client.Grant(ctx, ttl)
			if err != nil {
				return fmt.Errorf("failed to grant lease (%w)", err)
			}
			return p.Grant(resp)
		})
	})
	return cmd
}

func (f *family) leaseRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke <leaseID>", Short: "End a lease and delete its keys"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		id, err := leaseID(args, "lease revoke command needs 1 argument")
		if err != nil {
			return err
		}
		return f.leaseAction(cmd, func(ctx context.Context, client *clientv3.Client, p leasePrinter) error {
			resp, err := client.Revoke(ctx, id)
			if err != nil {
				return fmt.Errorf("failed to revoke lease (%w)", err)
			}
			return p.Revoke(id, resp)
		})
	})
	return cmd
}

func (f *family) leaseTimeToLiveCommand() *cobra.Command {
	var keys bool
	cmd := &cobra.Command{Use: "timetolive <leaseID>", Short: "Show how long a lease has left"}
	cmd.Flags().BoolVar(&keys, "keys", false, "show the keys of the lease too")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		id, err := leaseID(args, "lease timetolive command needs lease ID as argument")
		if err != nil {
			return err
		}
		var opts []clientv3.LeaseOption
		if keys {
			opts = append(opts, clientv3.WithAttachedKeys())
		}
		return f.leaseAction(cmd, func(ctx context.Context, client *clientv3.Client, p leasePrinter) error {
			resp, err := client.TimeToLive(ctx, id, opts...)
			if err != nil {
				return failed(exitNoConnection, err)
			}
			return p.TimeToLive(resp, keys)
		})
	})
	return cmd
}

func (f *family) leaseListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the leases, the one that ends first in front"}
	cmd.RunE = action(func(cmd *cobra.Command, _ []string) error {
		return f.leaseAction(cmd, func(ctx context.Context, client *clientv3.Client, p leasePrinter) error {
			resp, err := client.Leases(ctx)
			if err != nil {
				return failed(exitNoConnection, err)
			}
			return p.Leases(resp)
		})
	})
	return cmd
}

func (f *family) leaseKeepAliveCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{Use: "keep-alive [--once] <leaseID>", Short: "Keep a lease alive until the command is stopped"}
	cmd.Flags().BoolVar(&once, "once", false, "give the lease its whole time again once, and end")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		id, err := leaseID(args, "lease keep-alive command needs lease ID as argument")
		if err != nil {
			return err
		}
		return f.leaseAction(cmd, func(ctx context.Context, client *clientv3.Client, p leasePrinter) error {
			if once {
				resp, err := client.KeepAliveOnce(ctx, id)
				if err != nil {
					return failed(exitNoConnection, err)
				}
				return p.KeepAlive(resp)
			}
			// Not within the time of one request: this goes on for as long as the lease lives.
			answers, err := client.KeepAlive(client.Ctx(), id)
			if err != nil {
				return failed(exitNoConnection, err)
			}
			for resp := range answers {
				if err := p.KeepAlive(resp); err != nil {
					return err
				}
			}
			return p.Ended(id)
		})
	})
	return cmd
}
