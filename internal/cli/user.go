package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user <subcommand>",
		Short: "Add, delete and look at users, their passwords and their roles",
	}
	cmd.AddCommand(f.userAddCommand(), f.userDeleteCommand(), f.userGetCommand(), f.userListCommand(),
		f.userPasswdCommand(), f.userGrantRoleCommand(), f.userRevokeRoleCommand())
	return cmd
}

func (f *family) userAddCommand() *cobra.Command {
	var interactive, noPassword bool
	var fromFlag string
	cmd := &cobra.Command{
		Use:   "add <user name or user:password> [options]",
		Short: "Add a user",
		Long: `Add a user.

The password is asked for twice, unless it stands behind a colon after the name, or --new-user-password has it, or
--interactive=false lets it be read from standard input. What stands on a command line can be seen by others.`,
		Example: `  user add alice
  user add --no-password host1.example.com
  user add bob --interactive=false < password.txt`,
	}
	cmd.Flags().BoolVar(&interactive, "interactive", true, "ask for the password on the terminal; if false, read it from standard input")
	cmd.Flags().StringVar(&fromFlag, "new-user-password", "", "the password")
	cmd.Flags().BoolVar(&noPassword, "no-password", false, "add a user without a password, who is known by the common name of a certificate alone")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("user add command requires user name as its argument")
		}
		user, password := args[0], fromFlag
		if !noPassword && fromFlag == "" {
			name, given, found := strings.Cut(args[0], ":")
			switch {
			case found && name == "":
				return badArguments("empty user name is not allowed")
			case found:
				user, password = name, given
			default:
				var err error
				if password, err = newPassword(cmd, user, interactive); err != nil {
					return err
				}
			}
		}
		if noPassword {
			password = ""
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.UserAddWithOptions(ctx, user, password, &clientv3.UserAddOptions{NoPassword: noPassword})
			if err != nil {
				return err
			}
			return p.UserAdd(user, resp)
		})
	})
	return cmd
}

// newPassword asks for a password twice, or reads one word from standard input.
func newPassword(cmd *cobra.Command, name string, interactive bool) (string, error) {
	if !interactive {
		var word string
		if _, err := fmt.Fscanf(cmd.InOrStdin(), "%s", &word); err != nil && !errors.Is(err, io.EOF) && err.Error() != "unexpected newline" {
			return "", badArguments("read the password: %w", err)
		}
		return word, nil
	}
	first, err := askSecret(cmd.InOrStdin(), cmd.ErrOrStderr(), fmt.Sprintf("Password of %s: ", name))
	if err != nil {
		return "", badArguments("failed to ask password: %w", err)
	}
	if first == "" {
		return "", badArguments("empty password")
	}
	second, err := askSecret(cmd.InOrStdin(), cmd.ErrOrStderr(), fmt.Sprintf("Type password of %s again for confirmation: ", name))
	if err != nil {
		return "", badArguments("failed to ask password: %w", err)
	}
	if first != second {
		return "", badArguments("given passwords are different")
	}
	return first, nil
}

func (f *family) userDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "delete <user name>", Short: "Delete a user"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("user delete command requires user name as its argument")
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.UserDelete(ctx, args[0])
			if err != nil {
				return err
			}
			return p.UserDelete(args[0], resp)
		})
	})
	return cmd
}

func (f *family) userGetCommand() *cobra.Command {
	var detail bool
	cmd := &cobra.Command{Use: "get <user name> [options]", Short: "Show the roles of a user"}
	cmd.Flags().BoolVar(&detail, "detail", false, "show the permissions of the roles instead")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("user get command requires user name as its argument")
		}
		if detail {
			return f.userDetail(cmd, args[0])
		}
		return f.showAction(cmd, func(ctx context.Context, client *clientv3.Client, p showPrinter) error {
			resp, err := client.UserGet(ctx, args[0])
			if err != nil {
				return err
			}
			return p.UserGet(args[0], resp)
		})
	})
	return cmd
}

// userDetail shows a user's roles one by one.
func (f *family) userDetail(cmd *cobra.Command, name string) error {
	return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
		resp, err := client.UserGet(ctx, name)
		if err != nil {
			return err
		}
		s := &sink{w: cmd.OutOrStdout()}
		s.printf("User: %s\n", name)
		for _, role := range resp.Roles {
			s.printf("\n")
			if s.err != nil {
				return s.err
			}
			resp, err := client.RoleGet(ctx, role)
			if err != nil {
				return err
			}
			if err := p.RoleGet(role, resp); err != nil {
				return err
			}
		}
		return s.err
	})
}

func (f *family) userListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List all users"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 0 {
			return badArguments("user list command requires no arguments")
		}
		return f.showAction(cmd, func(ctx context.Context, client *clientv3.Client, p showPrinter) error {
			resp, err := client.UserList(ctx)
			if err != nil {
				return err
			}
			return p.UserList(resp)
		})
	})
	return cmd
}

func (f *family) userPasswdCommand() *cobra.Command {
	var interactive bool
	cmd := &cobra.Command{Use: "passwd <user name> [options]", Short: "Change the password of a user"}
	cmd.Flags().BoolVar(&interactive, "interactive", true, "ask for the password on the terminal; if false, read it from standard input")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("user passwd command requires user name as its argument")
		}
		password, err := newPassword(cmd, args[0], interactive)
		if err != nil {
			return err
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.UserChangePassword(ctx, args[0], password)
			if err != nil {
				return err
			}
			return p.UserChangePassword(resp)
		})
	})
	return cmd
}

func (f *family) userGrantRoleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "grant-role <user name> <role name>", Short: "Give a user a role"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 2 {
			return badArguments("user grant command requires user name and role name as its argument")
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.UserGrantRole(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return p.UserGrantRole(args[0], args[1], resp)
		})
	})
	return cmd
}

func (f *family) userRevokeRoleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke-role <user name> <role name>", Short: "Take a role from a user"}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 2 {
			return badArguments("user revoke-role requires user name and role name as its argument")
		}
		return f.authAction(cmd, func(ctx context.Context, client *clientv3.Client, p authPrinter) error {
			resp, err := client.UserRevokeRole(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return p.UserRevokeRole(args[0], args[1], resp)
		})
	})
	return cmd
}
