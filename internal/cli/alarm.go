package cli

import (
	"context"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) alarmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alarm <subcommand>",
		Short: "List the alarms of the cluster, or clear them",
	}
	cmd.AddCommand(f.alarmDisarmCommand(), f.alarmListCommand())
	return cmd
}

func (f *family) alarmListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List all alarms"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 0 {
			return badArguments("alarm list command accepts no arguments")
		}
		return clusterAction(f, cmd, func(ctx context.Context, client *clientv3.Client, p alarmPrinter) error {
			resp, err := client.AlarmList(ctx)
			if err != nil {
				return err
			}
			return p.Alarm(resp)
		})
	})
	return cmd
}

func (f *family) alarmDisarmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disarm",
		Short: "Clear all alarms",
		Long: `Clear all alarms.

An alarm whose cause is still there comes back. Those about room clear themselves when there is room again.`,
	}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 0 {
			return badArguments("alarm disarm command accepts no arguments")
		}
		return clusterAction(f, cmd, func(ctx context.Context, client *clientv3.Client, p alarmPrinter) error {
			resp, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{})
			if err != nil {
				return err
			}
			return p.Alarm(resp)
		})
	})
	return cmd
}
