package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/mirror"
)

// mirrorReport is how often make-mirror prints how many changes it has made.
const mirrorReport = 30 * time.Second

// mirroring is what make-mirror was asked to do.
type mirroring struct {
	prefix, destPrefix string
	noDestPrefix       bool
	rev                int64
	maxTxnOps          uint

	insecure          bool
	cert, key, cacert string
	user, password    string

	total atomic.Int64 // changes made at the destination
}

func (f *family) mirrorCommand() *cobra.Command {
	m := &mirroring{}
	cmd := &cobra.Command{
		Use:   "make-mirror [flags] <destination>",
		Short: "Copy keys to another cluster, and go on copying what changes",
		Long: `Copy keys to another cluster, and go on copying what changes, until it is stopped or fails.

The number of changes made is printed every 30 seconds. Keys that only the destination has are left alone; leases and
revisions are not copied.`,
		Example: `  make-mirror --endpoints=10.0.0.1:2379 --prefix=/app/ --dest-prefix=/copy/ 10.1.0.1:2379`,
	}
	flags := cmd.Flags()
	flags.StringVar(&m.prefix, "prefix", "", "copy only keys that begin with this")
	flags.Int64Var(&m.rev, "rev", 0, "copy no base, but what has changed since this revision (0 means: begin with all keys)")
	flags.UintVar(&m.maxTxnOps, "max-txn-ops", 128, "largest number of changes in one transaction")
	flags.StringVar(&m.destPrefix, "dest-prefix", "", "put this in place of --prefix at the destination")
	flags.BoolVar(&m.noDestPrefix, "no-dest-prefix", false, "leave --prefix away at the destination")
	flags.StringVar(&m.cert, "dest-cert", "", "`file` of the client's certificate for the destination (PEM)")
	flags.StringVar(&m.key, "dest-key", "", "`file` of the client's private key for the destination (PEM)")
	flags.StringVar(&m.cacert, "dest-cacert", "", "`file` of the authorities that vouch for the destination (PEM)")
	flags.BoolVar(&m.insecure, "dest-insecure-transport", true, "speak to the destination without TLS unless it or a certificate asks for it")
	flags.StringVar(&m.user, "dest-user", "", "user at the destination, as `name[:password]`; without a password it is asked for")
	flags.StringVar(&m.password, "dest-password", "", "password of that user; then --dest-user holds the name alone")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) != 1:
			return badArguments("make-mirror takes one destination argument")
		case m.noDestPrefix && m.destPrefix != "":
			return badArguments("`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one")
		case m.maxTxnOps == 0:
			return badArguments("--max-txn-ops must be at least 1")
		}
		from, err := f.connector(cmd)
		if err != nil {
			return err
		}
		to := *from
		to.spec.Endpoints = []string{args[0]}
		to.spec.Secure = &clientv3.SecureConfig{Cert: m.cert, Key: m.key, Cacert: m.cacert, InsecureTransport: m.insecure}
		there := globals{user: m.user, password: m.password}
		if to.spec.Auth, err = there.auth(cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
			return failed(exitFailed, err)
		}
		target, err := to.open(args[0])
		if err != nil {
			return err
		}
		defer target.Close()
		source, err := from.open(from.spec.Endpoints...)
		if err != nil {
			return err
		}
		defer source.Close()
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		go m.report(ctx, cmd.OutOrStdout(), NewProgress(cmd.ErrOrStderr()))
		return failed(exitFailed, m.run(ctx, source, target))
	})
	return cmd
}

// report prints how far the copy has come until ctx ends.
func (m *mirroring) report(ctx context.Context, out io.Writer, progress *Progress) {
	defer progress.End()
	lines, words := time.NewTicker(mirrorReport), time.NewTicker(time.Second)
	defer lines.Stop()
	defer words.Stop()
	for {
		select {
		case <-lines.C:
			progress.End()
			fmt.Fprintln(out, m.total.Load())
		case <-words.C:
			progress.Tell("%d changes copied", m.total.Load())
		case <-ctx.Done():
			return
		}
	}
}

// errMirrorEnded is what make-mirror says if the watch of the source ends without a reason.
var errMirrorEnded = errors.New("the source has ended the watch; run the command again with --rev, or without to copy everything anew")

// run copies until it fails.
func (m *mirroring) run(ctx context.Context, source, target *clientv3.Client) error {
	syncer := mirror.NewSyncer(source, m.prefix, max(m.rev-1, 0))
	if m.rev <= 1 {
		// The base is copied key by key: it may be larger than any transaction.
		replies, failures := syncer.SyncBase(ctx)
		for reply := range replies {
			for _, kv := range reply.Kvs {
				if _, err := target.Put(ctx, m.rename(kv.Key), string(kv.Value)); err != nil {
					return err
				}
				m.total.Add(1)
			}
		}
		if err := <-failures; err != nil {
			return err
		}
	}
	for response := range syncer.SyncUpdates(ctx) {
		if response.CompactRevision != 0 {
			return rpctypes.ErrCompacted
		}
		if err := response.Err(); err != nil {
			return err
		}
		if err := m.apply(ctx, target, response.Events); err != nil {
			return err
		}
	}
	return errMirrorEnded
}

// apply makes the changes of each revision in a transaction of its own, or in several if they are more than fit.
func (m *mirroring) apply(ctx context.Context, target *clientv3.Client, events []*clientv3.Event) error {
	var ops []clientv3.Op
	var rev int64
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := target.Txn(ctx).Then(ops...).Commit()
		m.total.Add(int64(len(ops)))
		ops = ops[:0]
		return err
	}
	for _, e := range events {
		if e.Kv.ModRevision != rev || len(ops) == int(m.maxTxnOps) {
			if err := flush(); err != nil {
				return err
			}
			rev = e.Kv.ModRevision
		}
		if e.Type == mvccpb.Event_DELETE {
			ops = append(ops, clientv3.OpDelete(m.rename(e.Kv.Key)))
		} else {
			ops = append(ops, clientv3.OpPut(m.rename(e.Kv.Key), string(e.Kv.Value)))
		}
	}
	return flush()
}

// rename returns what a key is called at the destination.
func (m *mirroring) rename(key []byte) string {
	if m.destPrefix == "" && !m.noDestPrefix {
		return string(key)
	}
	return m.destPrefix + strings.TrimPrefix(string(key), m.prefix)
}
