package config

import "time"

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// table is the one table of settings (C1). A later setting is one more row here and one more field in Config;
// a test holds that every flag of etcd has one, or is in the list of those that etcd itself refuses.
var table = []Setting{
	{
		Name: "name", Section: Member, Kind: Text, Default: "default",
		Help:  "The member's name, for people; each member of a cluster needs its own.",
		field: func(c *Config) any { return &c.Name }, check: nameIsWhole,
	},
	{
		Name: "data-dir", Section: Member, Kind: Text, Default: "${name}.holdfast", EtcdDefault: "${name}.etcd",
		Help:  "The directory that holds everything the member keeps. It is made if it does not exist.",
		field: func(c *Config) any { return &c.DataDir }, check: dataDirIsPath,
	},
	{
		Name: "snapshot-count", Section: Member, Kind: Number, Default: "10000",
		Help:     "Number of committed transactions to trigger a snapshot to disk.",
		NoEffect: "the log is cut by its size and by what the store has made durable, not by a count",
		field:    func(c *Config) any { return &c.SnapshotCount },
	},
	{
		Name: "wal-dir", Section: Member, Kind: Text, Default: "",
		Help:  "Not here: the log is a part of the data directory. Put --data-dir itself on the faster disk; what is not the log is written in the background.",
		field: func(c *Config) any { return &c.WALDir }, check: walDirIsEmpty,
	},
	{
		Name: "max-wals", Section: Member, Kind: Number, Default: "5",
		Help:     "How many files of the log stay.",
		NoEffect: "a file of the log goes as soon as nothing in it is needed, and not before",
		field:    func(c *Config) any { return &c.MaxWALs },
	},
	{
		Name: "max-snapshots", Section: Member, Kind: Number, Default: "5",
		Help:     "How many snapshot files stay.",
		NoEffect: "there are no snapshot files: the store is one",
		field:    func(c *Config) any { return &c.MaxSnapshots },
	},
	{
		Name: "memory-mlock", Section: Member, Kind: Bool, Default: "false",
		Help:  "Keep all memory of the process out of the swap space. The process needs a limit of locked memory that is unlimited (LimitMEMLOCK=infinity in systemd), or the capability CAP_IPC_LOCK.",
		field: func(c *Config) any { return &c.MemoryMlock },
	},
	{
		Name: "backend-bbolt-freelist-type", Section: Member, Kind: Word, Default: "map", OneOf: []string{"array", "map"},
		Help:     "How bbolt lists its free pages.",
		NoEffect: "the store is not bbolt",
		field:    func(c *Config) any { return &c.BackendFreelistType },
	},
	{
		Name: "backend-batch-interval", Section: Member, Kind: Duration, Default: "0s", Min: 0, Max: int64(24 * time.Hour),
		Help:     "How long changes gather before they are committed to the store.",
		NoEffect: "a change is durable in the log when it is acknowledged, and the store follows by the size of what has gathered",
		field:    func(c *Config) any { return &c.BackendBatchInterval },
	},
	{
		Name: "backend-batch-limit", Section: Member, Kind: Number, Default: "0", Min: 0, Max: 1 << 40,
		Help:     "How many changes gather before they are committed to the store.",
		NoEffect: "a change is durable in the log when it is acknowledged, and the store follows by the size of what has gathered",
		field:    func(c *Config) any { return &c.BackendBatchLimit },
	},
	{
		Name: "socket-reuse-port", Section: Member, Kind: Bool, Default: "false",
		Help:  "Listen at TCP ports at which another process listens with the same option (SO_REUSEPORT). Calls then go to one or the other.",
		field: func(c *Config) any { return &c.SocketReusePort },
	},
	{
		Name: "socket-reuse-address", Section: Member, Kind: Bool, Default: "false",
		Help:     "Listen at TCP ports that connections of an earlier process still occupy (SO_REUSEADDR).",
		NoEffect: "it is always so",
		field:    func(c *Config) any { return &c.SocketReuseAddress },
	},
	{
		Name: "raft-read-timeout", Section: Member, Kind: Duration, Default: "5s", Min: int64(100 * time.Millisecond), Max: int64(time.Hour),
		Help:  "How long another member may leave a probe without an answer before the connection to it is broken.",
		field: func(c *Config) any { return &c.RaftReadTimeout },
	},
	{
		Name: "raft-write-timeout", Section: Member, Kind: Duration, Default: "5s", Min: int64(100 * time.Millisecond), Max: int64(time.Hour),
		Help:  "How long another member may take to read a MiB before the connection to it is broken.",
		field: func(c *Config) any { return &c.RaftWriteTimeout },
	},
	{
		Name: "heartbeat-interval", Section: Member, Kind: Milliseconds, Default: "100", Min: 1, Max: 10_000,
		Help:  "How often the leader sends a heartbeat, in milliseconds.",
		field: func(c *Config) any { return &c.HeartbeatInterval },
	},
	{
		Name: "election-timeout", Section: Member, Kind: Milliseconds, Default: "1000", Min: 1, Max: 50_000,
		Help:  "How long a member waits for a leader before it stands for election, in milliseconds; at least five times --heartbeat-interval.",
		field: func(c *Config) any { return &c.ElectionTimeout },
	},
	{
		Name: "initial-election-tick-advance", Section: Member, Kind: Bool, Default: "true",
		Help:  "Let the first election after a start come sooner: a member that is connected with a majority does not wait for a whole election timeout.",
		field: func(c *Config) any { return &c.InitialElectionTickAdvance },
	},
	{
		Name: "listen-peer-urls", Section: Member, Kind: URLList, Default: "http://localhost:2380",
		Help:  "Where to listen for other members: URLs with an IP address or localhost, or unix://path; https:// and unixs:// for TLS.",
		field: func(c *Config) any { return &c.ListenPeerURLs },
		check: func(c *Config) string { return bindable(c.ListenPeerURLs) },
	},
	{
		Name: "listen-client-urls", Section: Member, Kind: URLList, Default: "http://localhost:2379",
		Help:  "Where to listen for clients: URLs with an IP address or localhost, or unix://path; https:// and unixs:// for TLS. The same address under both http:// and https:// takes both kinds of clients.",
		field: func(c *Config) any { return &c.ListenClientURLs },
		check: func(c *Config) string { return bindable(c.ListenClientURLs) },
	},
	{
		Name: "listen-client-http-urls", Section: Member, Kind: URLList, Default: "",
		Help:  "Where to listen for HTTP alone: health, metrics, the JSON gateway. The client URLs then serve gRPC alone. Without it both share the client URLs.",
		field: func(c *Config) any { return &c.ListenClientHTTPURLs },
		check: func(c *Config) string { return bindable(c.ListenClientHTTPURLs) },
	},
	{
		Name: "enable-grpc-gateway", Section: Member, Kind: Bool, Default: "true",
		Help:  "Serve the API as JSON over HTTP under /v3/.",
		field: func(c *Config) any { return &c.EnableGRPCGateway },
	},
	{
		Name: "quota-backend-bytes", Section: Member, Kind: Bytes, Default: "0",
		Help:  "How large the live data may grow before writes are refused; deleting brings it down again. A negative value means no limit. 0 means 2GiB under the name etcd, and no limit but the disk's under the name holdfast.",
		field: func(c *Config) any { return &c.QuotaBackendBytes },
	},
	{
		Name: "max-txn-ops", Section: Member, Kind: Number, Default: "128", Min: 1, Max: 1_000_000,
		Help:  "How many operations each list of a transaction may have.",
		field: func(c *Config) any { return &c.MaxTxnOps },
	},
	{
		Name: "max-request-bytes", Section: Member, Kind: Bytes, Default: "1572864", Min: 1, Max: 512 * mib,
		Help:  "The size of the largest request that is accepted.",
		field: func(c *Config) any { return &c.MaxRequestBytes },
	},
	{
		Name: "max-concurrent-streams", Section: Member, Kind: Number, Default: "4294967295", Min: 1, Max: 4294967295,
		Help:  "How many streams one client connection may have open at a time.",
		field: func(c *Config) any { return &c.MaxConcurrentStreams },
	},
	{
		Name: "grpc-keepalive-min-time", Section: Member, Kind: Duration, Default: "5s", Min: 0, Max: int64(24 * time.Hour),
		Help:  "The shortest pause that a client must leave between two pings; one that pings more often is cut off.",
		field: func(c *Config) any { return &c.GRPCKeepAliveMinTime },
	},
	{
		Name: "grpc-keepalive-interval", Section: Member, Kind: Duration, Default: "2h0m0s", Min: 0, Max: int64(10000 * time.Hour),
		Help:  "How often the server pings a client from which it hears nothing (0 switches it off).",
		field: func(c *Config) any { return &c.GRPCKeepAliveInterval },
	},
	{
		Name: "grpc-keepalive-timeout", Section: Member, Kind: Duration, Default: "20s", Min: 0, Max: int64(24 * time.Hour),
		Help:  "How long the server waits for the answer to its ping before it closes the connection (0 switches it off).",
		field: func(c *Config) any { return &c.GRPCKeepAliveTimeout },
	},

	{
		Name: "initial-advertise-peer-urls", Section: Clustering, Kind: URLList, Default: "http://localhost:2380",
		Help:  "The URLs at which other members reach this one.",
		field: func(c *Config) any { return &c.InitialAdvertisePeerURLs },
		check: func(c *Config) string { return reachable(c.InitialAdvertisePeerURLs) },
	},
	{
		Name: "initial-cluster", Section: Clustering, Kind: Members, Default: "${name}=${initial-advertise-peer-urls}",
		Help:  "The first members of a new cluster, or, with --initial-cluster-state=existing, those of the cluster to join and this one: name=URL pairs; a member with several URLs is listed once for each. Read only when the data directory is new.",
		field: func(c *Config) any { return &c.InitialCluster },
	},
	{
		Name: "initial-cluster-state", Section: Clustering, Kind: Word, Default: "new", OneOf: []string{"new", "existing"},
		Help:  "Whether to make a new cluster or to join an existing one. Read only when the data directory is new.",
		field: func(c *Config) any { return &c.InitialClusterState },
	},
	{
		Name: "initial-cluster-token", Section: Clustering, Kind: Text, Default: "etcd-cluster",
		Help:  "A word that goes into the ids of a new cluster and its members, so that two clusters made alike cannot be mixed up.",
		field: func(c *Config) any { return &c.InitialClusterToken },
	},
	{
		Name: "advertise-client-urls", Section: Clustering, Kind: URLList,
		Default: "${listen-client-urls}", EtcdDefault: "http://localhost:2379",
		Help:  "The URLs at which clients reach this member, as it tells them. etcd wants it set whenever --listen-client-urls is.",
		field: func(c *Config) any { return &c.AdvertiseClientURLs },
		check: func(c *Config) string { return reachable(c.AdvertiseClientURLs) },
	},
	{
		Name: "discovery-srv", Section: Clustering, Kind: Text, Default: "",
		Help:  "A DNS domain whose SRV records _etcd-server-ssl._tcp and _etcd-server._tcp name the first members of a new cluster, in the place of --initial-cluster.",
		field: func(c *Config) any { return &c.DiscoverySRV },
	},
	{
		Name: "discovery-srv-name", Section: Clustering, Kind: Text, Default: "",
		Help:  "A word that goes into the names of the SRV records that --discovery-srv looks up: _etcd-server-ssl-NAME._tcp and _etcd-server-NAME._tcp.",
		field: func(c *Config) any { return &c.DiscoverySRVName },
	},
	{
		Name: "discovery-endpoints", Section: Clustering, Kind: TextList, Default: "",
		Help:  "Members of another cluster (Holdfast or etcd) through which the first members of a new cluster find each other, in the place of --initial-cluster. Needs --discovery-token.",
		field: func(c *Config) any { return &c.DiscoveryEndpoints },
	},
	{
		Name: "discovery-token", Section: Clustering, Kind: Text, Default: "",
		Help:  "The word under which the first members find each other at --discovery-endpoints. The number of members must be there as the value of /_etcd/registry/TOKEN/_config/size. A token serves one cluster.",
		field: func(c *Config) any { return &c.DiscoveryToken },
		check: discoveryTokenIsOne,
	},
	{
		Name: "discovery-dial-timeout", Section: Clustering, Kind: Duration, Default: "2s", Min: 0, Max: int64(time.Hour),
		Help:  "How long to wait for a connection to --discovery-endpoints, and for the login there.",
		field: func(c *Config) any { return &c.DiscoveryDialTimeout },
	},
	{
		Name: "discovery-request-timeout", Section: Clustering, Kind: Duration, Default: "5s", Min: int64(time.Millisecond), Max: int64(time.Hour),
		Help:  "How long one request to --discovery-endpoints may take.",
		field: func(c *Config) any { return &c.DiscoveryRequestTimeout },
	},
	{
		Name: "discovery-keepalive-time", Section: Clustering, Kind: Duration, Default: "2s", Min: 0, Max: int64(time.Hour),
		Help:  "How often a quiet connection to --discovery-endpoints is probed.",
		field: func(c *Config) any { return &c.DiscoveryKeepAliveTime },
	},
	{
		Name: "discovery-keepalive-timeout", Section: Clustering, Kind: Duration, Default: "6s", Min: 0, Max: int64(time.Hour),
		Help:  "How long to wait for the answer to such a probe.",
		field: func(c *Config) any { return &c.DiscoveryKeepAliveTimeout },
	},
	{
		Name: "discovery-insecure-transport", Section: Clustering, Kind: Bool, Default: "true",
		Help:  "Speak without TLS to --discovery-endpoints, unless an endpoint or a certificate asks for it.",
		field: func(c *Config) any { return &c.DiscoveryInsecureTransport },
	},
	{
		Name: "discovery-insecure-skip-tls-verify", Section: Clustering, Kind: Bool, Default: "false",
		Help:  "Do not check the certificate of --discovery-endpoints. For tests only.",
		field: func(c *Config) any { return &c.DiscoveryInsecureSkipVerify },
	},
	{
		Name: "discovery-cert", Section: Clustering, Kind: Text, Default: "",
		Help:  "The certificate to show to --discovery-endpoints (PEM).",
		field: func(c *Config) any { return &c.DiscoveryCertFile },
	},
	{
		Name: "discovery-key", Section: Clustering, Kind: Text, Default: "",
		Help:  "The private key of --discovery-cert (PEM).",
		field: func(c *Config) any { return &c.DiscoveryKeyFile },
	},
	{
		Name: "discovery-cacert", Section: Clustering, Kind: Text, Default: "",
		Help:  "The authorities that vouch for --discovery-endpoints (PEM).",
		field: func(c *Config) any { return &c.DiscoveryCAFile },
	},
	{
		Name: "discovery-user", Section: Clustering, Kind: Text, Default: "",
		Help:  "The user to log in as at --discovery-endpoints: name, or name:password.",
		field: func(c *Config) any { return &c.DiscoveryUser },
	},
	{
		Name: "discovery-password", Section: Clustering, Kind: Text, Default: "",
		Help:  "The password of --discovery-user; that then is the name alone.",
		field: func(c *Config) any { return &c.DiscoveryPassword },
	},
	{
		Name: "discovery-fallback", Section: Clustering, Kind: Word, Default: "exit", OneOf: []string{"exit", "proxy"},
		Help:  "What to do when discovery fails. There is only exit: etcd's proxy is no more.",
		field: func(c *Config) any { return &c.DiscoveryFallback },
		check: fallbackIsExit,
	},
	{
		Name: "strict-reconfig-check", Section: Clustering, Kind: Bool, Default: "true",
		Help:  "Refuse membership changes that would cost the cluster its quorum.",
		field: func(c *Config) any { return &c.StrictReconfigCheck },
	},
	{
		Name: "pre-vote", Section: Clustering, Kind: Bool, Default: "true",
		Help:  "Ask the other members whether they would vote before standing for election, so that a member that comes back does not depose a leader.",
		field: func(c *Config) any { return &c.PreVote },
	},
	{
		Name: "v2-deprecation", Section: Clustering, Kind: Word, Default: "write-only",
		OneOf:    []string{"not-yet", "write-only", "write-only-skip-check", "write-only-drop-data", "gone"},
		Help:     "How far the API and the store of etcd 2 are given up.",
		NoEffect: "there is nothing of etcd 2 here",
		field:    func(c *Config) any { return &c.V2Deprecation },
	},
	{
		Name: "auto-compaction-mode", Section: Clustering, Kind: Word, Default: "periodic", OneOf: []string{"periodic", "revision"},
		Help:  "How --auto-compaction-retention is meant: periodic (the history of so much time is kept) or revision (so many revisions are kept).",
		field: func(c *Config) any { return &c.AutoCompactionMode },
	},
	{
		Name: "auto-compaction-retention", Section: Clustering, Kind: Text, Default: "0",
		Help: "How much history stays when the cluster compacts by itself: with --auto-compaction-mode=periodic a duration such as 5m, or a number of hours, with revision a number of revisions. 0 means that it does not. " +
			"By time the first compaction comes after so long, then one each time as much has passed, and every hour if it is longer; by number one comes every five minutes. The leader's settings count.",
		field: func(c *Config) any { return &c.AutoCompactionRetention }, check: retentionKnown,
	},

	{
		Name: "cert-file", Section: Security, Kind: Text, Default: "",
		Help:  "The certificate that clients see at https:// and unixs:// URLs, with the intermediate ones after it (PEM). It is read again when it changes, as are all files of this section.",
		field: func(c *Config) any { return &c.CertFile },
	},
	{
		Name: "key-file", Section: Security, Kind: Text, Default: "",
		Help:  "The private key of --cert-file (PEM).",
		field: func(c *Config) any { return &c.KeyFile },
	},
	{
		Name: "client-cert-file", Section: Security, Kind: Text, Default: "",
		Help:     "The certificate with which a member calls clients' ports (PEM).",
		NoEffect: "a member never connects to a client port",
		field:    func(c *Config) any { return &c.ClientCertFile },
	},
	{
		Name: "client-key-file", Section: Security, Kind: Text, Default: "",
		Help:     "The private key of --client-cert-file (PEM).",
		NoEffect: "a member never connects to a client port",
		field:    func(c *Config) any { return &c.ClientKeyFile },
	},
	{
		Name: "client-cert-auth", Section: Security, Kind: Bool, Default: "false",
		Help:  "Demand a certificate of every client that speaks TLS. Where users are switched on, its common name is the user's.",
		field: func(c *Config) any { return &c.ClientCertAuth },
	},
	{
		Name: "trusted-ca-file", Section: Security, Kind: Text, Default: "",
		Help:  "The authorities of clients' certificates (PEM). As in etcd, clients need a certificate as soon as this is set.",
		field: func(c *Config) any { return &c.TrustedCAFile },
	},
	{
		Name: "client-crl-file", Section: Security, Kind: Text, Default: "",
		Help:  "The list of clients' certificates that are revoked (PEM or DER).",
		field: func(c *Config) any { return &c.ClientCRLFile },
	},
	{
		Name: "client-cert-allowed-hostname", Section: Security, Kind: TextList, Default: "",
		Help:  "Host names or IP addresses of which a client's certificate must bear one.",
		field: func(c *Config) any { return &c.ClientCertAllowedHostnames },
	},
	{
		Name: "auto-tls", Section: Security, Kind: Bool, Default: "false",
		Help:  "Make a certificate for the client URLs in the data directory, unless --cert-file is given. Clients trust it by the file fixtures/client/cert.pem there.",
		field: func(c *Config) any { return &c.AutoTLS },
	},
	{
		Name: "self-signed-cert-validity", Section: Security, Kind: Number, Default: "1", Min: 1, Max: 100,
		Help:  "How many years a certificate made by --auto-tls or --peer-auto-tls is valid.",
		field: func(c *Config) any { return &c.SelfSignedCertValidity },
	},
	{
		Name: "cors", Section: Security, Kind: TextList, Default: "", EtcdDefault: "*",
		Help:  "The origins, such as https://example.com, from which pages in browsers may call the member; * stands for all. Pages from elsewhere can change nothing.",
		field: func(c *Config) any { return &c.CORS },
	},
	{
		Name: "host-whitelist", Section: Security, Kind: TextList, Default: "*",
		Help:  "The hosts that HTTP requests without TLS may name; * stands for all. It keeps pages out whose host name was made to lead here.",
		field: func(c *Config) any { return &c.HostWhitelist },
	},
	{
		Name: "peer-cert-file", Section: Security, Kind: Text, Default: "",
		Help:  "The certificate that other members see at https:// and unixs:// peer URLs, with the intermediate ones after it (PEM).",
		field: func(c *Config) any { return &c.PeerCertFile },
	},
	{
		Name: "peer-key-file", Section: Security, Kind: Text, Default: "",
		Help:  "The private key of --peer-cert-file (PEM).",
		field: func(c *Config) any { return &c.PeerKeyFile },
	},
	{
		Name: "peer-client-cert-file", Section: Security, Kind: Text, Default: "",
		Help:  "The certificate that this member shows when it calls another one (PEM). Without it that of --peer-cert-file is shown.",
		field: func(c *Config) any { return &c.PeerClientCertFile },
	},
	{
		Name: "peer-client-key-file", Section: Security, Kind: Text, Default: "",
		Help:  "The private key of --peer-client-cert-file (PEM).",
		field: func(c *Config) any { return &c.PeerClientKeyFile },
	},
	{
		Name: "peer-client-cert-auth", Section: Security, Kind: Bool, Default: "false",
		Help:  "Demand a certificate of every member that calls.",
		field: func(c *Config) any { return &c.PeerClientCertAuth },
	},
	{
		Name: "peer-trusted-ca-file", Section: Security, Kind: Text, Default: "",
		Help:  "The authorities of members' certificates (PEM). As in etcd, members that call need a certificate as soon as this is set.",
		field: func(c *Config) any { return &c.PeerTrustedCAFile },
	},
	{
		Name: "peer-crl-file", Section: Security, Kind: Text, Default: "",
		Help:  "The list of members' certificates that are revoked (PEM or DER).",
		field: func(c *Config) any { return &c.PeerCRLFile },
	},
	{
		Name: "peer-cert-allowed-cn", Section: Security, Kind: TextList, Default: "",
		Help:  "Common names of which the certificate of every other member must have one.",
		field: func(c *Config) any { return &c.PeerCertAllowedCNs },
	},
	{
		Name: "peer-cert-allowed-hostname", Section: Security, Kind: TextList, Default: "",
		Help:  "Host names or IP addresses of which the certificate of every other member must bear one.",
		field: func(c *Config) any { return &c.PeerCertAllowedHostnames },
	},
	{
		Name: "peer-auto-tls", Section: Security, Kind: Bool, Default: "false",
		Help:  "Make a certificate for the peer URLs in the data directory, unless --peer-cert-file is given. What members say to each other is secret then, but none can be sure whom it talks to.",
		field: func(c *Config) any { return &c.PeerAutoTLS },
	},
	{
		Name: "peer-skip-client-san-verification", Section: Security, Kind: Bool, Default: "false",
		Help:  "Take the certificate of a member that calls although it names hosts and IP addresses, and none that the call comes from.",
		field: func(c *Config) any { return &c.PeerSkipClientSANVerification },
	},
	{
		Name: "cipher-suites", Section: Security, Kind: TextList, Default: "",
		Help:  "The cipher suites that TLS 1.2 may use, by their names in Go's crypto/tls. Without it Go chooses. Those of TLS 1.3 cannot be chosen.",
		field: func(c *Config) any { return &c.CipherSuites },
		check: suitesKnown,
	},
	{
		Name: "tls-min-version", Section: Security, Kind: Text, Default: "TLS1.2",
		Help:  "The oldest version of TLS that is spoken: TLS1.2 or TLS1.3.",
		field: func(c *Config) any { return &c.TLSMinVersion },
		check: func(c *Config) string { return versionKnown(c.TLSMinVersion) },
	},
	{
		Name: "tls-max-version", Section: Security, Kind: Text, Default: "",
		Help:  "The newest version of TLS that is spoken: TLS1.2 or TLS1.3. Without it there is no bound.",
		field: func(c *Config) any { return &c.TLSMaxVersion },
		check: func(c *Config) string { return versionKnown(c.TLSMaxVersion) },
	},

	{
		Name: "auth-token", Section: Auth, Kind: Text, Default: "simple",
		Help:  "How clients prove who they are after they have shown a password: simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=5m for JSON web tokens.",
		field: func(c *Config) any { return &c.AuthToken },
	},
	{
		Name: "bcrypt-cost", Section: Auth, Kind: Number, Default: "10", Min: 4, Max: 31,
		Help:  "How much work the hash of a password is; each step more doubles it.",
		field: func(c *Config) any { return &c.BcryptCost },
	},
	{
		Name: "auth-token-ttl", Section: Auth, Kind: Number, Default: "300", Min: 0, Max: 1_000_000_000,
		Help:  "How many seconds a simple token lives after its last use.",
		field: func(c *Config) any { return &c.AuthTokenTTL },
	},

	{
		Name: "enable-pprof", Section: Monitoring, Kind: Bool, Default: "false",
		Help:  "Serve Go's profiles under /debug/pprof/ on the HTTP ports for clients. They show what the member does, and making one takes its time: do not leave it on where strangers can call.",
		field: func(c *Config) any { return &c.EnablePprof },
	},
	{
		Name: "metrics", Section: Monitoring, Kind: Word, Default: "basic", OneOf: []string{"basic", "extensive"},
		Help:  "How much /metrics shows: extensive adds a histogram of the time that each method takes (grpc_server_handling_seconds).",
		field: func(c *Config) any { return &c.Metrics },
	},
	{
		Name: "listen-metrics-urls", Section: Monitoring, Kind: URLList, Default: "",
		Help:  "Further URLs at which /metrics, /health, /livez and /readyz are served, and nothing else; with http:// also where clients need TLS.",
		field: func(c *Config) any { return &c.ListenMetricsURLs },
		check: func(c *Config) string { return bindable(c.ListenMetricsURLs) },
	},
	{
		Name: "logger", Section: Logging, Kind: Word, Default: "zap", OneOf: []string{"zap"},
		Help:  "The logger; there is one.",
		field: func(c *Config) any { return &c.Logger },
	},
	{
		Name: "log-outputs", Section: Logging, Kind: TextList, Default: "default",
		Help:  "Where log lines go: default (standard error), stderr, stdout, or paths of files.",
		field: func(c *Config) any { return &c.LogOutputs }, check: outputsAgree,
	},
	{
		Name: "log-level", Section: Logging, Kind: Word, Default: "info",
		OneOf: []string{"debug", "info", "warn", "error", "dpanic", "panic", "fatal"},
		Help:  "The least important log lines that are written.",
		field: func(c *Config) any { return &c.LogLevel },
	},
	{
		Name: "log-format", Section: Logging, Kind: Word, Default: "auto", EtcdDefault: "json",
		OneOf: []string{"json", "console", "auto"},
		Help:  "json (one object a line), console (lines for people), or auto: console when standard error is a terminal, else json.",
		field: func(c *Config) any { return &c.LogFormat },
	},
	{
		Name: "enable-log-rotation", Section: Logging, Kind: Bool, Default: "false",
		Help:  "Begin a new log file when the present one is large, as --log-rotation-config-json says. --log-outputs then has exactly one file.",
		field: func(c *Config) any { return &c.EnableLogRotation },
	},
	{
		Name: "log-rotation-config-json", Section: Logging, Kind: Text,
		Default: `{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`,
		Help:    "With --enable-log-rotation: maxsize is how many MB a log file may have, maxage how many days an old one is kept (0: for ever), maxbackups how many old ones are kept (0: all), localtime names them by local time instead of UTC, compress packs them by gzip.",
		field:   func(c *Config) any { return &c.LogRotationConfigJSON }, check: rotationKnown,
	},
	{
		Name: "warning-unary-request-duration", Section: Logging, Kind: Duration, Default: "300ms", Min: 0, Max: int64(24 * time.Hour),
		Help:  "A request that takes longer is logged. 0 means 300ms.",
		field: func(c *Config) any { return &c.WarningUnaryRequestDuration },
	},

	{
		Name: "enable-distributed-tracing", Section: Tracing, Kind: Bool, Default: "false",
		Help:  "Send OpenTelemetry spans of calls to --distributed-tracing-address.",
		field: func(c *Config) any { return &c.EnableDistributedTracing },
	},
	{
		Name: "distributed-tracing-address", Section: Tracing, Kind: Text, Default: "localhost:4317",
		Help:  "The host and port of the collector, which speaks OTLP over gRPC without TLS.",
		field: func(c *Config) any { return &c.TracingAddress },
	},
	{
		Name: "distributed-tracing-service-name", Section: Tracing, Kind: Text, Default: "holdfast", EtcdDefault: "etcd",
		Help:  "The name of the service in the spans; the same for all members.",
		field: func(c *Config) any { return &c.TracingServiceName },
	},
	{
		Name: "distributed-tracing-instance-id", Section: Tracing, Kind: Text, Default: "",
		Help:  "The id of this member in the spans; each member needs its own.",
		field: func(c *Config) any { return &c.TracingInstanceID },
	},
	{
		Name: "distributed-tracing-sampling-rate", Section: Tracing, Kind: Number, Default: "0", Max: 1_000_000,
		Help:  "How many of a million calls are traced that do not belong to a trace already; of those that do, the trace says whether they are. 0 traces no others.",
		field: func(c *Config) any { return &c.TracingSamplingRate },
	},

	{
		Name: "feature-gates", Section: Features, Kind: Text, Default: "",
		Help:  "Feature gates of etcd's to switch on or off: Name=true or Name=false, with commas between them. docs/configuration.md lists them with what each does here.",
		field: func(c *Config) any { return &c.FeatureGates }, check: gatesKnown,
	},
	{
		Name: "corrupt-check-time", Section: Features, Kind: Duration, Default: "0s", Min: 0, Max: int64(10000 * time.Hour),
		Help:  "How often the leader has all members hash all their keys, and compares. 0 means never: the members compare digests of all that they change every second in any case, and read their stores over by --scrub-interval.",
		field: func(c *Config) any { return &c.CorruptCheckTime },
	},
	{
		Name: "compact-hash-check-time", Section: Features, Kind: Duration, Default: "1m0s", Min: int64(time.Millisecond), Max: int64(10000 * time.Hour),
		Help:  "With --feature-gates=CompactHashCheck=true: how often the leader looks whether there was a compaction whose result the members have not compared yet.",
		field: func(c *Config) any { return &c.CompactHashCheckTime },
	},
	{
		Name: "compaction-batch-limit", Section: Features, Kind: Number, Default: "1000", Min: 0, Max: 1_000_000,
		Help:  "How many revisions one step of a compaction deletes. 0 means 1000.",
		field: func(c *Config) any { return &c.CompactionBatchLimit },
	},
	{
		Name: "compaction-sleep-interval", Section: Features, Kind: Duration, Default: "0s", Min: 0, Max: int64(time.Hour),
		Help:  "The pause between two steps of a compaction. 0 means 10ms.",
		field: func(c *Config) any { return &c.CompactionSleepInterval },
	},
	{
		Name: "watch-progress-notify-interval", Section: Features, Kind: Duration, Default: "10m0s", Min: 0, Max: int64(24 * time.Hour),
		Help:  "How often a watcher that asks for it, and for which nothing happens, is told up to which revision it has been given everything. 0 means 10m; less than 100ms is taken for 100ms.",
		field: func(c *Config) any { return &c.WatchProgressNotifyInterval },
	},
	{
		Name: "warning-apply-duration", Section: Features, Kind: Duration, Default: "100ms", Min: 0, Max: int64(24 * time.Hour),
		Help:  "A batch of commands whose application takes longer is logged.",
		field: func(c *Config) any { return &c.WarningApplyDuration },
	},
	{
		Name: "snapshot-catchup-entries", Section: Features, Kind: Number, Default: "5000", Max: 100_000_000,
		Help:  "How many of the newest entries the log keeps for members that lag or come back, in a cluster of several. A member that lacks older ones is sent a snapshot.",
		field: func(c *Config) any { return &c.CatchUpEntries },
	},
	{
		Name: "bootstrap-defrag-threshold-megabytes", Section: Features, Kind: Number, Default: "0",
		Help:     "Defragment the store at the start if that frees so much.",
		NoEffect: "the store gives space back by itself",
		field:    func(c *Config) any { return &c.BootstrapDefragThreshold },
	},
	{
		Name: "downgrade-check-time", Section: Features, Kind: Duration, Default: "5s", Min: 0, Max: int64(24 * time.Hour),
		Help:     "How often the leader looks whether a downgrade is complete.",
		NoEffect: "members tell each other their versions when they connect",
		field:    func(c *Config) any { return &c.DowngradeCheckTime },
	},
	{
		Name: "max-learners", Section: Features, Kind: Number, Default: "1", Min: 0, Max: 1000,
		Help:  "How many learners a cluster may have.",
		field: func(c *Config) any { return &c.MaxLearners },
	},

	{
		Name: "force-new-cluster", Section: Unsafe, Kind: Bool, Default: "false",
		Help:  "Make this member, with all its data, a cluster of its own, and remove all others. For the last survivor of a cluster that has lost its majority for good. UNSAFE: what only the lost members had acknowledged is lost, and if they live on there are two clusters. Leave it out at the next start.",
		field: func(c *Config) any { return &c.ForceNewCluster },
	},
	{
		Name: "unsafe-no-fsync", Section: Unsafe, Kind: Bool, Default: "false",
		Help:  "Never wait for the disk. UNSAFE: a power cut loses acknowledged writes and may make the data unreadable.",
		field: func(c *Config) any { return &c.UnsafeNoFsync },
	},

	{
		Name: "auto-compaction-retention-revisions", Section: Holdfast, Kind: Number, Default: "0", Own: true, Max: 1 << 62,
		Help:  "How many revisions stay, besides what a periodic --auto-compaction-retention keeps: a revision goes when neither keeps it. 0 sets no number.",
		field: func(c *Config) any { return &c.AutoCompactionRetentionRevisions },
	},
	{
		Name: "auto-promote-learners", Section: Holdfast, Kind: Bool, Default: "false", Own: true,
		Help:  "Give a learner a vote as soon as it runs and is in sync. The leader's setting counts.",
		field: func(c *Config) any { return &c.AutoPromoteLearners },
	},
	{
		Name: "strict-permissions", Section: Holdfast, Kind: Bool, Default: "false", Own: true,
		Help:  "Refuse to start, instead of warning, when the data directory is open to other users.",
		field: func(c *Config) any { return &c.StrictPermissions },
	},
	{
		Name: "cache-bytes", Section: Holdfast, Kind: Bytes, Default: "32MiB", Own: true, Min: 0, Max: 1 << 46,
		Help:  "Memory for the cache of the latest versions of keys (0 switches it off).",
		field: func(c *Config) any { return &c.CacheBytes },
	},
	{
		Name: "block-cache-bytes", Section: Holdfast, Kind: Bytes, Default: "64MiB", Own: true, Min: mib, Max: 1 << 46,
		Help:  "Memory for the storage engine's cache of blocks.",
		field: func(c *Config) any { return &c.BlockCacheBytes },
	},
	{
		Name: "answer-budget-bytes", Section: Holdfast, Kind: Bytes, Default: "256MiB", Own: true, Min: mib, Max: 1 << 46,
		Help:  "Memory that all large answers together may take while they are built. Further ones wait; one that is larger than the budget is refused.",
		field: func(c *Config) any { return &c.AnswerBudgetBytes },
	},
	{
		Name: "watch-cache-bytes", Section: Holdfast, Kind: Bytes, Default: "16MiB", Own: true, Min: kib, Max: 1 << 46,
		Help:  "Memory for the latest changes, from which watchers that fall behind a little are served without reading the store.",
		field: func(c *Config) any { return &c.WatchCacheBytes },
	},
	{
		Name: "view-max-age", Section: Holdfast, Kind: Duration, Default: "5m0s", Own: true, Min: int64(time.Second), Max: int64(24 * time.Hour),
		Help:  "How long a RangeStream may take to be read; while it is, it holds on to a state of the store, and the space of what was deleted since does not come back.",
		field: func(c *Config) any { return &c.ViewMaxAge },
	},
	{
		Name: "scrub-interval", Section: Holdfast, Kind: Duration, Default: "24h0m0s", Own: true, Min: 0, Max: int64(10000 * time.Hour),
		Help:  "How often the member reads its whole store over, slowly, and checks it: checksums, history against versions, counters. 0 means never. A pass that a restart interrupts goes on after it.",
		field: func(c *Config) any { return &c.ScrubInterval },
	},
	{
		Name: "scrub-bytes", Section: Holdfast, Kind: Bytes, Default: "4MiB", Own: true, Min: 4 * kib, Max: 1 << 40,
		Help:  "How much of the store is read over in a second, at most. It takes at most a fiftieth of a processor in any case.",
		field: func(c *Config) any { return &c.ScrubBytes },
	},
	{
		Name: "snapshot-rate-bytes", Section: Holdfast, Kind: Bytes, Default: "0", Own: true, Min: 0, Max: 1 << 40,
		Help:  "Bytes a second that this member sends at most of snapshots, all together, to members that lag behind its log (0 sets no limit).",
		field: func(c *Config) any { return &c.SnapshotRateBytes },
	},
	{
		Name: "snapshot-max-age", Section: Holdfast, Kind: Duration, Default: "1h0m0s", Own: true, Min: int64(time.Second), Max: int64(7 * 24 * time.Hour),
		Help:  "How long it may take to send a snapshot; while it is sent, it holds on to a state of the store, and the space of what was deleted since does not come back.",
		field: func(c *Config) any { return &c.SnapshotMaxAge },
	},
	{
		Name: "max-snapshots-sending", Section: Holdfast, Kind: Number, Default: "2", Own: true, Min: 1, Max: 64,
		Help:  "To how many members this member sends snapshots at a time.",
		field: func(c *Config) any { return &c.MaxSnapshotsSending },
	},
	{
		Name: "min-free-bytes", Section: Holdfast, Kind: Bytes, Default: "256MiB", Own: true, Min: 0, Max: 1 << 46,
		Help:  "Free disk space below which puts are refused, so that deletes and compactions still fit (0 switches the check off; a member whose disk is then full stops, and starts only once it has been given room).",
		field: func(c *Config) any { return &c.MinFreeBytes },
	},
	{
		Name: "config-file", Section: Member, Kind: Text, Default: "", OnlyFlag: true,
		Help:  "A YAML file with the settings, under the names of the flags. With it, other flags and the environment are ignored.",
		field: func(c *Config) any { return &c.ConfigFile },
	},
	{
		Name: "version", Section: Member, Kind: Bool, Default: "false", OnlyFlag: true,
		Help:  "Print the version and exit.",
		field: func(c *Config) any { return &c.Version },
	},
}
