package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Gate is one of etcd's feature gates.
type Gate struct {
	Name string
	// Stage is ALPHA or BETA. AllAlpha and AllBeta set all gates of a stage that are not named themselves.
	Stage   string
	Default bool
	// Does says what the gate does when it is on, or why it changes nothing here.
	Does string
	// Works says that it does something here.
	Works bool
}

// The gates that do something here.
const (
	InitialCorruptCheck = "InitialCorruptCheck"
	CompactHashCheck    = "CompactHashCheck"
	SetMemberLocalAddr  = "SetMemberLocalAddr"
)

const (
	alpha = "ALPHA"
	beta  = "BETA"
)

var gates = []Gate{
	{CompactHashCheck, alpha, false, "After a compaction the leader has all members hash what they hold at the compacted revision, and compares; --compact-hash-check-time says how often it looks.", true},
	{"FastLeaseKeepAlive", beta, true, "Always so, whatever it says: a keep-alive is a small command that waits for no read, and is answered when it has committed.", false},
	{InitialCorruptCheck, alpha, false, "Before it serves clients, a member compares the hash of its keys with the other members', and serves nothing if the majority has another.", true},
	{"LeaseCheckpoint", alpha, false, "Always so, whatever it says: what is left of a lease's time is part of every entry of the log.", false},
	{"LeaseCheckpointPersist", alpha, false, "Always so, whatever it says: see LeaseCheckpoint. As in etcd it cannot be on without that.", false},
	{"PriorityRequest", alpha, false, "Always so, whatever it says: the cluster's own commands, such as the end of leases, have room of their own in every queue and go first.", false},
	{SetMemberLocalAddr, alpha, false, "Connections to other members leave from the first IP address among --initial-advertise-peer-urls, as its URL's host.", true},
	{"StopGRPCServiceOnDefrag", alpha, false, "No effect: a defragmentation blocks nothing, because there is nothing to defragment.", false},
	{"TxnModeWriteWithSharedBuffer", beta, true, "No effect: a transaction reads through its own changes, and copies no buffer.", false},
}

// allOf are the two names that stand for all gates of a stage.
var allOf = map[string]string{"AllAlpha": alpha, "AllBeta": beta}

// Gates lists the feature gates, by name. The caller may change the slice.
func Gates() []Gate { return slices.Clone(gates) }

// Enabled reports whether the gate of this name is on. There is none of another name, and it is off.
func (c *Config) Enabled(gate string) bool {
	on, _ := decodeGates(c.FeatureGates)
	return on[gate]
}

// decodeGates reads Name=true,Name=false and returns which gates are on, or what is wrong as a clause that goes on after
// "but".
func decodeGates(text string) (on map[string]bool, complaint string) {
	on = map[string]bool{}
	for _, g := range gates {
		on[g.Name] = g.Default
	}
	named := map[string]bool{}
	stages := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, found := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !found {
			return nil, fmt.Sprintf("names %s without =true or =false", name)
		}
		v, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Sprintf("sets %s to %q, which is neither true nor false", name, value)
		}
		switch _, known := on[name]; {
		case allOf[name] != "":
			stages[allOf[name]] = v
		case !known:
			return nil, fmt.Sprintf("names %s, which is no feature gate: there are %s", name, strings.Join(gateNames(), ", "))
		default:
			named[name], on[name] = true, v
		}
	}
	for _, g := range gates {
		if v, set := stages[g.Stage]; set && !named[g.Name] {
			on[g.Name] = v
		}
	}
	if on["LeaseCheckpointPersist"] && !on["LeaseCheckpoint"] {
		return nil, "switches LeaseCheckpointPersist on without LeaseCheckpoint"
	}
	return on, ""
}

func gateNames() (names []string) {
	for _, g := range gates {
		names = append(names, g.Name)
	}
	return names
}

func gatesKnown(c *Config) string {
	_, complaint := decodeGates(c.FeatureGates)
	return complaint
}

// documentGates describes the gates for docs/configuration.md.
func documentGates(b *strings.Builder) {
	b.WriteString("\n## Feature gates\n\n" +
		"`--feature-gates` takes etcd's gates as `Name=true` or `Name=false`, with commas between them; `AllAlpha` and `AllBeta` stand " +
		"for\nall of a stage that are not named themselves. Those that do nothing here are accepted all the same, and the table says why.\n\n" +
		"| gate | stage | default | here |\n|---|---|---|---|\n")
	for _, g := range gates {
		works := ""
		if g.Works {
			works = "Works. "
		}
		fmt.Fprintf(b, "| `%s` | %s | %v | %s%s |\n", g.Name, g.Stage, g.Default, works, g.Does)
	}
}
