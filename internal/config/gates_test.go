package config

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// The gates are etcd 3.7's nine, with its stages and defaults.
func TestGates(t *testing.T) {
	want := map[string]string{
		"StopGRPCServiceOnDefrag": "ALPHA false", "InitialCorruptCheck": "ALPHA false", "CompactHashCheck": "ALPHA false",
		"TxnModeWriteWithSharedBuffer": "BETA true", "LeaseCheckpoint": "ALPHA false", "LeaseCheckpointPersist": "ALPHA false",
		"SetMemberLocalAddr": "ALPHA false", "FastLeaseKeepAlive": "BETA true", "PriorityRequest": "ALPHA false",
	}
	have := map[string]string{}
	for _, g := range Gates() {
		have[g.Name] = g.Stage + " " + map[bool]string{true: "true", false: "false"}[g.Default]
		if !strings.HasSuffix(g.Does, ".") {
			t.Errorf("%s: %q is no sentence", g.Name, g.Does)
		}
	}
	if !maps.Equal(have, want) {
		t.Errorf("the gates are %v", have)
	}
	if !slices.IsSorted(gateNames()) {
		t.Error("they are not in order")
	}
}

// What is named counts, then what is said of its stage, then the default; what makes no sense is refused in words.
func TestDecodeGates(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "FastLeaseKeepAlive TxnModeWriteWithSharedBuffer",
		"InitialCorruptCheck=true":          "FastLeaseKeepAlive InitialCorruptCheck TxnModeWriteWithSharedBuffer",
		" CompactHashCheck = 1 ,, ":         "CompactHashCheck FastLeaseKeepAlive TxnModeWriteWithSharedBuffer",
		"AllBeta=false":                     "",
		"FastLeaseKeepAlive=true,AllBeta=f": "FastLeaseKeepAlive",
		"AllBeta=false,AllAlpha=true,LeaseCheckpointPersist=false,LeaseCheckpoint=false": "CompactHashCheck InitialCorruptCheck PriorityRequest SetMemberLocalAddr StopGRPCServiceOnDefrag",
	} {
		on, complaint := decodeGates(text)
		var names []string
		for name, v := range on {
			if v {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); complaint != "" || got != want {
			t.Errorf("%q: %q, %q", text, got, complaint)
		}
	}
	for text, says := range map[string]string{
		"InitialCorruptCheck":         "without =true or =false",
		"InitialCorruptCheck=maybe":   "neither true nor false",
		"initialcorruptcheck=true":    "no feature gate: there are CompactHashCheck",
		"LeaseCheckpointPersist=true": "without LeaseCheckpoint",
	} {
		if _, complaint := decodeGates(text); !strings.Contains(complaint, says) {
			t.Errorf("%q: %q", text, complaint)
		}
		c := Default("holdfast")
		c.FeatureGates = text
		if gatesKnown(&c) == "" {
			t.Errorf("%q is accepted", text)
		}
	}
	c := Default("holdfast")
	c.FeatureGates = "CompactHashCheck=true"
	if !c.Enabled(CompactHashCheck) || c.Enabled(InitialCorruptCheck) || c.Enabled("nothing") {
		t.Error("Enabled says otherwise")
	}
}
