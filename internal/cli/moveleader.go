package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) moveLeaderCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "move-leader <transferee-member-id>",
		Short: "Have the leader hand leadership over to another member",
		Long: `Have the leader hand leadership over to another member.

The endpoint of the leader must be among those given.`,
		Example: `  move-leader 8211f1d0f64f3269 --endpoints=10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379`,
	}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("move-leader command needs 1 argument")
		}
		target, err := strconv.ParseUint(args[0], 16, 64)
		if err != nil {
			return badArguments("%w", err)
		}
		c, err := f.connector(cmd)
		if err != nil {
			return err
		}
		p, err := printerOf[leaderPrinter](f.globals, cmd)
		if err != nil {
			return err
		}
		for _, endpoint := range c.spec.Endpoints {
			alone, found := *c, false
			alone.spec.Endpoints = []string{endpoint}
			err := alone.with(func(ctx context.Context, client *clientv3.Client) error {
				status, err := client.Status(ctx, endpoint)
				if err != nil || status.Header.GetMemberId() != status.Leader {
					return err
				}
				found = true
				resp, err := client.MoveLeader(ctx, target)
				if err != nil {
					return err
				}
				return p.MoveLeader(status.Leader, target, resp)
			})
			if err != nil || found {
				return err
			}
		}
		return badArguments("no leader endpoint given at %v", c.spec.Endpoints)
	})
	return cmd
}
