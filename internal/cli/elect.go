package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func (f *family) electCommand() *cobra.Command {
	var listen bool
	cmd := &cobra.Command{
		Use:   "elect <name> [proposal]",
		Short: "Take part in an election, or watch who leads",
		Long: `Take part in an election, or watch who leads.

With a proposal the command waits until it leads, shows its key and proposal, and leads until it is stopped. With
--listen it shows the leader and every change.`,
		Example: `  elect boss "$(hostname)"
  elect boss --listen`,
	}
	cmd.Flags().BoolVarP(&listen, "listen", "l", false, "show who leads instead of taking part")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) != 1 && len(args) != 2:
			return badArguments("elect takes one election name argument and an optional proposal argument")
		case len(args) == 1 && !listen:
			return badArguments("no proposal argument but -l not set")
		case len(args) == 2 && listen:
			return badArguments("proposal given but -l is set")
		}
		return f.untilSignal(cmd, func(ctx context.Context, client *clientv3.Client, p kvPrinter) error {
			session, err := concurrency.NewSession(client)
			if err != nil {
				return err
			}
			election := concurrency.NewElection(session, args[0])
			if listen {
				return observeElection(ctx, election, p)
			}
			return campaign(ctx, client, session, election, args[1], p)
		})
	})
	return cmd
}

// observeElection shows each leader and its proposals until ctx ends.
func observeElection(ctx context.Context, election *concurrency.Election, p kvPrinter) error {
	for leader := range election.Observe(ctx) {
		if err := p.Get(leader); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		return errors.New("elect: observer lost")
	}
	return nil
}

// campaign leads with a proposal until ctx ends.
func campaign(ctx context.Context, client *clientv3.Client, session *concurrency.Session, election *concurrency.Election, proposal string, p kvPrinter) error {
	if err := election.Campaign(ctx, proposal); err != nil {
		return err
	}
	have, err := client.Get(ctx, election.Key())
	if err != nil {
		return err
	}
	if err := p.Get(have); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return election.Resign(client.Ctx())
	case <-session.Done():
		return errors.New("elect: session expired")
	}
}
