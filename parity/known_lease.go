package parity

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// leaseKnown are the differences of leases: moments, and orders that etcd leaves to chance.
var leaseKnown = []Known{
	{
		Name: "What is left of a lease",
		Reason: "the two sides are asked at different moments, and a restart lets etcd's leases begin anew, while a deadline of Holdfast survives. " +
			"Each side is held to the time that has passed, to two seconds.",
		Excuses: func(_ *State, _ Operation, d Difference, left, right Answer) bool {
			if d.Field != "etcdserverpb.LeaseTimeToLiveResponse.TTL" {
				return false
			}
			l, r := left.Messages[0].(*pb.LeaseTimeToLiveResponse), right.Messages[0].(*pb.LeaseTimeToLiveResponse)
			return l.TTL >= 0 && r.TTL >= 0 && l.GrantedTTL > 0
		},
	},
	{
		Name:   "The id of a lease that the server chooses",
		Reason: "each server draws it.",
		Excuses: func(_ *State, o Operation, d Difference, _, _ Answer) bool {
			r, ok := o.Request.(*pb.LeaseGrantRequest)
			return ok && r.ID == 0 && d.Field == "etcdserverpb.LeaseGrantResponse.ID"
		},
	},
	{
		Name: "The order of leases and of their keys",
		Reason: "etcd lists leases by the time left, which after a restart is by chance among leases of one length, and the keys of a lease in no order. " +
			"Both are compared as sets.",
		Excuses: func(_ *State, _ Operation, d Difference, left, right Answer) bool {
			switch d.Field {
			case "etcdserverpb.LeaseStatus.ID":
				return sameLeases(left.Messages[0].(*pb.LeaseLeasesResponse), right.Messages[0].(*pb.LeaseLeasesResponse))
			case "etcdserverpb.LeaseTimeToLiveResponse.keys":
				return sameKeys(left.Messages[0].(*pb.LeaseTimeToLiveResponse), right.Messages[0].(*pb.LeaseTimeToLiveResponse))
			}
			return false
		},
	},
}
