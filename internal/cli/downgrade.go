package cli

import (
	"context"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// downgradePrinter shows that a step of a downgrade was taken: validate, enable or cancel.
type downgradePrinter interface {
	Downgrade(step string, r *clientv3.DowngradeResponse) error
}

func (f *family) downgradeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "downgrade <subcommand>",
		Short: "Prepare the cluster for members of an earlier version of etcd: validate, enable, cancel",
		Long: `Prepare the cluster for members of an earlier version of etcd.

Holdfast's own files do not depend on the version, so nothing is converted: the target is remembered and reported by
"endpoint status". To go to etcd itself, restore a snapshot there.`,
	}
	cmd.AddCommand(
		f.downgradeStep("validate", "validate <version>", "Check whether the cluster can go to a version", clientv3.DowngradeValidate),
		f.downgradeStep("enable", "enable <version>", "Begin to go to a version", clientv3.DowngradeEnable),
		f.downgradeStep("cancel", "cancel", "Stay at the present version after all", clientv3.DowngradeCancel),
	)
	return cmd
}

func (f *family) downgradeStep(step, use, short string, do clientv3.DowngradeAction) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			target := ""
			if do != clientv3.DowngradeCancel {
				switch {
				case len(args) < 1:
					return badArguments("TARGET_VERSION not provided")
				case len(args) > 1:
					return badArguments("too many arguments")
				case args[0] == "":
					return badArguments("target version not provided")
				}
				target = args[0]
			}
			c, err := f.connector(cmd)
			if err != nil {
				return err
			}
			p, err := printerOf[downgradePrinter](f.globals, cmd)
			if err != nil {
				return err
			}
			return c.with(func(ctx context.Context, client *clientv3.Client) error {
				resp, err := client.Downgrade(ctx, do, target)
				if err != nil {
					return err
				}
				return p.Downgrade(step, resp)
			})
		}),
	}
}

func (p *simplePrinter) Downgrade(step string, r *clientv3.DowngradeResponse) error {
	return p.line("Downgrade %s success, cluster version %s", step, (*pb.DowngradeResponse)(r).GetVersion())
}

func (p *jsonPrinter) Downgrade(_ string, r *clientv3.DowngradeResponse) error {
	return p.print((*pb.DowngradeResponse)(r))
}

func (p *protobufPrinter) Downgrade(_ string, r *clientv3.DowngradeResponse) error {
	return p.print((*pb.DowngradeResponse)(r))
}
