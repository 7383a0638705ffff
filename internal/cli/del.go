package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// delFlags is the flags of del, which a line of a transaction knows too.
type delFlags struct {
	prefix  bool
	prevKV  bool
	fromKey bool
	asRange bool
}

func (d *delFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&d.prefix, "prefix", false, "delete all keys that begin with the given one")
	fs.BoolVar(&d.prevKV, "prev-kv", false, "show what was deleted")
	fs.BoolVar(&d.fromKey, "from-key", false, "delete all keys from the given one on, in byte order")
	fs.BoolVar(&d.asRange, "range", false, "two arguments mean a range of keys: do not wait before deleting it")
}

func (f *family) delCommand() *cobra.Command {
	flags := &delFlags{}
	cmd := &cobra.Command{
		Use:   "del <key> [range_end]",
		Short: "Delete a key, or the keys from <key> up to but without [range_end]",
		Long: `Delete a key, or the keys from <key> up to but without [range_end].

Two arguments are a range, not two keys. Since that is easily mistaken, the command says so and waits two seconds,
in which it can be interrupted, unless --range is set.`,
	}
	flags.register(cmd.Flags())
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		key, opts, err := flags.options(args)
		if err != nil {
			return err
		}
		if flags.warn(args, cmd.ErrOrStderr()) {
			time.Sleep(rangeDelay)
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
			resp, err := client.Delete(ctx, key, opts...)
			if err != nil {
				return err
			}
			return p.Del(resp)
		})
	})
	return cmd
}

// options turns arguments and flags into a key and which keys to delete with it.
func (d *delFlags) options(args []string) (string, []clientv3.OpOption, error) {
	if len(args) == 0 || len(args) > 2 {
		return "", nil, badArguments("del command needs one argument as key and an optional argument as range_end")
	}
	key, opts, err := interval(args, d.prefix, d.fromKey)
	if d.prevKV {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return key, opts, err
}

// rangeDelay is how long the user has to think again before a range is deleted that was not asked for by flag.
const rangeDelay = 2 * time.Second

// warn announces such a range, and tells whether there is one.
func (d *delFlags) warn(args []string, stderr io.Writer) bool {
	if len(args) < 2 || d.asRange {
		return false
	}
	fmt.Fprintf(stderr, "Warning: Keys between %q and %q will be deleted. Interrupt the command within %v if that is not meant; with --range it does not wait.\n",
		args[0], args[1], rangeDelay)
	return true
}
