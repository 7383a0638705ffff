package parity

import (
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var authCorners = []Corner{
	{"authentication cannot be turned on without root", steps(
		auth("AuthStatus", &pb.AuthStatusRequest{}), auth("AuthEnable", &pb.AuthEnableRequest{}), auth("AuthDisable", &pb.AuthDisableRequest{}),
		authenticate("root", "x"), userAdd("root", "x"), auth("AuthEnable", &pb.AuthEnableRequest{}), roleAdd("root"), auth("AuthEnable", &pb.AuthEnableRequest{}),
		auth("AuthStatus", &pb.AuthStatusRequest{}),
		auth("RoleGet", &pb.AuthRoleGetRequest{Role: "root"}), permit("root", authpb.Permission_READ, "a", ""), auth("RoleGet", &pb.AuthRoleGetRequest{Role: "root"}),
		auth("UserDelete", &pb.AuthUserDeleteRequest{Name: "root"}), auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: "root"}),
		auth("RoleGet", &pb.AuthRoleGetRequest{Role: "root"}),
	)},
	{"users of every kind", steps(
		userAdd("", "p"), userAdd("alice", "p"), userAdd("alice", "p"), userAdd("empty", ""), userAdd("long", strings.Repeat("x", 72)), userAdd("longer", strings.Repeat("x", 73)),
		userAdd("", strings.Repeat("x", 73)), userAdd(strings.Repeat("n", 1000), "p"),
		auth("UserAdd", &pb.AuthUserAddRequest{Name: "keyless", Password: "ignored", HashedPassword: "no base64", Options: &authpb.UserAddOptions{NoPassword: true}}),
		auth("UserAdd", &pb.AuthUserAddRequest{Name: "hashed", Password: "p", HashedPassword: "no base64"}),
		auth("UserGet", &pb.AuthUserGetRequest{}), auth("UserGet", &pb.AuthUserGetRequest{Name: "alice"}), auth("UserGet", &pb.AuthUserGetRequest{Name: "missing"}),
		change("missing", "p", ""), change("", "p", ""), change("alice", "", ""), change("alice", "", "no base64"),
		change("alice", "p", "no base64"), change("alice", strings.Repeat("x", 73), ""), change("missing", strings.Repeat("x", 73), ""), change("keyless", "p", ""),
		auth("UserDelete", &pb.AuthUserDeleteRequest{}), auth("UserDelete", &pb.AuthUserDeleteRequest{Name: "missing"}),
		auth("UserDelete", &pb.AuthUserDeleteRequest{Name: strings.Repeat("n", 1000)}), auth("UserDelete", &pb.AuthUserDeleteRequest{Name: "hashed"}),
	)},
	{"roles and what is granted", steps(
		roleAdd(""), roleAdd("reader"), roleAdd("reader"), roleAdd("other"),
		auth("RoleGet", &pb.AuthRoleGetRequest{}), auth("RoleGet", &pb.AuthRoleGetRequest{Role: "missing"}),
		grantRole("", ""), grantRole("missing", "missing"), grantRole("alice", "missing"), grantRole("alice", ""), grantRole("missing", "reader"),
		grantRole("alice", "reader"), grantRole("alice", "reader"), grantRole("alice", "other"), grantRole("alice", "root"), grantRole("alice", "root"),
		ungrant("alice", "root"), ungrant("alice", "root"), ungrant("alice", "missing"), ungrant("missing", "reader"), ungrant("", ""),
		grantRole("empty", "other"), auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: "other"}), auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: "other"}),
		auth("RoleDelete", &pb.AuthRoleDeleteRequest{}), roleAdd("other"), auth("UserGet", &pb.AuthUserGetRequest{Name: "alice"}),
		auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: "other"}),
	)},
	{"permissions of every kind", permissionCorner()},
	{"who may do what", steps(append(append(episode(), whoMayDoWhat()...), Operation{Restart: Clean}, asRoot(auth("AuthDisable", &pb.AuthDisableRequest{})),
		put("a", "no token is needed"), with("bad", put("a", "a bad token is not looked at")), auth("AuthStatus", &pb.AuthStatusRequest{}))...)},
	{"tokens end", steps(append(episode(),
		with("alice", query(&pb.RangeRequest{Key: []byte("a")})), asRoot(change("alice", "p", "")), with("alice", query(&pb.RangeRequest{Key: []byte("a")})),
		authenticate("alice", "p"), with("alice", query(&pb.RangeRequest{Key: []byte("a")})),
		asRoot(auth("UserDelete", &pb.AuthUserDeleteRequest{Name: "alice"})), with("alice", query(&pb.RangeRequest{Key: []byte("a")})), authenticate("alice", "p"),
		asRoot(userAdd("alice", "p")), with("alice", query(&pb.RangeRequest{Key: []byte("a")})), authenticate("alice", "p"),
		with("alice", query(&pb.RangeRequest{Key: []byte("a")})), asRoot(grantRole("alice", "root")), with("alice", query(&pb.RangeRequest{Key: []byte("a")})),
		with("alice", permit("reader", authpb.Permission_READ, "ab", "")), asRoot(ungrant("alice", "root")), with("alice", query(&pb.RangeRequest{Key: []byte("a")})),
		asRoot(change("root", "new", "")), asRoot(query(&pb.RangeRequest{Key: []byte("a")})), authenticate("root", rootPassword), authenticate("root", "new"),
		asRoot(change("root", rootPassword, "")), authenticate("root", rootPassword),
		// Users without a password that anybody knows.
		authenticate("keyless", ""), authenticate("empty", ""), authenticate("empty", "p"), authenticate("missing", "p"), authenticate("", ""),
		authenticate("long", strings.Repeat("x", 72)), authenticate("long", strings.Repeat("x", 73)), asRoot(change("bob", "", "")), authenticate("bob", ""), authenticate("bob", "q"),
		asRoot(change("bob", "", hashOfP)), authenticate("bob", "p"), with("bob", put("k", "1")),
		asRoot(auth("AuthDisable", &pb.AuthDisableRequest{})), auth("AuthEnable", &pb.AuthEnableRequest{}), auth("AuthEnable", &pb.AuthEnableRequest{}),
		// A token from before is no token, nor is root's.
		with("bob", query(&pb.RangeRequest{Key: []byte("a")})), asRoot(query(&pb.RangeRequest{Key: []byte("a")})),
		authenticate("root", rootPassword), asRoot(auth("AuthEnable", &pb.AuthEnableRequest{})), asRoot(auth("AuthDisable", &pb.AuthDisableRequest{})))...)},
}

