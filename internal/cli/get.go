package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// getFlags is the flags of get, which a line of a transaction knows too.
type getFlags struct {
	consistency    string
	order          string
	sortBy         string
	limit          int64
	prefix         bool
	fromKey        bool
	rev            int64
	keysOnly       bool
	countOnly      bool
	printValueOnly bool
	minCreateRev   int64
	maxCreateRev   int64
	minModRev      int64
	maxModRev      int64
	stream         bool
}

func (g *getFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&g.consistency, "consistency", "l", "l for a linearizable read, s for a serializable one, which one member answers alone")
	fs.StringVar(&g.order, "order", "", "ASCEND or DESCEND (default ASCEND)")
	fs.StringVar(&g.sortBy, "sort-by", "", "what to order by: CREATE, KEY, MODIFY, VALUE or VERSION (default KEY)")
	fs.Int64Var(&g.limit, "limit", 0, "how many keys to show at most (0 means all)")
	fs.BoolVar(&g.prefix, "prefix", false, "get all keys that begin with the given one")
	fs.BoolVar(&g.fromKey, "from-key", false, "get all keys from the given one on, in byte order")
	fs.Int64Var(&g.rev, "rev", 0, "read as of this revision (0 means the latest)")
	fs.BoolVar(&g.keysOnly, "keys-only", false, "get keys without their values")
	fs.BoolVar(&g.countOnly, "count-only", false, "get the number of keys only (with --write-out=fields)")
	fs.BoolVar(&g.printValueOnly, "print-value-only", false, "show values without their keys (with --write-out=simple)")
	fs.Int64Var(&g.minCreateRev, "min-create-rev", 0, "leave out keys created before this revision")
	fs.Int64Var(&g.maxCreateRev, "max-create-rev", 0, "leave out keys created after this revision")
	fs.Int64Var(&g.minModRev, "min-mod-rev", 0, "leave out keys last changed before this revision")
	fs.Int64Var(&g.maxModRev, "max-mod-rev", 0, "leave out keys last changed after this revision")
	fs.BoolVar(&g.stream, "stream", false, "receive the answer in pieces, by the RangeStream call")
}

func (f *family) getCommand() *cobra.Command {
	flags := &getFlags{}
	cmd := &cobra.Command{
		Use:   "get <key> [range_end]",
		Short: "Get a key, or the keys from <key> up to but without [range_end]",
	}
	flags.register(cmd.Flags())
	completeWith(cmd, "consistency", "l", "s")
	completeWith(cmd, "order", "ASCEND", "DESCEND")
	completeWith(cmd, "sort-by", "CREATE", "KEY", "MODIFY", "VALUE", "VERSION")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		key, opts, err := flags.options(args)
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
		if flags.countOnly && f.globals.writeOut != formatFields {
			return badArguments("--count-only is only for `--write-out=fields`")
		}
		if flags.printValueOnly {
			simple, ok := p.(*simplePrinter)
			if !ok {
				return badArguments("print-value-only is only for `--write-out=simple`")
			}
			simple.valueOnly = true
		}
		return c.with(func(ctx context.Context, client *clientv3.Client) error {
			var resp *clientv3.GetResponse
			if flags.stream {
				resp, err = getStream(ctx, client, key, opts)
			} else {
				resp, err = client.Get(ctx, key, opts...)
			}
			if err != nil {
				return err
			}
			return p.Get(resp)
		})
	})
	return cmd
}

func getStream(ctx context.Context, client *clientv3.Client, key string, opts []clientv3.OpOption) (*clientv3.GetResponse, error) {
	stream, err := client.GetStream(ctx, key, opts...)
	if err != nil {
		return nil, err
	}
	return clientv3.GetStreamToGetResponse(stream)
}

var sortOrders = map[string]clientv3.SortOrder{
	"":        clientv3.SortNone,
	"ASCEND":  clientv3.SortAscend,
	"DESCEND": clientv3.SortDescend,
}

var sortTargets = map[string]clientv3.SortTarget{
	"":        clientv3.SortByKey,
	"CREATE":  clientv3.SortByCreateRevision,
	"KEY":     clientv3.SortByKey,
	"MODIFY":  clientv3.SortByModRevision,
	"VALUE":   clientv3.SortByValue,
	"VERSION": clientv3.SortByVersion,
}

// options turns arguments and flags into a key and what to ask about it.
func (g *getFlags) options(args []string) (string, []clientv3.OpOption, error) {
	if len(args) == 0 || len(args) > 2 {
		return "", nil, badArguments("get command needs one argument as key and an optional argument as range_end")
	}
	if g.keysOnly && g.countOnly {
		return "", nil, badArguments("`--keys-only` and `--count-only` cannot be set at the same time, choose one")
	}
	key, opts, err := interval(args, g.prefix, g.fromKey)
	if err != nil {
		return "", nil, err
	}
	switch g.consistency {
	case "l":
	case "s":
		opts = append(opts, clientv3.WithSerializable())
	default:
		return "", nil, failed(exitBadFeature, fmt.Errorf("unknown consistency flag %q", g.consistency))
	}
	order, ok := sortOrders[strings.ToUpper(g.order)]
	if !ok {
		return "", nil, failed(exitBadFeature, fmt.Errorf("bad sort order %v", g.order))
	}
	target, ok := sortTargets[strings.ToUpper(g.sortBy)]
	if !ok {
		return "", nil, failed(exitBadFeature, fmt.Errorf("bad sort target %v", g.sortBy))
	}
	opts = append(opts, clientv3.WithLimit(g.limit), clientv3.WithSort(target, order))
	if g.rev > 0 {
		opts = append(opts, clientv3.WithRev(g.rev))
	}
	if g.keysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if g.countOnly {
		opts = append(opts, clientv3.WithCountOnly())
	}
	filters, err := g.filters()
	return key, append(opts, filters...), err
}

// filters returns the bounds on revisions; a bound of 0 or below is none.
func (g *getFlags) filters() (opts []clientv3.OpOption, err error) {
	if g.maxCreateRev > 0 && g.minCreateRev > g.maxCreateRev {
		return nil, failed(exitBadFeature, fmt.Errorf("--min-create-rev=%v is above --max-create-rev=%v", g.minCreateRev, g.maxCreateRev))
	}
	if g.maxModRev > 0 && g.minModRev > g.maxModRev {
		return nil, failed(exitBadFeature, fmt.Errorf("--min-mod-rev=%v is above --max-mod-rev=%v", g.minModRev, g.maxModRev))
	}
	for _, bound := range []struct {
		rev    int64
		option func(int64) clientv3.OpOption
	}{
		{g.minCreateRev, clientv3.WithMinCreateRev},
		{g.maxCreateRev, clientv3.WithMaxCreateRev},
		{g.minModRev, clientv3.WithMinModRev},
		{g.maxModRev, clientv3.WithMaxModRev},
	} {
		if bound.rev > 0 {
			opts = append(opts, bound.option(bound.rev))
		}
	}
	return opts, nil
}
