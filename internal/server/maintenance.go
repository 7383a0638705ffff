package server

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/node"
)

// defaultQuotaBytes is what etcd reports as its quota when none is set.
const defaultQuotaBytes = 2 << 30

// maintenanceServer serves those methods of the Maintenance service that are listed as served.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	s *Server
}

// Status reports where this member stands. It asks nobody else.
func (m *maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	where := m.s.node.Status()
	disk, live := m.s.node.Sizes()
	response := &pb.StatusResponse{
		Header:           m.s.header.message(m.s.node.KV().Revision(), where.Term),
		Version:          EtcdVersion,
		DbSize:           max(disk, live), // what is live may not have reached the disk yet
		DbSizeInUse:      live,
		Leader:           uint64(where.Leader),
		RaftIndex:        uint64(where.Index),
		RaftTerm:         uint64(where.Term),
		RaftAppliedIndex: uint64(where.Applied),
		IsLearner:        where.Learner,
		StorageVersion:   StorageVersion,
		DbSizeQuota:      m.s.o.QuotaBytes,
		DowngradeInfo:    m.downgradeInfo(),
	}
	if response.DbSizeQuota == 0 {
		response.DbSizeQuota = defaultQuotaBytes
	}
	if where.Leader == 0 {
		response.Errors = append(response.Errors, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader))
	}
	for _, a := range m.s.node.Alarms() {
		response.Errors = append(response.Errors, fmt.Sprintf("memberID:%d alarm:%s", uint64(a.Member), alarmType(a.Type)))
	}
	return response, nil
}

// Alarm lists the alarms, or raises or clears one for the whole cluster. The answer to a change names the alarm if there
// was anything to change, or it was raised before.
func (m *maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	switch r.Action {
	case pb.AlarmRequest_GET:
	case pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE:
		return m.changeAlarm(ctx, r)
	default:
		return nil, unfinished("etcdserverpb.Maintenance", "Alarm with action "+r.Action.String())
	}
	if err := m.s.node.ReadIndex(ctx); err != nil {
		return nil, m.s.readFailed(err)
	}
	response := &pb.AlarmResponse{Header: m.s.currentHeader()}
	for _, a := range m.s.node.Alarms() {
		if t := alarmType(a.Type); r.Alarm == pb.AlarmType_NONE || r.Alarm == t {
			response.Alarms = append(response.Alarms, &pb.AlarmMember{MemberID: uint64(a.Member), Alarm: t})
		}
	}
	return response, nil
}

func (m *maintenanceServer) changeAlarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	change := command.Alarm{
		Action: command.AlarmAction(r.Action),
		Member: kind.MemberID(r.MemberID),
		Type:   command.AlarmType(r.Alarm),
	}
	if change.Type == command.AlarmDowngrade {
		change.Type = command.AlarmNone // it is not for clients to raise or clear
	}
	reply, err := proposeReply(ctx, m.s, command.KindAlarm, &change, command.AppendAlarm(nil, &change))
	if err != nil {
		return nil, err
	}
	response := &pb.AlarmResponse{}
	if err := proto.Unmarshal(reply.Body, response); err != nil {
		return nil, err
	}
	response.Header = m.s.header.message(reply.Revision, m.s.node.Status().Term)
	return response, nil
}

// MoveLeader has this member hand leadership over, and answers, without a header, when it has.
func (m *maintenanceServer) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	err := m.s.node.TransferLeadership(ctx, kind.MemberID(r.TargetID))
	switch {
	case errors.Is(err, node.ErrTimeoutLeaderTransfer):
		// etcd's text has no code, and the client library does not know it.
		return nil, status.Error(codes.Unknown, "etcdserver: "+node.ErrTimeoutLeaderTransfer.Error())
	case err != nil:
		return nil, toStatus(err)
	}
	return &pb.MoveLeaderResponse{}, nil
}

// Defragment does nothing and is done at once: space comes back by itself.
func (m *maintenanceServer) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return &pb.DefragmentResponse{}, nil
}

// Hash hashes this member's whole content.
func (m *maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	hash, err := m.s.node.KV().Hash(ctx)
	if err != nil {
		return nil, m.s.readFailed(err)
	}
	return &pb.HashResponse{Header: m.s.currentHeader(), Hash: hash}, nil
}

// HashKV hashes the keys of this member at a revision, 0 for the latest.
func (m *maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	hash, compacted, hashed, err := m.s.node.KV().HashKV(ctx, kind.Revision(r.Revision))
	if err != nil {
		return nil, m.s.readFailed(err)
	}
	return &pb.HashKVResponse{
		Header:          m.s.currentHeader(),
		Hash:            hash,
		CompactRevision: int64(compacted),
		HashRevision:    int64(hashed),
	}, nil
}
