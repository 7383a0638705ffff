package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) authCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "auth <subcommand>",
		Short: "Let permissions count, or not",
		Long: `Let permissions count, or not.

As long as authentication is not enabled, everybody may do everything. To enable it there must be a user root who
has the role root; "auth enable" makes that role, and gives it to that user, if need be.`,
	}
	cmd.AddCommand(f.authStatusCommand(), f.authEnableCommand(), f.authDisableCommand())
	return cmd
}

// authAction is action for a command about users, roles or authentication: its printer, and a client with a context
// that ends when the time for one request is up.
func (f *family) authAction(cmd *cobra.Command, do func(context.Context, *clientv3.Client, authPrinter) error) error {
	c, err := f.connector(cmd)
	if err != nil {
		return err
	}
	p, err := printerOf[authPrinter](f.globals, cmd)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, client *clientv3.Client) error { return do(ctx, client, p) })
}

// showAction is authAction for commands whose answer the format fields has no form for.
func (f *family) showAction(cmd *cobra.Command, do func(context.Context, *clientv3.Client, showPrinter) error) error {
	c, err := f.connector(cmd)
	if err != nil {
		return err
	}
	p, err := printerOf[showPrinter](f.globals, cmd)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, client *clientv3.Client) error { return do(ctx, client, p) })
}

func (f *family) authStatusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show whether permissions count"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 0 {
			return badArguments("auth status command does not accept any arguments")
		}
		return f.showAction(cmd, func(ctx context.Context, client *clientv3.Client, p showPrinter) error {
			resp, err := client.AuthStatus(ctx)
			if err != nil {
				return err
			}
			return p.AuthStatus(resp)
		})
	})
	return cmd
}

func (f *family) authEnableCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "enable", Short: "Let permissions count"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 0 {
			return badArguments("auth enable command does not accept any arguments")
		}
		return f.switchAuth(cmd, "Authentication Enabled", func(ctx context.Context, client *clientv3.Client) error {
			for {
				_, err := client.AuthEnable(ctx)
				if !errors.Is(err, rpctypes.ErrRootRoleNotExist) {
					return err
				}
				if _, err := client.RoleAdd(ctx, "root"); err != nil {
					return err
				}
				if _, err := client.UserGrantRole(ctx, "root", "root"); err != nil {
					return err
				}
			}
		})
	})
	return cmd
}

func (f *family) authDisableCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "disable", Short: "Let everybody do everything"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 0 {
			return badArguments("auth disable command does not accept any arguments")
		}
		return f.switchAuth(cmd, "Authentication Disabled", func(ctx context.Context, client *clientv3.Client) error {
			_, err := client.AuthDisable(ctx)
			return err
		})
	})
	return cmd
}

// switchAuth runs do and says what was done, in the same words in every format.
func (f *family) switchAuth(cmd *cobra.Command, done string, do func(context.Context, *clientv3.Client) error) error {
	c, err := f.connector(cmd)
	if err != nil {
		return err
	}
	if err := checkFormat(f.globals.writeOut); err != nil {
		return err
	}
	return c.with(func(ctx context.Context, client *clientv3.Client) error {
		if err := do(ctx, client); err != nil {
			return err
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), done)
		return err
	})
}
