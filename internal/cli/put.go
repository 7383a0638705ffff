package cli

import (
	"context"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// putFlags is the flags of put, which a line of a transaction knows too.
type putFlags struct {
	lease       string
	prevKV      bool
	ignoreValue bool
	ignoreLease bool
}

func (p *putFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&p.lease, "lease", "0", "`id` of the lease to bind the key to, in hexadecimal (0 means none)")
	fs.BoolVar(&p.prevKV, "prev-kv", false, "show the key and value as they were before")
	fs.BoolVar(&p.ignoreValue, "ignore-value", false, "keep the value that the key has")
	fs.BoolVar(&p.ignoreLease, "ignore-lease", false, "keep the lease that the key has")
}

func (f *family) putCommand() *cobra.Command {
	flags := &putFlags{}
	cmd := &cobra.Command{
		Use:   "put <key> [value]",
		Short: "Put a value under a key",
		Long: `Put a value under a key.

Without [value], and unless --ignore-value is set, the value is all that comes from standard input, to the last
byte, its final newline included. An argument that begins with a dash would be taken for a flag; put -- before
it.`,
		Example: `  put greeting hello
  put -- greeting -5
  put motd < /etc/motd`,
	}
	flags.register(cmd.Flags())
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		key, value, opts, err := flags.options(args, cmd.InOrStdin())
		if err != nil {
			return err
		}
		c, err := f.connector(cmd)
		if err != nil {
			return err
		}
		p, err := printerOf[kvPrinter](f.globals, cmd)
		if err != nil {
			return err
		}
		return c.with(func(ctx context.Context, client *clientv3.Client) error {
			resp, err := client.Put(ctx, key, value, opts...)
			if err != nil {
				return err
			}
			return p.Put(resp)
		})
	})
	return cmd
}

// options turns arguments and flags into a key, a value and what to do with them. A value that is not among
// args is read from stdin.
func (p *putFlags) options(args []string, stdin io.Reader) (key, value string, opts []clientv3.OpOption, err error) {
	refuse := func(format string, args ...any) (string, string, []clientv3.OpOption, error) {
		return "", "", nil, badArguments(format, args...)
	}
	if len(args) == 0 || len(args) > 2 {
		return refuse("put command needs 1 argument and input from stdin or 2 arguments")
	}
	key = args[0]
	switch {
	case p.ignoreValue:
		if len(args) > 1 {
			return refuse("put command needs only 1 argument when 'ignore-value' is set")
		}
	case len(args) == 2:
		value = args[1]
	default:
		read, err := io.ReadAll(stdin)
		if err != nil || len(read) == 0 {
			return refuse("put command needs 1 argument and input from stdin or 2 arguments")
		}
		value = string(read)
	}
	id, err := strconv.ParseInt(p.lease, 16, 64)
	if err != nil {
		return refuse("bad lease ID (%w), expecting ID in Hex", err)
	}
	if id != 0 {
		opts = append(opts, clientv3.WithLease(clientv3.LeaseID(id)))
	}
	if p.prevKV {
		opts = append(opts, clientv3.WithPrevKV())
	}
	if p.ignoreValue {
		opts = append(opts, clientv3.WithIgnoreValue())
	}
	if p.ignoreLease {
		opts = append(opts, clientv3.WithIgnoreLease())
	}
	return key, value, opts, nil
}
