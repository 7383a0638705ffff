package parity

import (
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// prepared is an operation whose answer has something in it once others have been made; these may be refused, but alike.
type prepared struct {
	operation Operation
	before    []Operation
}

// preparedMethods are those of leases and users. Each can be made again and again.
func preparedMethods() []prepared {
	lease := []Operation{revoke(71), grant(71, longTTLSeconds), putLeased("p/1", "leased", 71)}
	user := []Operation{userAdd("planted", "p"), roleAdd("planted"), grantRole("planted", "planted"), permit("planted", authpb.Permission_READ, "p", "q")}
	root := []Operation{userAdd("root", "r"), change("root", "r", ""), grantRole("root", "root")}
	enable := auth("AuthEnable", &pb.AuthEnableRequest{})
	in := append(append([]Operation{}, root...), enable, authenticate("root", "r"))
	deleteUser, deleteRole := auth("UserDelete", &pb.AuthUserDeleteRequest{Name: "planted"}), auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: "planted"})
	return []prepared{
		{grant(71, longTTLSeconds), []Operation{revoke(71)}}, {revoke(71), lease}, {keepAlive(71, 72), lease}, {timeToLive(71, true), lease},
		{Operation{Method: leasesMethod, Request: &pb.LeaseLeasesRequest{}}, lease},
		{auth("AuthStatus", &pb.AuthStatusRequest{}), nil}, {enable, root}, {asRoot(auth("AuthDisable", &pb.AuthDisableRequest{})), in}, {authenticate("root", "r"), in},
		{userAdd("planted", "p"), []Operation{deleteUser}}, {auth("UserGet", &pb.AuthUserGetRequest{Name: "planted"}), user}, {auth("UserList", &pb.AuthUserListRequest{}), user},
		{deleteUser, user}, {change("planted", "q", ""), user}, {grantRole("planted", "planted"), []Operation{userAdd("planted", "p"), roleAdd("planted"), ungrant("planted", "planted")}},
		{ungrant("planted", "planted"), user}, {roleAdd("planted"), []Operation{deleteRole}}, {auth("RoleGet", &pb.AuthRoleGetRequest{Role: "planted"}), user},
		{auth("RoleList", &pb.AuthRoleListRequest{}), user}, {deleteRole, user}, {permit("planted", authpb.Permission_READ, "p", "q"), user},
		{auth("RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "planted", Key: []byte("p"), RangeEnd: []byte("q")}), user},
	}
}

// withoutAuth turns authentication off on both systems, if a run has left it on.
func withoutAuth(t *testing.T, systems ...System) {
	t.Helper()
	for _, s := range systems {
		a := Do(s.Conn(), authenticate("root", "r"))
		if len(a.Messages) == 0 {
			continue
		}
		o := auth("AuthDisable", &pb.AuthDisableRequest{})
		o.Metadata = map[string]string{"token": a.Messages[0].(*pb.AuthenticateResponse).Token}
		if a := Do(s.Conn(), o); a.Status.Code() != 0 {
			t.Fatalf("%s: %v", s.Name(), a)
		}
	}
}
