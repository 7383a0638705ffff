// Package config holds the one table of settings of a Holdfast member: each row says name, environment
// variables, YAML key, default, help and check of a setting, and everything else (flag parsing, environment,
// configuration file, help, docs/configuration.md) is read from it.
//
// Invariants:
//
//	C1  A setting exists in one row only; a flag, an environment variable or a YAML key that has no row is
//	    refused (flag, key) or warned about (environment), with the nearest right name.
//	C2  A flag is stronger than HOLDFAST_NAME, which is stronger than ETCD_NAME, which is stronger than the
//	    default. With a configuration file all three but the defaults are ignored, and a warning says so.
//	C3  A Config that Parse returns without an error has passed every check of its row and between rows.
//	C4  A setting without effect says so in its help, with the reason.
//	C5  Under the name etcd every default is etcd's.
//
// Use:
//
//	c, warnings, err := config.Parse("holdfast", os.Args[1:], os.Environ(), os.ReadFile)
//	if errors.Is(err, config.ErrHelp) {
//		config.Help(os.Stdout, "holdfast")
//	}
package config

import (
	"net/url"
	"time"
)

// Config is a complete and checked set of settings of one member. The zero value is not valid: start from
// Default or Parse.
type Config struct {
	// Program is the name that the defaults were taken for: "holdfast" or "etcd".
	Program string

	// Name is the member's name, never empty.
	Name string
	// DataDir is the directory that holds all that the member keeps, never empty.
	DataDir string

	// ListenClientURLs and ListenPeerURLs are where the member listens; at least one URL each. The host is an IP
	// address (0.0.0.0 and [::] mean every address) or "localhost"; the port may be 0. The schemes are http, https,
	// unix and unixs. A list is sorted and without doubles, as etcd's are.
	ListenClientURLs, ListenPeerURLs []url.URL
	// AdvertiseClientURLs and InitialAdvertisePeerURLs are what the member tells others; at least one URL each.
	AdvertiseClientURLs, InitialAdvertisePeerURLs []url.URL

	// InitialCluster lists the first members in the order of their names: at least one, or none where they are to be
	// discovered.
	InitialCluster []InitialMember
	// InitialClusterState is "new" or "existing".
	InitialClusterState string
	// InitialClusterToken is mixed into the ids of a new cluster and its members.
	InitialClusterToken string

	// DiscoverySRV is a DNS domain whose SRV records, with DiscoverySRVName in their names, list the first members.
	DiscoverySRV, DiscoverySRVName string
	// DiscoveryEndpoints are members of another cluster through which the first members find each other under
	// DiscoveryToken; both are set or neither. At most one of InitialCluster (as given), DiscoverySRV and
	// DiscoveryEndpoints is set.
	DiscoveryEndpoints []string
	DiscoveryToken     string
	// The following say how DiscoveryEndpoints are spoken to.
	DiscoveryDialTimeout, DiscoveryRequestTimeout           time.Duration
	DiscoveryKeepAliveTime, DiscoveryKeepAliveTimeout       time.Duration
	DiscoveryInsecureTransport, DiscoveryInsecureSkipVerify bool
	DiscoveryCertFile, DiscoveryKeyFile, DiscoveryCAFile    string
	DiscoveryUser, DiscoveryPassword                        string
	// DiscoveryFallback is "exit".
	DiscoveryFallback string

	// HeartbeatInterval is at least 1 ms; ElectionTimeout is at least five times as long and at most 50 s.
	HeartbeatInterval, ElectionTimeout time.Duration
	// PreVote makes a candidate ask whether it could win before it raises the term.
	PreVote bool
	// StrictReconfigCheck refuses membership changes that would cost the cluster its quorum.
	StrictReconfigCheck bool
	// AutoPromoteLearners gives learners a vote when they are in sync.
	AutoPromoteLearners bool
	// InitialElectionTickAdvance lets the first election after a start come sooner.
	InitialElectionTickAdvance bool
	// MaxLearners is the number of learners that a cluster may have, at least 0.
	MaxLearners int64

	// ListenClientHTTPURLs, where HTTP is served that is then not served at the client URLs, and ListenMetricsURLs,
	// where health and metrics alone are served, may be empty. Their form is that of ListenClientURLs.
	ListenClientHTTPURLs, ListenMetricsURLs []url.URL
	// EnableGRPCGateway serves the API as JSON; EnablePprof serves Go's profiles.
	EnableGRPCGateway, EnablePprof bool
	// CORS are the origins of pages that may call; HostWhitelist the hosts that plain HTTP requests may name. "*"
	// stands for all.
	CORS, HostWhitelist []string

	// MaxTxnOps is how many operations each list of a transaction may have, at least 1.
	MaxTxnOps uint64
	// MaxRequestBytes is the size of the largest request that is accepted, at least 1.
	MaxRequestBytes uint64
	// MaxConcurrentStreams is how many streams one client connection may have open, at least 1.
	MaxConcurrentStreams uint32
	// GRPCKeepAliveMinTime is the shortest pause that a client must leave between pings; at least 0.
	GRPCKeepAliveMinTime time.Duration
	// GRPCKeepAliveInterval is how often the server pings a quiet client, and GRPCKeepAliveTimeout how long it
	// waits for the answer; 0 switches the pings off.
	GRPCKeepAliveInterval, GRPCKeepAliveTimeout time.Duration

	// QuotaBackendBytes is as the flag says; use Quota, which knows what 0 and a negative value mean.
	QuotaBackendBytes int64
	// CatchUpEntries is how many of the newest entries the log keeps for members that lag; 0 keeps none for them.
	CatchUpEntries uint64
	// SnapshotCount is accepted and has no effect.
	SnapshotCount uint64
	// WALDir is empty. MaxWALs, MaxSnapshots, BackendFreelistType, BackendBatchInterval, BackendBatchLimit,
	// SocketReuseAddress, V2Deprecation, BootstrapDefragThreshold and DowngradeCheckTime are accepted and have no effect.
	WALDir                                          string
	MaxWALs, MaxSnapshots, BootstrapDefragThreshold uint64
	BackendFreelistType, V2Deprecation              string
	BackendBatchInterval, DowngradeCheckTime        time.Duration
	BackendBatchLimit                               int64
	SocketReuseAddress                              bool
	// MemoryMlock keeps the memory of the process in memory. An embedded member leaves that to its program.
	MemoryMlock bool
	// SocketReusePort sets SO_REUSEPORT on what is listened at.
	SocketReusePort bool
	// RaftReadTimeout and RaftWriteTimeout are how long another member may leave us waiting, at least 100 ms.
	RaftReadTimeout, RaftWriteTimeout time.Duration
	// AutoCompactionMode, AutoCompactionRetention and AutoCompactionRetentionRevisions are as the flags say; use
	// Compaction.
	AutoCompactionMode, AutoCompactionRetention string
	AutoCompactionRetentionRevisions            int64
	// CompactionBatchLimit is how many revisions one step of a compaction deletes; 0 means the built-in figure.
	CompactionBatchLimit int64
	// CompactionSleepInterval is the pause between two steps of a compaction; 0 means the built-in figure.
	CompactionSleepInterval time.Duration

	// CertFile and KeyFile are the server's certificate and key, both empty or neither.
	CertFile, KeyFile string
	// ClientCertFile and ClientKeyFile are accepted and have no effect; both are empty or neither.
	ClientCertFile, ClientKeyFile string
	// ClientCertAuth makes the common name of a client's certificate its user; use ClientCertificates to know whether
	// clients need one.
	ClientCertAuth bool
	// TrustedCAFile, ClientCRLFile and ClientCertAllowedHostnames say which client certificates are accepted.
	TrustedCAFile, ClientCRLFile string
	ClientCertAllowedHostnames   []string
	// AutoTLS makes a certificate where CertFile is empty, valid for SelfSignedCertValidity years, at least 1.
	AutoTLS                bool
	SelfSignedCertValidity int64

	// PeerCertFile and PeerKeyFile are the certificate and key that other members see, both empty or neither.
	// PeerClientCertFile and PeerClientKeyFile are those that are shown to other members; both empty means the same.
	PeerCertFile, PeerKeyFile             string
	PeerClientCertFile, PeerClientKeyFile string
	// PeerClientCertAuth demands a certificate of members that call; use PeerClientCertificates to know whether one is
	// needed.
	PeerClientCertAuth bool
	// PeerTrustedCAFile, PeerCRLFile, PeerCertAllowedCNs and PeerCertAllowedHostnames say which certificates of members
	// are accepted; at most one of the last two has any.
	PeerTrustedCAFile, PeerCRLFile               string
	PeerCertAllowedCNs, PeerCertAllowedHostnames []string
	// PeerAutoTLS makes a certificate where PeerCertFile is empty. PeerSkipClientSANVerification takes a certificate from
	// an address that it does not name.
	PeerAutoTLS, PeerSkipClientSANVerification bool

	// CipherSuites, TLSMinVersion and TLSMaxVersion are as the flags say; use CipherSuiteIDs and TLSVersions.
	CipherSuites                 []string
	TLSMinVersion, TLSMaxVersion string

	// AuthToken is how clients prove who they are: simple, jwt with options, or empty for not at all.
	AuthToken string
	// BcryptCost is the cost of the hashes of passwords, from 4 to 31. AuthTokenTTL is how many seconds a simple token
	// lives after its last use; 0 means 300.
	BcryptCost, AuthTokenTTL int64

	// Logger is "zap". LogLevel is debug, info, warn, error, dpanic, panic or fatal.
	Logger, LogLevel string
	// LogFormat is json, console or auto; use Console, which knows what auto means.
	LogFormat string
	// LogOutputs lists stderr, stdout and file paths, without doubles; at least one. "default" and
	// "systemd/journal" have become stderr.
	LogOutputs []string
	// EnableLogRotation begins a new log file as LogRotationConfigJSON says; use Rotation.
	EnableLogRotation     bool
	LogRotationConfigJSON string
	// Metrics is "basic" or "extensive".
	Metrics string
	// EnableDistributedTracing sends spans to TracingAddress (host:port), in the name of TracingServiceName and
	// TracingInstanceID, of TracingSamplingRate in a million calls.
	EnableDistributedTracing                              bool
	TracingAddress, TracingServiceName, TracingInstanceID string
	TracingSamplingRate                                   int64
	// WarningUnaryRequestDuration and WarningApplyDuration are when a slow request or apply is logged.
	WarningUnaryRequestDuration, WarningApplyDuration time.Duration
	// WatchProgressNotifyInterval is how often idle watchers are told their progress, and WatchCacheBytes bounds the
	// latest changes that are kept for watchers in memory.
	WatchProgressNotifyInterval time.Duration
	WatchCacheBytes             int64

	// ForceNewCluster makes the member a cluster of its own, with all its data.
	ForceNewCluster bool
	// UnsafeNoFsync leaves out every sync; a power cut may then lose acknowledged writes.
	UnsafeNoFsync bool

	// FeatureGates are etcd's gates as they were given; use Enabled.
	FeatureGates string
	// CorruptCheckTime is how often the leader compares the hashes of all members; 0 means never.
	CorruptCheckTime time.Duration
	// CompactHashCheckTime is how often it looks for compactions whose result was not compared, if that gate is on.
	CompactHashCheckTime time.Duration
	// ScrubInterval is how often the member reads its store over, 0 for never, and ScrubBytes how much of it in a second.
	ScrubInterval time.Duration
	ScrubBytes    int64

	// StrictPermissions refuses a data directory that others may read, instead of warning.
	StrictPermissions bool
	// CacheBytes bounds the row cache; 0 switches it off.
	CacheBytes int64
	// BlockCacheBytes bounds the storage engine's cache of blocks; at least 1 MiB.
	BlockCacheBytes int64
	// AnswerBudgetBytes is what all large answers that are being built may take together.
	AnswerBudgetBytes int64
	// ViewMaxAge is how long one reader may hold a view of the store.
	ViewMaxAge time.Duration
	// SnapshotRateBytes is what the snapshots that are sent may take together, in bytes a second; 0 sets no limit.
	SnapshotRateBytes int64
	// SnapshotMaxAge is how long the sending of one snapshot may take.
	SnapshotMaxAge time.Duration
	// MaxSnapshotsSending is how many snapshots may be sent at a time, at least 1.
	MaxSnapshotsSending uint64
	// MinFreeBytes is the disk space below which writes that need space are refused; 0 switches the check off.
	MinFreeBytes int64

	// ConfigFile is the file that the settings came from, or empty.
	ConfigFile string
	// Version says that only the version is asked for. Nothing else in the Config has been read or checked then.
	Version bool

	sources map[string]Source
}

