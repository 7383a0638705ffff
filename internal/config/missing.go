package config

// missing lists the flags of etcd 3.7 that have no row yet. They are refused by a sentence of their own, because
// the nearest name would mislead, and because a member that ignored one that protects it would be open.
// Together with the rows that are not Holdfast's own it is the whole list of etcd's flags; a test holds that.
var missing = map[string]bool{}

// onlyInFile are the keys that only etcd's configuration file has.
var onlyInFile = []string{"discovery-config", "socket-options"}

// removed are the flags that etcd's help still shows and that etcd 3.7 itself refuses, with what to use instead.
var removed = map[string]string{
	"discovery":       "the service it names has been switched off; use --discovery-endpoints and --discovery-token, or --discovery-srv",
	"discovery-proxy": "it belonged to --discovery, which is no more",
}

func init() {
	for _, name := range []string{
		"wal-dir", "max-wals", "max-snapshots", "memory-mlock",
		"backend-bbolt-freelist-type", "backend-batch-interval", "backend-batch-limit", "socket-reuse-port",
		"socket-reuse-address", "raft-read-timeout", "raft-write-timeout",

		"discovery", "discovery-proxy",
		"v2-deprecation",

		"metrics",

		"enable-log-rotation", "log-rotation-config-json",

		"enable-distributed-tracing", "distributed-tracing-address", "distributed-tracing-service-name",
		"distributed-tracing-instance-id", "distributed-tracing-sampling-rate",

		"bootstrap-defrag-threshold-megabytes", "downgrade-check-time",
	} {
		missing[name] = true
	}
	for _, name := range onlyInFile {
		missing[name] = true
	}
}
