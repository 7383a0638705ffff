package cli

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// endpointHealth is whether one member answers a linearizable read and knows of no alarm.
type endpointHealth struct {
	Endpoint string `json:"endpoint"`
	Health   bool   `json:"health"`
	Took     string `json:"took"` // by the read, as Go writes a duration; empty if no client could be made
	Error    string `json:"error,omitempty"`
}

func (f *family) endpointHealthCommand(cluster *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Check that each endpoint answers a read and has no alarm",
		RunE: action(func(cmd *cobra.Command, args []string) error {
			c, p, err := f.endpointConnector(cmd)
			if err != nil {
				return err
			}
			endpoints, err := c.endpoints(*cluster)
			if err != nil {
				return err
			}
			all := make([]endpointHealth, len(endpoints))
			var asked sync.WaitGroup
			for i, endpoint := range endpoints {
				asked.Go(func() { all[i] = c.health(endpoint) })
			}
			asked.Wait()
			if err := p.EndpointHealth(all); err != nil {
				return err
			}
			for _, h := range all {
				if h.Error != "" {
					return failed(exitFailed, errors.New("unhealthy cluster"))
				}
			}
			return nil
		}),
	}
}

// health asks one endpoint. May run beside itself.
func (c *connector) health(endpoint string) endpointHealth {
	client, err := c.open(endpoint)
	if err != nil {
		return endpointHealth{Endpoint: endpoint, Error: err.Error()}
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	start := time.Now()
	_, err = client.Get(ctx, "health")
	h := endpointHealth{Endpoint: endpoint, Took: time.Since(start).String()}
	// A member that denies the read has asked the cluster whether it may, so it is well.
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		h.Error = err.Error()
		return h
	}
	resp, err := client.AlarmList(ctx)
	switch {
	case err != nil:
		h.Error = "Unable to fetch the alarm list"
	case len(resp.Alarms) > 0:
		h.Error = "Active Alarm(s): " + alarmNames(resp)
	default:
		h.Health = true
	}
	return h
}

// alarmNames names each alarm, with a space after it.
func alarmNames(resp *clientv3.AlarmResponse) string {
	var names string
	for _, alarm := range resp.Alarms {
		switch alarm.Alarm {
		case etcdserverpb.AlarmType_NOSPACE, etcdserverpb.AlarmType_CORRUPT:
			names += alarm.Alarm.String() + " "
		default:
			names += "UNKNOWN "
		}
	}
	return names
}
