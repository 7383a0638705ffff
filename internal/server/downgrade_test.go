package server

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/command"
)

// A downgrade answers as etcd's does, step by step, is remembered in Status, and is not to be had by an alarm.
func TestDowngrade(t *testing.T) {
	w := newWorld(t, Options{})
	m := pb.NewMaintenanceClient(w.conn)
	const invalid, format = "etcdserver: invalid downgrade target version", "etcdserver: wrong downgrade target version format"
	const busy = "etcdserver: cluster has a downgrade job in progress"
	validate, enable, cancel := pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE, pb.DowngradeRequest_CANCEL
	for i, step := range []struct {
		action pb.DowngradeRequest_DowngradeAction
		target string
		code   codes.Code
		want   string // the refusal
		on     bool   // afterwards
	}{
		{validate, "3.6", codes.OK, "", false},
		{validate, "3.6.12-rc.0+abc", codes.OK, "", false},
		{validate, "3.7", codes.InvalidArgument, invalid, false},
		{validate, "3.5.0", codes.InvalidArgument, invalid, false},
		{validate, "", codes.InvalidArgument, format, false},
		{validate, "3", codes.InvalidArgument, format, false},
		{validate, "v3.6", codes.InvalidArgument, format, false},
		{validate, "3.6.1.1", codes.InvalidArgument, format, false},
		{enable, "4.6", codes.InvalidArgument, invalid, false},
		{cancel, "", codes.OK, "", false},
		{enable, "3.6", codes.OK, "", true},
		{enable, "3.6", codes.FailedPrecondition, busy, true},
		{validate, "3.6", codes.FailedPrecondition, busy, true},
		{cancel, "", codes.OK, "", false},
		{enable, "3.6.0", codes.OK, "", true},
		{9, "3.6", codes.Unimplemented, "this version of Holdfast does not serve etcdserverpb.Maintenance/Downgrade with action 9", true},
	} {
		reads := w.node.mu.reads
		response, err := m.Downgrade(w.as("root"), &pb.DowngradeRequest{Action: step.action, Version: step.target})
		switch {
		case status.Code(err) != step.code, err != nil && status.Convert(err).Message() != step.want:
			t.Errorf("step %d is answered with %v", i, err)
		case err == nil && (response.Version != "3.7" || response.Header.GetRevision() == 0):
			t.Errorf("step %d is answered with %v", i, response)
		case err == nil && step.action != cancel && w.node.mu.reads == reads:
			t.Errorf("step %d did not ask whether what is known here is old", i)
		}
		s, err := m.Status(w.as("root"), &pb.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if step.on {
			want = "3.6.0"
		}
		if s.DowngradeInfo.Enabled != step.on || s.DowngradeInfo.TargetVersion != want {
			t.Errorf("after step %d the status says %v", i, s.DowngradeInfo)
		}
	}
	_, err := m.Downgrade(w.as("bob"), &pb.DowngradeRequest{Action: cancel})
	w.denied("cancel a downgrade", err, "permission denied")
	if _, err := m.Alarm(w.as("root"), &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType(command.AlarmDowngrade)}); err != nil {
		t.Fatal(err)
	}
	if !w.node.Downgrading() {
		t.Error("a client has cancelled a downgrade by clearing an alarm")
	}
	w.node.mu.readIndex = errors.New("there is no majority")
	if _, err := m.Downgrade(w.as("root"), &pb.DowngradeRequest{Action: validate, Version: "3.6"}); err == nil {
		t.Error("a downgrade is validated without a majority")
	}
}
