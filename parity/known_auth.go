package parity

import (
	"google.golang.org/grpc/codes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// authKnown are the differences of users and permissions.
var authKnown = []Known{
	{
		Name: "A hashed password that is none",
		Reason: "etcd takes any base64 for a hash, so that nobody can log in as the user, and answers what is no base64 with an error of the kind Unknown that speaks " +
			"of something else; a hash of a high cost stalls it at each login. Holdfast takes bcrypt hashes up to a bounded cost and refuses the rest as InvalidArgument. With " +
			"UserAdd etcd puts the hash of the empty password in the place of a hash that comes alone, where Holdfast takes it. Runs send such hashes only where etcd refuses " +
			"them, too, since the users differ from then on.",
		Excuses: func(_ *State, o Operation, d Difference, left, right Answer) bool {
			r, ok := o.Request.(*pb.AuthUserChangePasswordRequest)
			return ok && r.Password == "" && r.HashedPassword != "" && left.Status.Code() == codes.Unknown && right.Status.Code() == codes.InvalidArgument
		},
	},
	{
		Name: "A range that is granted again",
		Reason: "etcd replaces the kind of a range only if it is the first of its key, and otherwise holds the range twice, so that what should narrow a " +
			"permission leaves the wider one in force. Holdfast always replaces.",
		Excuses: func(_ *State, o Operation, _ Difference, left, right Answer) bool {
			if _, ok := o.Request.(*pb.AuthRoleGetRequest); !ok || len(left.Messages) != 1 || len(right.Messages) != 1 {
				return false
			}
			return hasTwice(left.Messages[0].(*pb.AuthRoleGetResponse).Perm) && !hasTwice(right.Messages[0].(*pb.AuthRoleGetResponse).Perm)
		},
	},
	{
		Name:   "A password that is too long, from a caller who may not",
		Reason: "etcd hashes the password before it asks who the caller is, so that anybody can make it work. Holdfast asks first, and names the password to those who may.",
		Excuses: func(_ *State, _ Operation, _ Difference, left, right Answer) bool {
			return left.Outcome() == tooLong.outcome() && (right.Status.Code() == codes.PermissionDenied || right.Status.Code() == codes.Unauthenticated ||
				right.Status.Message() == userEmpty)
		},
	},
	{
		Name: "What needs no permission, without a user",
		Reason: "an empty transaction, and UserGet of the user whose name is empty, touch nothing, so that etcd's checks of what they touch find nothing to refuse " +
			"and let callers without a token pass. Holdfast asks who the caller is first.",
		Excuses: func(s *State, o Operation, _ Difference, left, right Answer) bool {
			switch r := o.Request.(type) {
			case *pb.TxnRequest:
				return left.Status.Code() == codes.OK && touchesNothing(r) && s.AuthEnabled && o.As == "" && right.Status.Message() == userEmpty
			case *pb.AuthUserGetRequest:
				return r.Name == "" && o.As == "" && right.Status.Message() == userEmpty
			}
			return false
		},
	},
	{
		Name: "The permission for a range that can hold no key",
		Reason: "a range that ends where it begins, or before, is permitted by etcd only if one permission covers more than both its ends; to Holdfast it counts as the key " +
			"at which it begins. Nothing is read or deleted in either case. Runs make such requests as root, but for a few.",
		Excuses: func(_ *State, o Operation, _ Difference, left, right Answer) bool {
			switch o.Request.(type) {
			case *pb.RangeRequest, *pb.DeleteRangeRequest:
				return hasInverted(o.Request) && left.Status.Code() == codes.PermissionDenied && right.Status.Code() == codes.OK
			}
			return false
		},
	},
	{
		Name: "A login that cannot succeed",
		Reason: "etcd tells a user without password from one with another password, with an error of the kind Unknown; Holdfast's answer does not tell which users there are. " +
			"To etcd an empty password is one like any other, so that everybody can log in as a user who was added without a password by mistake; to Holdfast it is never right.",
		Excuses: func(_ *State, o Operation, _ Difference, left, right Answer) bool {
			r, ok := o.Request.(*pb.AuthenticateRequest)
			if !ok || right.Outcome() != authFailed.outcome() {
				return false
			}
			return left.Outcome() == noPasswordUser.outcome() || (r.Password == "" && left.Status.Code() == codes.OK)
		},
	},
}

// touchesNothing reports whether a transaction holds no request at any depth.
func touchesNothing(t *pb.TxnRequest) bool {
	empty := len(t.Compare) == 0
	eachOp(t, func(op *pb.RequestOp) {
		nested := op.GetRequestTxn()
		empty = empty && nested != nil && len(nested.Compare) == 0
	})
	return empty
}

var (
	authFailed     = Refusal{codes.InvalidArgument, "etcdserver: authentication failed, invalid user ID or password"}
	noPasswordUser = Refusal{codes.Unknown, "auth: authentication failed, password was given for no password user"}
)

// tooLong refuses a password of more than 72 bytes.
var tooLong = Refusal{codes.Unknown, "bcrypt: password length exceeds 72 bytes"}
