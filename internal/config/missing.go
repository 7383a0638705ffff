package config

// missing lists the flags of etcd 3.7 that have no row yet. They are refused by a sentence of their own, because
// the nearest name would mislead, and because a member that ignored, say, --peer-client-cert-auth would be open.
// Together with the rows that are not Holdfast's own it is the whole list of etcd's flags; a test holds that.
var missing = map[string]bool{}

// onlyInFile are the keys that only etcd's configuration file has.
var onlyInFile = []string{"peer-transport-security", "discovery-config", "socket-options"}

func init() {
	for _, name := range []string{
		"wal-dir", "initial-election-tick-advance", "listen-client-http-urls", "max-wals", "max-snapshots", "memory-mlock",
		"backend-bbolt-freelist-type", "backend-batch-interval", "backend-batch-limit", "socket-reuse-port",
		"socket-reuse-address", "enable-grpc-gateway", "raft-read-timeout", "raft-write-timeout", "feature-gates",

		"discovery", "discovery-token", "discovery-endpoints", "discovery-dial-timeout", "discovery-request-timeout",
		"discovery-keepalive-time", "discovery-keepalive-timeout", "discovery-insecure-transport",
		"discovery-insecure-skip-tls-verify", "discovery-cert", "discovery-key", "discovery-cacert", "discovery-user",
		"discovery-password", "discovery-fallback", "discovery-proxy", "discovery-srv", "discovery-srv-name",
		"auto-compaction-retention", "auto-compaction-mode", "v2-deprecation",

		"peer-cert-file", "peer-key-file", "peer-client-cert-auth", "peer-client-cert-file", "peer-client-key-file",
		"peer-trusted-ca-file", "peer-cert-allowed-cn", "peer-cert-allowed-hostname", "peer-auto-tls", "peer-crl-file",
		"cors", "host-whitelist",

		"enable-pprof", "metrics", "listen-metrics-urls",

		"enable-log-rotation", "log-rotation-config-json",

		"enable-distributed-tracing", "distributed-tracing-address", "distributed-tracing-service-name",
		"distributed-tracing-instance-id", "distributed-tracing-sampling-rate",

		"corrupt-check-time", "compact-hash-check-time", "peer-skip-client-san-verification",
		"bootstrap-defrag-threshold-megabytes", "downgrade-check-time",
		"snapshot-catchup-entries",

		"force-new-cluster",
	} {
		missing[name] = true
	}
	for _, name := range onlyInFile {
		missing[name] = true
	}
}
