package parity

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// identities are the tokens that each side has given.
type identities struct {
	tokens [2]map[string]string
	// passwords are those with which the tokens were got.
	passwords map[string]string
	// root is the present password of root.
	root string
}

// reader is as whom a run reads the state while authentication is on: root, with a token of its own, which the run gets anew whenever it dies.
const reader = "reader"

func newIdentities() identities {
	return identities{tokens: [2]map[string]string{{}, {}}, passwords: map[string]string{}}
}

// with returns the operation with the token of the user as whom it is made.
func (i *identities) with(side int, o Operation) Operation {
	if o.As == "" {
		return o
	}
	token, ok := i.tokens[side][o.As]
	if !ok {
		token = "never" + strings.TrimLeft(o.As, "abcdefghijklmnopqrstuvwxyz\u0141") // what is left is the index of a token, if there is one
	}
	o.Metadata = maps.Clone(o.Metadata)
	if o.Metadata == nil {
		o.Metadata = map[string]string{}
	}
	o.Metadata["token"] = token
	return o
}

// learn remembers the tokens of an Authenticate to which both sides agreed.
func (i *identities) learn(o Operation, answers [2]Answer) {
	if len(answers[0].Messages) != 1 || len(answers[1].Messages) != 1 {
		return
	}
	switch r := o.Request.(type) {
	case *pb.AuthUserAddRequest:
		if r.Name == "root" {
			i.root = r.Password
		}
	case *pb.AuthUserChangePasswordRequest:
		if r.Name == "root" {
			i.root = r.Password
		}
	case *pb.AuthenticateRequest:
		name := r.Name
		if o.As == reader {
			name = reader
		} else {
			i.passwords[name] = r.Password
		}
		for side, a := range answers {
			i.tokens[side][name] = a.Messages[0].(*pb.AuthenticateResponse).Token
		}
	}
}

// endsReader reports whether the token of the run may have died with an operation that succeeded.
func (o Operation) endsReader() bool {
	if r, ok := o.Request.(*pb.AuthUserChangePasswordRequest); ok {
		return r.Name == "root"
	}
	_, ok := o.Request.(*pb.AuthEnableRequest)
	return ok
}

// asReader is the request that gives the run its token.
func (i *identities) asReader() Operation { return with(reader, authenticate("root", i.root)) }

// again are the requests that get new tokens after a restart, which etcd's do not survive. A user whose password has changed since keeps the
// old token, which no side takes any more.
func (i *identities) again() []Operation {
	all := []Operation{i.asReader()}
	for _, name := range slices.Sorted(maps.Keys(i.passwords)) {
		all = append(all, authenticate(name, i.passwords[name]))
	}
	return all
}

// changesAuth reports whether users, roles and permissions have to be read again after the operation.
func (o Operation) changesAuth() bool {
	if o.IsRestart() {
		return true
	}
	if o.Method.Parent() != "etcdserverpb.Auth" {
		return false
	}
	switch o.Method.Name() {
	case "AuthStatus", "UserGet", "UserList", "RoleGet", "RoleList", "Authenticate":
		return false
	}
	return true
}

// reader is as whom a run reads the state: nobody, where no user is needed.
func (s *State) reader() string {
	if s.AuthEnabled {
		return reader
	}
	return ""
}

// learnAuth takes in an answer of the Auth service.
func (s *State) learnAuth(o Operation, a Answer) {
	if len(a.Messages) != 1 {
		return
	}
	switch m := a.Messages[0].(type) {
	case *pb.AuthEnableResponse:
		s.AuthEnabled = true
	case *pb.AuthDisableResponse:
		s.AuthEnabled = false
	case *pb.AuthStatusResponse:
		s.AuthEnabled = m.Enabled
	case *pb.AuthRoleGetResponse:
		s.Permissions[o.Request.(*pb.AuthRoleGetRequest).Role] = m.Perm
	}
}

// grantsTwice reports whether a grant of the range would make etcd hold it twice: it looks for a range to be replaced among those of one key
// at the first only.
func (s *State) grantsTwice(role string, key, end []byte) bool {
	first := true
	for _, p := range s.Permissions[role] {
		if !slices.Equal(p.Key, key) {
			continue
		}
		if slices.Equal(p.RangeEnd, end) {
			return !first
		}
		first = false
	}
	return false
}

// hasTwice reports whether a role has a range twice.
func hasTwice(perms []*authpb.Permission) bool {
	seen := map[string]bool{}
	for _, p := range perms {
		interval := fmt.Sprintf("%q %q", p.Key, p.RangeEnd)
		if seen[interval] {
			return true
		}
		seen[interval] = true
	}
	return false
}

// inverted reports whether a range can hold no key, because it ends where it begins or before.
func inverted(key, end []byte) bool {
	return len(end) > 0 && !(len(end) == 1 && end[0] == 0) && slices.Compare(end, key) <= 0
}

// hasInverted reports whether a request names such a range.
func hasInverted(request proto.Message) bool {
	switch r := request.(type) {
	case *pb.RangeRequest:
		return inverted(r.GetKey(), r.GetRangeEnd())
	case *pb.DeleteRangeRequest:
		return inverted(r.GetKey(), r.GetRangeEnd())
	case *pb.WatchRequest:
		return inverted(r.GetCreateRequest().GetKey(), r.GetCreateRequest().GetRangeEnd())
	case *pb.TxnRequest:
		return slices.ContainsFunc(r.Compare, func(c *pb.Compare) bool { return inverted(c.Key, c.RangeEnd) }) ||
			slices.ContainsFunc(slices.Concat(r.Success, r.Failure), func(op *pb.RequestOp) bool {
				return hasInverted(op.GetRequestRange()) || hasInverted(op.GetRequestDeleteRange()) || (op.GetRequestTxn() != nil && hasInverted(op.GetRequestTxn()))
			})
	}
	return false
}

// readAuth makes the requests that show users and roles, each when the answers before are known, and hands them to do.
func readAuth(do func(Operation) (left Answer, ok bool)) {
	do(auth("AuthStatus", &pb.AuthStatusRequest{}))
	if a, ok := do(auth("UserList", &pb.AuthUserListRequest{})); ok {
		for _, name := range a.Messages[0].(*pb.AuthUserListResponse).Users {
			do(auth("UserGet", &pb.AuthUserGetRequest{Name: name}))
		}
	}
	if a, ok := do(auth("RoleList", &pb.AuthRoleListRequest{})); ok {
		for _, name := range a.Messages[0].(*pb.AuthRoleListResponse).Roles {
			do(auth("RoleGet", &pb.AuthRoleGetRequest{Role: name}))
		}
	}
}

// authRules holds that a token is given where it should be; what it is, each side draws.
func authRules(name string, m proto.Message) []string {
	if r, ok := m.(*pb.AuthenticateResponse); ok && strings.TrimSpace(r.Token) == "" {
		return []string{name + ": an empty token"}
	}
	return nil
}
