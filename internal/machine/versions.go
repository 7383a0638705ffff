package machine

import "holdfast/internal/command"

// Version is one way in which the machine acts. A cluster acts in one version; a committed entry moves it to the
// next when every member can (I5). Whatever changes what an entry does to the store, or the digest, or a refusal,
// is a new version.
type Version struct {
	Number uint32
	Kinds  []command.Kind // the commands that it executes
	Digest string         // the formula of the running digest
}

// Versions are all versions that this program can act like, oldest first.
var Versions = []Version{
	{
		Number: 1,
		Kinds: []command.Kind{command.KindPut, command.KindDelete, command.KindTxn, command.KindCompact,
			command.KindLeaseGrant, command.KindLeaseRevoke, command.KindLeaseRenew, command.KindLeaseExpire,
			command.KindAuth, command.KindAuthenticate, command.KindTokenTouch},
		Digest: "xxhash64 chain 1",
	},
}

// Latest is the version in which a new cluster starts.
const Latest uint32 = 1

// known returns the version with this number, nil if this program does not know it.
func known(number uint32) *Version {
	for i := range Versions {
		if Versions[i].Number == number {
			return &Versions[i]
		}
	}
	return nil
}

// executes reports whether v knows commands of this kind.
func (v *Version) executes(k command.Kind) bool {
	for _, have := range v.Kinds {
		if have == k {
			return true
		}
	}
	return false
}
