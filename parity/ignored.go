package parity

import "google.golang.org/protobuf/reflect/protoreflect"

// ignored is the whole list of fields that are not compared, each with its reason. Nothing else is left out of a comparison; differences
// that depend on the request are in known.go.
var ignored = map[protoreflect.FullName]string{
	// Identities: drawn by each cluster for itself.
	"etcdserverpb.ResponseHeader.cluster_id": "an identity, drawn by each cluster",
	"etcdserverpb.ResponseHeader.member_id":  "an identity, drawn by each member",
	"etcdserverpb.Member.ID":                 "an identity, drawn by each member",
	"etcdserverpb.AlarmMember.memberID":      "an identity, drawn by each member",
	"etcdserverpb.StatusResponse.leader":     "an identity, drawn by each member",

	// Addresses: each server listens on free ports. Their number is held by the run's own checks.
	"etcdserverpb.Member.peerURLs":   "each server listens on ports of its own",
	"etcdserverpb.Member.clientURLs": "each server listens on ports of its own",

	// Time and chance: the run's own rules hold what can be held of them.
	"etcdserverpb.AuthenticateResponse.token": "drawn by each server; held not to be empty, and used from then on",

	// Raft: how many entries and elections a system needs is its own affair.
	"etcdserverpb.ResponseHeader.raft_term":        "counts the elections of each system",
	"etcdserverpb.StatusResponse.raftTerm":         "counts the elections of each system",
	"etcdserverpb.StatusResponse.raftIndex":        "counts the log entries of each system",
	"etcdserverpb.StatusResponse.raftAppliedIndex": "counts the log entries of each system",

	// Storage: what a store takes on disk, and checksums over its layout. The run holds that a hash is stable on each side.
	"etcdserverpb.StatusResponse.dbSize":      "what a store takes on disk depends on its layout",
	"etcdserverpb.StatusResponse.dbSizeInUse": "what a store takes on disk depends on its layout",
	"etcdserverpb.HashResponse.hash":          "a checksum over the layout of the store",
	"etcdserverpb.HashKVResponse.hash":        "a checksum over the layout of the store",
}
