package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// untilSignal runs do on a client of all endpoints until it is done; do learns by its context that the user has asked it
// to end. Its error gets a code and a hint. Nobody waits for the time of one request here.
func (f *family) untilSignal(cmd *cobra.Command, do func(ctx context.Context, client *clientv3.Client, p kvPrinter) error) error {
	c, err := f.connector(cmd)
	if err != nil {
		return err
	}
	p, err := printerOf[kvPrinter](f.globals, cmd)
	if err != nil {
		return err
	}
	client, err := c.open(c.spec.Endpoints...)
	if err != nil {
		return err
	}
	defer client.Close()
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = do(ctx, client, p)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*failure](err); ok {
		return err
	}
	return &failure{code: exitFailed, err: err, hint: c.hint(err, c.spec.Endpoints, c.spec.DialTimeout)}
}