// defaultSlowRequest is what etcd takes when its flag is 0.
const defaultSlowRequest = 300 * time.Millisecond

// defaultQuotaBytes is what etcd allows when its quota flag is 0.
const defaultQuotaBytes = 2 << 30

// Quota returns the size in bytes that the live data may reach before writes are refused; ok is false when
// there is no quota. A negative value in the flag means none; 0 means 2 GiB under the name etcd, and none under
// the name holdfast, where the disk is the limit.
func (c *Config) Quota() (bytes int64, ok bool) {
	switch {
	case c.QuotaBackendBytes < 0, c.QuotaBackendBytes == 0 && c.Program != "etcd":
		return 0, false
	case c.QuotaBackendBytes == 0:
		return defaultQuotaBytes, true
	}
	return c.QuotaBackendBytes, true
}

// Console reports whether log lines are for people rather than JSON: as log-format says, and where it says
// auto, when standard error is a terminal and the log goes nowhere else.
func (c *Config) Console(stderrIsTerminal bool) bool {
	if c.LogFormat != "auto" {
		return c.LogFormat == "console"
	}
	return stderrIsTerminal && len(c.LogOutputs) == 1 && c.LogOutputs[0] == "stderr"
}

// Source says where the value of a setting came from. An unknown name answers FromDefault.
func (c *Config) Source(name string) Source { return c.sources[name] }

// Source is the place that a value came from. Larger is stronger.
type Source int

// The sources, the weakest first.
const (
	FromDefault Source = iota
	FromFile
	FromEtcdEnvironment
	FromHoldfastEnvironment
	FromFlag
)

func (s Source) String() string {
	return [...]string{"default", "configuration file", "environment (ETCD_)", "environment (HOLDFAST_)", "flag"}[s]
}

// Warning is something that the operator should know although the member starts: a whole sentence.
type Warning string
