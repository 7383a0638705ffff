package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// endpointStatus is what one member says of itself.
type endpointStatus struct {
	Endpoint string                   `json:"Endpoint"`
	Status   *clientv3.StatusResponse `json:"Status"`
}

// endpointHash is the hash of one member's keys and their history.
type endpointHash struct {
	Endpoint string                   `json:"Endpoint"`
	HashKV   *clientv3.HashKVResponse `json:"HashKV"`
}

func (f *family) endpointCommand() *cobra.Command {
	var cluster bool
	cmd := &cobra.Command{
		Use:   "endpoint <subcommand>",
		Short: "Ask single members how they are: health, status, hashkv",
	}
	cmd.PersistentFlags().BoolVar(&cluster, "cluster", false, "ask all members of the cluster, found through the given endpoints")
	cmd.PersistentFlags().Lookup("cluster").Annotations = map[string][]string{settingAnnotation: {"true"}}
	cmd.AddCommand(f.endpointHealthCommand(&cluster), f.endpointStatusCommand(&cluster), f.endpointHashCommand(&cluster))
	return cmd
}

func (f *family) endpointStatusCommand(cluster *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the status of each endpoint",
		Long: `Show the status of each endpoint.

In the simple format a line holds, separated by commas: endpoint, member id, version, storage version, size of the
store, how much of it is in use, the percentage that is not, quota, whether it leads, whether it is a learner, Raft
term, Raft index, applied Raft index, errors, version to downgrade to, whether a downgrade is under way.`,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			c, p, err := f.endpointConnector(cmd)
			if err != nil {
				return err
			}
			var all []endpointStatus
			err = c.eachEndpoint(cmd, *cluster, "status", func(ctx context.Context, client *clientv3.Client, endpoint string) error {
				resp, err := client.Status(ctx, endpoint)
				if err == nil {
					all = append(all, endpointStatus{endpoint, resp})
				}
				return err
			})
			if shown := p.EndpointStatus(all); shown != nil {
				return shown
			}
			return err
		}),
	}
}

func (f *family) endpointHashCommand(cluster *bool) *cobra.Command {
	var rev int64
	cmd := &cobra.Command{
		Use:   "hashkv",
		Short: "Show the hash of the keys and their history on each endpoint",
	}
	cmd.PersistentFlags().Int64Var(&rev, "rev", 0, "hash up to this revision (0 means the latest)")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		c, p, err := f.endpointConnector(cmd)
		if err != nil {
			return err
		}
		var all []endpointHash
		err = c.eachEndpoint(cmd, *cluster, "hash", func(ctx context.Context, client *clientv3.Client, endpoint string) error {
			resp, err := client.HashKV(ctx, endpoint, rev)
			if err == nil {
				all = append(all, endpointHash{endpoint, resp})
			}
			return err
		})
		if shown := p.EndpointHashKV(all); shown != nil {
			return shown
		}
		return err
	})
	return cmd
}

func (f *family) endpointConnector(cmd *cobra.Command) (*connector, endpointPrinter, error) {
	c, err := f.connector(cmd)
	if err != nil {
		return nil, nil, err
	}
	p, err := printerOf[endpointPrinter](f.globals, cmd)
	return c, p, err
}

// endpoints returns the endpoints that were given or, for the whole cluster, those that its members name.
func (c *connector) endpoints(cluster bool) ([]string, error) {
	if !cluster {
		return c.spec.Endpoints, nil
	}
	var all []string
	err := c.with(func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.MemberList(ctx)
		if err != nil {
			return fmt.Errorf("failed to fetch endpoints from etcd cluster member list: %w", err)
		}
		for _, member := range resp.Members {
			all = append(all, member.ClientURLs...)
		}
		return nil
	})
	return all, err
}

// eachEndpoint asks one endpoint after the other. One that fails is reported on standard error and does not
// keep the rest from being asked; the last failure is returned.
func (c *connector) eachEndpoint(cmd *cobra.Command, cluster bool, what string, ask func(context.Context, *clientv3.Client, string) error) error {
	endpoints, err := c.endpoints(cluster)
	if err != nil {
		return err
	}
	var last error
	for _, endpoint := range endpoints {
		alone := *c
		alone.spec.Endpoints = []string{endpoint}
		err := alone.with(func(ctx context.Context, client *clientv3.Client) error { return ask(ctx, client, endpoint) })
		if err == nil {
			continue
		}
		if ExitCode(err) != exitFailed {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Failed to get the %s of endpoint %s (%v)\n", what, endpoint, err)
		last = err
	}
	return last
}
