package config

import (
	"slices"
	"strings"
	"unicode"
)

// Discovers reports whether the first members of a new cluster are found by DNS or through another cluster.
func (c *Config) Discovers() bool { return c.DiscoverySRV != "" || len(c.DiscoveryEndpoints) > 0 }

// checkDiscovery refuses ways of finding the first members that do not fit each other.
func (c *Config) checkDiscovery() error {
	ways := make([]string, 0, 3)
	if len(c.InitialCluster) > 0 {
		ways = append(ways, "--initial-cluster")
	}
	if c.DiscoverySRV != "" {
		ways = append(ways, "--discovery-srv")
	}
	if len(c.DiscoveryEndpoints) > 0 {
		ways = append(ways, "--discovery-endpoints")
	}
	switch {
	case len(ways) > 1:
		return valueError("%s are set, but only one of them may be: each says who the first members are", strings.Join(ways, " and "))
	case (c.DiscoveryToken == "") != (len(c.DiscoveryEndpoints) == 0):
		return valueError("--discovery-token and --discovery-endpoints must be set together: the token names the new cluster at the endpoints")
	case len(c.DiscoveryEndpoints) > 0 && c.InitialClusterState == "existing":
		return valueError("--discovery-endpoints is set, but --initial-cluster-state is existing: through discovery only new " +
			"clusters are made; list the members of the existing one in --initial-cluster")
	case (c.DiscoveryCertFile == "") != (c.DiscoveryKeyFile == ""):
		return valueError("--discovery-cert and --discovery-key must be set together: a certificate is of use only with its private key")
	}
	return nil
}

func discoveryTokenIsOne(c *Config) string {
	if strings.Contains(c.DiscoveryToken, "/") || strings.ContainsFunc(c.DiscoveryToken, unicode.IsControl) {
		return "must not contain a slash or a line break"
	}
	return ""
}

func fallbackIsExit(c *Config) string {
	if c.DiscoveryFallback != "exit" {
		return "must be exit: the proxy that etcd once started instead is no more"
	}
	return ""
}

// InitialMemberNamed returns the member of the initial cluster with a name. ok is false if there is none.
func (c *Config) InitialMemberNamed(name string) (m InitialMember, ok bool) {
	i := slices.IndexFunc(c.InitialCluster, func(m InitialMember) bool { return m.Name == name })
	if i < 0 {
		return InitialMember{}, false
	}
	return c.InitialCluster[i], true
}

// ParseMembers reads name=URL pairs as --initial-cluster takes them. The members come back in the order of their
// names. The error is an ErrValue.
func ParseMembers(text string) ([]InitialMember, error) {
	members, complaint := decodeMembers(text)
	if complaint != "" {
		return nil, valueError("the members are %q, but the list %s", text, complaint)
	}
	return members, nil
}

// FormatMembers writes members as --initial-cluster takes them.
func FormatMembers(members []InitialMember) string { return formatMembers(members) }
