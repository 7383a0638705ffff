package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// complete fills in the settings whose default depends on others. given says which settings were set.
func (c *Config) complete(given func(name string) bool) []Warning {
	var warnings []Warning
	if c.DataDir == "" {
		s, _ := lookup("data-dir")
		c.DataDir = strings.ReplaceAll(s.DefaultFor(c.Program), "${name}", c.Name)
	}
	if !given("advertise-client-urls") && c.Program != etcdProgram {
		c.AdvertiseClientURLs = withReachableHosts(c.ListenClientURLs)
		if formatURLs(c.AdvertiseClientURLs) != formatURLs(c.ListenClientURLs) {
			warnings = append(warnings, Warning(fmt.Sprintf("Clients are told to connect to %s, which only works on "+
				"this machine: set --advertise-client-urls to URLs that clients elsewhere can reach.",
				formatURLs(c.AdvertiseClientURLs))))
		}
	}
	if !given("initial-cluster") && !c.Discovers() {
		c.InitialCluster = []InitialMember{{Name: c.Name, PeerURLs: slices.Clone(c.InitialAdvertisePeerURLs)}}
	}
	if c.WarningUnaryRequestDuration == 0 { // As in etcd, which cannot switch it off either.
		c.WarningUnaryRequestDuration = defaultSlowRequest
	}
	for i, output := range c.LogOutputs {
		switch output {
		case "systemd/journal":
			warnings = append(warnings, "Log lines go to standard error, which systemd passes on to the journal: "+
				"--log-outputs=systemd/journal needs nothing more.")
			c.LogOutputs[i] = "stderr"
		case "default":
			c.LogOutputs[i] = "stderr"
		}
	}
	c.LogOutputs = slices.Compact(c.LogOutputs)
	warnings = append(warnings, c.securityWarnings()...)
	if c.UnsafeNoFsync {
		warnings = append(warnings, "--unsafe-no-fsync is on: a power cut or a crash of the system loses acknowledged "+
			"writes and may make the data unreadable. Use it only for data that you can lose.")
	}
	return warnings
}

// withReachableHosts replaces the addresses that mean "every address", which nobody can connect to.
func withReachableHosts(urls []url.URL) []url.URL {
	urls = slices.Clone(urls)
	for i, u := range urls {
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
			urls[i].Host = net.JoinHostPort("localhost", u.Port())
		}
	}
	slices.SortFunc(urls, compareURLs)
	return slices.CompactFunc(urls, func(a, b url.URL) bool { return a.String() == b.String() })
}

// checkTogether checks what the rows cannot check alone (C3). given says which settings were set by flag or
// environment; a configuration file is not asked for advertise-client-urls, as etcd does not.
func (c *Config) checkTogether(given func(name string) bool) error {
	if 5*c.HeartbeatInterval > c.ElectionTimeout {
		return valueError("--election-timeout is %d, but must be at least five times --heartbeat-interval, which is %d",
			c.ElectionTimeout.Milliseconds(), c.HeartbeatInterval.Milliseconds())
	}
	if c.AnswerBudgetBytes > 0 && c.MaxRequestBytes > uint64(c.AnswerBudgetBytes) {
		return valueError("--max-request-bytes is %d, but --answer-budget-bytes is %d: a value could be written and never be read",
			c.MaxRequestBytes, c.AnswerBudgetBytes)
	}
	if err := c.checkRotation(); err != nil {
		return err
	}
	if err := c.checkCompaction(); err != nil {
		return err
	}
	if err := c.checkSecurity(); err != nil {
		return err
	}
	if err := c.checkDiscovery(); err != nil {
		return err
	}
	if c.Program == etcdProgram && c.ConfigFile == "" && given("listen-client-urls") && !given("advertise-client-urls") {
		return valueError("--advertise-client-urls is not set, but must be when --listen-client-urls is")
	}
	return nil
}

// CheckBootstrap is CheckBootstrapWith for URLs that must be written the same way.
func (c *Config) CheckBootstrap() error {
	return c.CheckBootstrapWith(func(_, _ []url.URL) string { return "they are written differently" })
}

// CheckBootstrapWith checks what only matters when a member starts with a new data directory: the member itself is one
// of the initial cluster and, in a new cluster, has the peer URLs there that it advertises. URLs that are written
// differently may name the same addresses: differ is asked then, and says in a clause why they do not. The error is an
// ErrValue.
func (c *Config) CheckBootstrapWith(differ func(listed, advertised []url.URL) string) error {
	me, ok := c.InitialMemberNamed(c.Name)
	if !ok {
		return valueError("--initial-cluster is %s, but must contain this member, whose --name is %s",
			formatMembers(c.InitialCluster), c.Name)
	}
	listed, advertised := formatURLs(me.PeerURLs), formatURLs(c.InitialAdvertisePeerURLs)
	if c.InitialClusterState == "existing" || listed == advertised {
		return nil // who joins has been announced with its URLs before
	}
	if difference := differ(me.PeerURLs, c.InitialAdvertisePeerURLs); difference != "" {
		return valueError("--initial-cluster gives this member the URLs %s, but --initial-advertise-peer-urls is %s; "+
			"they must be the same: %s", listed, advertised, difference)
	}
	return nil
}

func dataDirIsPath(c *Config) string {
	if strings.ContainsRune(c.DataDir, 0) {
		return "must be a path"
	}
	return ""
}

func walDirIsEmpty(c *Config) string {
	if c.WALDir != "" {
		return "the log is a part of the data directory here, so that nobody can copy or lose one without the other; leave --wal-dir out, and put --data-dir on the faster disk"
	}
	return ""
}

func nameIsWhole(c *Config) string {
	switch {
	case c.Name == "":
		return "must not be empty"
	case strings.ContainsAny(c.Name, ",=/") || strings.ContainsFunc(c.Name, unicode.IsControl):
		return "must not contain a comma, an equals sign, a slash or a line break"
	case strings.TrimSpace(c.Name) != c.Name || !utf8.ValidString(c.Name):
		return "must not begin or end with a blank, and must be UTF-8"
	}
	return ""
}

func outputsAgree(c *Config) string {
	if len(c.LogOutputs) > 1 && slices.Contains(c.LogOutputs, "default") {
		return "\"default\" must stand alone"
	}
	return ""
}

// checkRows runs the checks of the rows. values says where each value was found.
func (c *Config) checkRows(values map[string]given) error {
	for _, s := range table {
		if s.check == nil {
			continue
		}
		if complaint := s.check(c); complaint != "" {
			return s.refuse(s.format(c), values[s.Name].from, complaint)
		}
	}
	return nil
}
