package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) defragCommand() *cobra.Command {
	var cluster bool
	cmd := &cobra.Command{
		Use:   "defrag",
		Short: "Have etcd members give free space back; Holdfast's do so by themselves",
	}
	cmd.PersistentFlags().BoolVar(&cluster, "cluster", false, "all members of the cluster, found through the given endpoints")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		c, err := f.connector(cmd)
		if err != nil {
			return err
		}
		if err := checkFormat(f.globals.writeOut); err != nil {
			return err
		}
		endpoints, err := c.endpoints(cluster)
		if err != nil {
			return err
		}
		failures := 0
		progress := NewProgress(cmd.ErrOrStderr())
		for i, endpoint := range endpoints {
			progress.Tell("member %d of %d: %s", i+1, len(endpoints), endpoint)
			alone := *c
			alone.spec.Endpoints = []string{endpoint}
			start := time.Now()
			err := alone.with(func(ctx context.Context, client *clientv3.Client) error {
				_, err := client.Defragment(ctx, endpoint)
				return err
			})
			took := time.Since(start)
			progress.End()
			switch {
			case err == nil:
				fmt.Fprintf(cmd.OutOrStdout(), "Finished defragmenting etcd member[%s]. took %s\n", endpoint, took)
			case ExitCode(err) != exitFailed:
				return err
			default:
				fmt.Fprintf(cmd.ErrOrStderr(), "Failed to defragment etcd member[%s]. took %s. (%v)\n", endpoint, took, err)
				failures++
			}
		}
		if failures > 0 {
			return &failure{code: exitFailed, err: errors.New("some members were not defragmented"), said: true}
		}
		return nil
	})
	return cmd
}
