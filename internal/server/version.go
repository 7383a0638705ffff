package server

// Version is Holdfast's own version. A release stamps it with the linker.
var Version = "0.1.0"

// The versions that clients of etcd are told. They are plain numbers without a suffix: clients read them with
// parsers that fail on anything else, and decide by them what the server can do.
const (
	// EtcdVersion is the version of etcd whose API is served: Status.version and "etcdserver" of /version.
	EtcdVersion = "3.7.3"
	// ClusterVersion is the version that all members agree on: "etcdcluster" of /version.
	ClusterVersion = "3.7.0"
	// StorageVersion is Status.storageVersion and "storage" of /version.
	StorageVersion = "3.7.0"
)