// hashOfP is the base64 of a bcrypt hash of "p".
const hashOfP = "JDJhJDA0JGxRNHh0S1VULmxWWE9KOTBMUEpGaU90ODFQRXhwUW5HUzg1Y2ROQ1JOdzNNQ3hieDZFVjhp"

func change(name, password, hash string) Operation {
	return auth("UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: name, Password: password, HashedPassword: hash})
}

func ungrant(name, role string) Operation {
	return auth("UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: name, Role: role})
}

func with(user string, o Operation) Operation { return as(user, o)[0] }

func asRoot(o Operation) Operation { return with("root", o) }

// permissionCorner grants and revokes every pair of key and end, to a role that is there and to one that is not, as often as etcd replaces
// what it has.
func permissionCorner() []func(*State) Operation {
	var all []func(*State) Operation
	add := func(operations ...Operation) { all = append(all, steps(operations...)...) }
	revokePair := func(role, key, end string) Operation {
		return auth("RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: role, Key: []byte(key), RangeEnd: []byte(end)})
	}
	pairs := [][2]string{{"", ""}, {"", "a"}, {"", "\x00"}, {"a", ""}, {"a", "b"}, {"a", "a"}, {"b", "a"}, {"a", "\x00"}, {"\x00", "\x00"}, {"\x00", ""}, {"\x00", "a"},
		{"a", "a\x00"}, {"\xff", "\x00"}}
	for kind := range authpb.Permission_Type(4) {
		for i, pair := range pairs {
			role := "reader"
			if (i+int(kind))%5 == 4 {
				role = "missing"
			}
			all = append(all, func(s *State) Operation {
				if s.grantsTwice(role, []byte(pair[0]), []byte(pair[1])) {
					return revokePair(role, pair[0], pair[1])
				}
				return permit(role, kind, pair[0], pair[1])
			})
		}
		for i, pair := range pairs {
			if i%2 == int(kind)%2 {
				add(revokePair("reader", pair[0], pair[1]))
			}
		}
	}
	for _, role := range []string{"reader", "missing", ""} {
		add(auth("RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: role}),
			auth("RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: role, Perm: &authpb.Permission{}}), revokePair(role, "", ""))
	}
	// A range that etcd holds twice is revoked at once.
	add(auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: "reader"}), roleAdd("reader"),
		permit("reader", authpb.Permission_READ, "a", "b"), permit("reader", authpb.Permission_READ, "a", "c"), permit("reader", authpb.Permission_WRITE, "a", "c"), revokePair("reader", "a", "c"))
	add(auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: "reader"}))
	return all
}

// whoMayDoWhat makes each kind of request as each kind of caller.
func whoMayDoWhat() []Operation {
	all := []Operation{asRoot(grant(31, longTTLSeconds)), asRoot(grant(32, longTTLSeconds)), asRoot(putLeased("b", "leased", 31)), asRoot(putLeased("k1", "leased", 31)),
		asRoot(putLeased("k1", "leased", 32)), asRoot(put("a", "1")), asRoot(put("aa", "1")), asRoot(put("/r/a", "1"))}
	for _, user := range []string{"root", "alice", "bob", "", "bad", "bad.1"} {
		all = append(all, as(user,
			put("/r/a", "x"), put("a", "x"), put("", "x"), putPrevious("/r/a"), putPrevious("aaa"), putPrevious("b"), putLeased("/r/a", "x", 31), putLeased("/r/a", "x", 32), putLeased("/r/a", "x", 99),
			put("/r/a", "x"), query(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}), query(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b\x00")}),
			query(&pb.RangeRequest{Key: []byte("a")}), query(&pb.RangeRequest{Key: []byte("b")}), query(everything()), query(&pb.RangeRequest{Key: []byte("k9"), RangeEnd: []byte{0}}),
			query(&pb.RangeRequest{Key: []byte("k1"), RangeEnd: []byte("k1")}), query(&pb.RangeRequest{Key: []byte("aa"), RangeEnd: []byte("aa")}), query(&pb.RangeRequest{Key: []byte("ab"), RangeEnd: []byte("aa")}), query(&pb.RangeRequest{Key: []byte("z"), RangeEnd: []byte("a")}),
			stream(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}), stream(everything()),
			Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("aaa")}}, Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("b"), PrevKv: true}},
			Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("/r/"), RangeEnd: []byte("/r0"), PrevKv: true}},
			Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}, asRoot(put("b", "1")),
			then(), then(rangeOp("a", "")), then(rangeOp("b", "")), then(rangeOp("a", ""), putOp("/r/a", "2"), nest(putOp("/r/b", "2"))), then(nest(putOp("a", "no"))), then(nest(nest(rangeOp("b", "")))),
			then(deleteOp("aaa", "")), then(leasedOp("/r/a", "x", 31)), then(leasedOp("/r/a", "x", 32)), then(putOp("", "x")),
			Operation{Method: txnMethod, Request: &pb.TxnRequest{Failure: []*pb.RequestOp{putOp("a", "branch not taken")}}},
			Operation{Method: txnMethod, Request: &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("b")}}}},
			Operation{Method: txnMethod, Request: &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("a"), RangeEnd: []byte("b")}}}},
			Operation{Method: txnMethod, Request: &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("a"), RangeEnd: []byte{0}}}}},
			compact(-5), Operation{Method: statusMethod, Request: &pb.StatusRequest{}}, Operation{Method: alarmMethod, Request: &pb.AlarmRequest{}},
			Operation{Method: hashKVMethod, Request: &pb.HashKVRequest{Revision: 1 << 40}}, Operation{Method: hashMethod, Request: &pb.HashRequest{}},
			Operation{Method: defragmentMethod, Request: &pb.DefragmentRequest{}}, Operation{Method: memberListMethod, Request: &pb.MemberListRequest{}},
			Operation{Method: memberListMethod, Request: &pb.MemberListRequest{Linearizable: true}},
			grant(40, 0), grant(40, maxTTLSeconds+1), grant(31, longTTLSeconds), revoke(40), timeToLive(31, false), timeToLive(31, true), timeToLive(32, true), timeToLive(99, true), timeToLive(99, false),
			Operation{Method: leasesMethod, Request: &pb.LeaseLeasesRequest{}}, keepAlive(31), keepAlive(32, 31, 32), keepAlive(99), revoke(31), revoke(99), asRoot(grant(31, longTTLSeconds)), asRoot(putLeased("b", "leased", 31)),
			auth("AuthStatus", &pb.AuthStatusRequest{}), auth("AuthEnable", &pb.AuthEnableRequest{}), userAdd("new", "p"), userAdd("", "p"), userAdd("new", strings.Repeat("x", 73)),
			auth("UserList", &pb.AuthUserListRequest{}), auth("RoleList", &pb.AuthRoleListRequest{}),
			auth("UserGet", &pb.AuthUserGetRequest{Name: "alice"}), auth("UserGet", &pb.AuthUserGetRequest{Name: "root"}), auth("UserGet", &pb.AuthUserGetRequest{}), auth("UserGet", &pb.AuthUserGetRequest{Name: "missing"}),
			auth("RoleGet", &pb.AuthRoleGetRequest{Role: "reader"}), auth("RoleGet", &pb.AuthRoleGetRequest{Role: "root"}), auth("RoleGet", &pb.AuthRoleGetRequest{Role: "missing"}), auth("RoleGet", &pb.AuthRoleGetRequest{}),
			change("bob", "q", "no base64"), change("missing", "", ""), authenticate("bob", "q"), auth("UserDelete", &pb.AuthUserDeleteRequest{Name: "new"}), auth("UserDelete", &pb.AuthUserDeleteRequest{Name: "root"}),
			grantRole("alice", "reader"), grantRole("alice", "missing"), ungrant("root", "root"), ungrant("alice", "missing"), roleAdd("root"), roleAdd(""), auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: "root"}),
			auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: "missing"}), permit("reader", authpb.Permission_READ, "a", "aa"), permit("missing", authpb.Permission_READ, "a", ""), permit("reader", 0, "", ""),
			auth("RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "reader", Key: []byte("q")}),
			watchOn(identityStream, &pb.WatchCreateRequest{Key: []byte("a")}), watchOn(identityStream, &pb.WatchCreateRequest{Key: []byte("b")}),
			watchOn(identityStream, &pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("b"), PrevKv: true}), watchOn(identityStream, &pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}),
			watchOn(identityStream, &pb.WatchCreateRequest{RangeEnd: []byte{0}}), watchOn(identityStream, &pb.WatchCreateRequest{Key: []byte("k9"), RangeEnd: []byte{0}, StartRevision: -1}),
			Operation{Method: watchMethod, Stream: identityStream, Request: &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}},
			asRoot(put("a", "seen by some")), asRoot(revoke(40)))...)
	}
	return append(all, as("root", revoke(31), revoke(32))...)
}

func putPrevious(key string) Operation {
	o := put(key, "new")
	o.Request.(*pb.PutRequest).PrevKv = true
	return o
}
