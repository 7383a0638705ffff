package parity

// unprovoked are the errors of the API that the covered services can give, but that no run can call forth on a single healthy member, with the
// reason. Together with the Errors of the services and TestNoSpace, they are all.
var unprovoked = map[string]string{
	"etcdserver: invalid client api version":                                     "gRPC clients refuse to send metadata that is not text",
	"etcdserver: too many requests":                                              "needs 5,000 entries that are committed and not applied",
	"etcdserver: request timed out":                                              "needs a member that cannot commit",
	"etcdserver: request timed out, possibly due to previous leader failure":     "needs a cluster that changes its leader",
	"etcdserver: request timed out, possibly due to connection lost":             "needs a cluster with a broken connection",
	"etcdserver: request timed out, waiting for the applied index took too long": "needs a member that cannot apply what is committed",
	"etcdserver: no leader":                                                      "a single member leads itself",
	"etcdserver: leader changed":                                                 "a single member leads itself",
	"etcdserver: not capable":                                                    "lasts for a moment at the start, before a run begins",
	"etcdserver: rpc not supported for learner":                                  "a single member is no learner",
	"etcdserver: server stopped":                                                 "a matter of the moment at which a request meets the stop",
	"etcdserver: corrupt cluster":                                                "needs members that disagree",
	"etcdserver: request canceled":                                               "a client that cancels makes its own answer",
	"etcdserver: watch canceled":                                                 "a client that cancels makes its own answer",
	"context deadline exceeded":                                                  "a client whose time is up makes its own answer",
	"etcdserver: revision of auth store is old":                                  "a request and a change of users have to meet, and etcd tries again",
}
