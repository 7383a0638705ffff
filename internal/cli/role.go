package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) roleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "role <subcommand>",
		Short: "Add, delete and look at roles and what they may do",
	}
	cmd.AddCommand(f.roleAddCommand(), f.roleDeleteCommand(), f.roleGetCommand(), f.roleListCommand(),
		f.roleGrantCommand(), f.roleRevokeCommand())
	return cmd
}

func (f *family) roleAddCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "add <role name>", Short: "Add a role"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("role add command requires role name as its argument")
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.RoleAdd(ctx, args[0])
			if err != nil {
				return err
			}
			return p.RoleAdd(args[0], resp)
		})
	})
	return cmd
}

func (f *family) roleDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "delete <role name>", Short: "Delete a role, and take it from everybody who has it"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("role delete command requires role name as its argument")
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.RoleDelete(ctx, args[0])
			if err != nil {
				return err
			}
			return p.RoleDelete(args[0], resp)
		})
	})
	return cmd
}

func (f *family) roleGetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "get <role name>", Short: "Show what a role may do"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("role get command requires role name as its argument")
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.RoleGet(ctx, args[0])
			if err != nil {
				return err
			}
			return p.RoleGet(args[0], resp)
		})
	})
	return cmd
}

func (f *family) roleListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List all roles"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 0 {
			return badArguments("role list command requires no arguments")
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.RoleList(ctx)
			if err != nil {
				return err
			}
			return p.RoleList(resp)
		})
	})
	return cmd
}

// permissionFlags say how a key names more keys than itself.
type permissionFlags struct{ prefix, fromKey bool }

func (p *permissionFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&p.prefix, "prefix", false, "all keys that begin with <key>")
	fs.BoolVar(&p.fromKey, "from-key", false, "all keys from <key> on")
}

// interval reads "<key> [endkey]".
func (p *permissionFlags) interval(args []string) (key, end string, err error) {
	switch {
	case (len(args) == 1 || args[0] == "") && p.prefix && p.fromKey:
		return "", "", badArguments("--from-key and --prefix flags are mutually exclusive")
	case args[0] == "":
		// An empty key stands for the lowest there is, and all keys begin with it.
		if p.prefix || p.fromKey {
			return "\x00", "\x00", nil
		}
		return "\x00", "", nil
	case len(args) > 1 && p.prefix:
		return "", "", badArguments("unexpected endkey argument with --prefix flag")
	case len(args) > 1 && p.fromKey:
		return "", "", badArguments("unexpected endkey argument with --from-key flag")
	case len(args) > 1:
		return args[0], args[1], nil
	case p.prefix:
		return args[0], clientv3.GetPrefixRangeEnd(args[0]), nil
	case p.fromKey:
		return args[0], "\x00", nil
	}
	return args[0], "", nil
}

func (f *family) roleGrantCommand() *cobra.Command {
	flags := &permissionFlags{}
	cmd := &cobra.Command{
		Use:   "grant-permission [options] <role name> <permission type> <key> [endkey]",
		Short: "Let a role read, write or readwrite keys",
		Example: `  role grant-permission readers read config/ --prefix
  role grant-permission writers readwrite a m`,
	}
	flags.register(cmd.Flags())
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) < 3 {
			return badArguments("role grant command requires role name, permission type, and key [endkey] as its argument")
		}
		kind, err := clientv3.StrToPermissionType(args[1])
		if err != nil {
			return failed(exitBadArguments, errors.New(err.Error()))
		}
		key, end, err := flags.interval(args[2:])
		if err != nil {
			return err
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.RoleGrantPermission(ctx, args[0], key, end, kind)
			if err != nil {
				return err
			}
			return p.RoleGrantPermission(args[0], resp)
		})
	})
	return cmd
}

func (f *family) roleRevokeCommand() *cobra.Command {
	flags := &permissionFlags{}
	cmd := &cobra.Command{
		Use:   "revoke-permission <role name> <key> [endkey]",
		Short: "Take back what a role was granted, named as it was granted",
	}
	flags.register(cmd.Flags())
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) < 2 {
			return badArguments("role revoke-permission command requires role name and key [endkey] as its argument")
		}
		key, end, err := flags.interval(args[1:])
		if err != nil {
			return err
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.RoleRevokePermission(ctx, args[0], key, end)
			if err != nil {
				return err
			}
			return p.RoleRevokePermission(args[0], args[1], end, resp)
		})
	})
	return cmd
}
