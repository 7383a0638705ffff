package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"holdfast/internal/command"
)

// The version of the cluster, and the only one to which it can be prepared to go: etcd allows one minor version down.
const (
	clusterMajor, clusterMinor = 3, 7
)

var (
	clusterVersion   = fmt.Sprintf("%d.%d", clusterMajor, clusterMinor)
	downgradeVersion = fmt.Sprintf("%d.%d.0", clusterMajor, clusterMinor-1)
)

// Downgrade checks whether the cluster can go to a version, begins to, or stays after all. Nothing is converted, because
// no format here depends on the version: that the cluster is to go there is remembered by all members and in Status.
func (m *maintenanceServer) Downgrade(ctx context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	change := command.Alarm{Action: command.AlarmRaise, Type: command.AlarmDowngrade}
	switch r.Action {
	case pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE:
		if err := m.validateDowngrade(ctx, r.Version); err != nil {
			return nil, err
		}
	case pb.DowngradeRequest_CANCEL:
		// As in etcd, it is no error if there is nothing to cancel.
		change.Action = command.AlarmClear
	default:
		return nil, unfinished("etcdserverpb.Maintenance", "Downgrade with action "+r.Action.String())
	}
	if r.Action != pb.DowngradeRequest_VALIDATE {
		if _, err := proposeReply(ctx, m.s, command.KindAlarm, &change, command.AppendAlarm(nil, &change)); err != nil {
			return nil, err
		}
	}
	return &pb.DowngradeResponse{Header: m.s.currentHeader(), Version: clusterVersion}, nil
}

// validateDowngrade refuses a target in etcd's words.
func (m *maintenanceServer) validateDowngrade(ctx context.Context, target string) error {
	major, minor, ok := parseVersion(target)
	if !ok {
		return rpctypes.ErrGRPCWrongDowngradeVersionFormat
	}
	// What is known here may be old.
	if err := m.s.node.ReadIndex(ctx); err != nil {
		return m.s.readFailed(err)
	}
	switch {
	case major != clusterMajor || minor != clusterMinor-1:
		return rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	case m.s.node.Downgrading():
		return rpctypes.ErrGRPCDowngradeInProcess
	}
	return nil
}

func (m *maintenanceServer) downgradeInfo() *pb.DowngradeInfo {
	if !m.s.node.Downgrading() {
		return &pb.DowngradeInfo{}
	}
	return &pb.DowngradeInfo{Enabled: true, TargetVersion: downgradeVersion}
}

// parseVersion reads major and minor out of a semantic version, which may lack its last number.
func parseVersion(text string) (major, minor int64, ok bool) {
	text, _, _ = strings.Cut(text, "+")
	text, _, _ = strings.Cut(text, "-")
	parts := strings.Split(text, ".")
	if len(parts) != 2 && len(parts) != 3 {
		return 0, 0, false
	}
	var numbers [3]int64
	for i, part := range parts {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return 0, 0, false
		}
		numbers[i] = n
	}
	return numbers[0], numbers[1], true
}
