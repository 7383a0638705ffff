package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) compactionCommand() *cobra.Command {
	var physical bool
	cmd := &cobra.Command{
		Use:   "compaction <revision>",
		Short: "Forget the history of keys before a revision",
	}
	cmd.Flags().BoolVar(&physical, "physical", false, "wait until the old versions have left the disk")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("compaction command needs 1 argument")
		}
		rev, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return failed(exitFailed, err)
		}
		c, err := f.connector(cmd)
		if err != nil {
			return err
		}
		if err := checkFormat(f.globals.writeOut); err != nil {
			return err
		}
		var opts []clientv3.CompactOption
		if physical {
			opts = append(opts, clientv3.WithCompactPhysical())
		}
		return c.with(func(ctx context.Context, client *clientv3.Client) error {
			if _, err := client.Compact(ctx, rev, opts...); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "compacted revision", rev)
			return err
		})
	})
	return cmd
}
