package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func (f *family) lockCommand() *cobra.Command {
	var ttl int
	cmd := &cobra.Command{
		Use:   "lock <name> [command arg ...]",
		Short: "Hold a lock until stopped, or while a command runs",
		Long: `Hold a lock until stopped, or while a command runs.

The lock is a key below <name>/ on a lease that is kept alive; whoever wants it waits until all keys there that are
older than its own have gone. With a command the lock is held while the command runs; it finds the key in ETCD_LOCK_KEY
and the revision in ETCD_LOCK_REV, and its exit code is that of lock. Put -- before a command that has flags.`,
		Example: `  lock door
  lock door -- sh -c 'echo $ETCD_LOCK_KEY'`,
	}
	cmd.Flags().IntVar(&ttl, "ttl", 10, "time to live of the lease, in `seconds`")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return badArguments("lock takes a lock name argument and an optional command to execute")
		}
		return f.untilSignal(cmd, func(ctx context.Context, client *clientv3.Client, p kvPrinter) error {
			return holdLock(ctx, cmd, client, p, ttl, args[0], args[1:])
		})
	})
	return cmd
}

// holdLock takes the lock and holds it while command runs, or without one until ctx ends.
func holdLock(ctx context.Context, cmd *cobra.Command, client *clientv3.Client, p kvPrinter, ttl int, name string, command []string) error {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(ttl))
	if err != nil {
		return err
	}
	mutex := concurrency.NewMutex(session, name)
	if err := mutex.Lock(ctx); err != nil {
		return err
	}
	if len(command) > 0 {
		err := runHolding(cmd, mutex, command)
		unlockErr := mutex.Unlock(client.Ctx())
		if err != nil {
			return err
		}
		return unlockErr
	}
	have, err := client.Get(ctx, mutex.Key())
	switch {
	case err != nil:
		return err
	case len(have.Kvs) == 0:
		return errors.New("lock lost on init")
	}
	if err := p.Get(have); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return mutex.Unlock(client.Ctx())
	case <-session.Done():
		return errors.New("session expired")
	}
}

// runHolding runs a command to its end. The error has the exit code of the command.
func runHolding(cmd *cobra.Command, mutex *concurrency.Mutex, command []string) error {
	c := exec.Command(command[0], command[1:]...)
	c.Env = append([]string{"ETCD_LOCK_KEY=" + mutex.Key(), fmt.Sprintf("ETCD_LOCK_REV=%d", mutex.Header().Revision)}, os.Environ()...)
	c.Stdout, c.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return failed(exit.ExitCode(), err)
	}
	return err
}
