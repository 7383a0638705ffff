package machine

import (
	"fmt"

	"holdfast/internal/command"
)

// Version is one way in which the machine acts. A cluster acts in one version; a committed entry moves it to the
// next when every member can (I5). Whatever changes what an entry does to the store, or the digest, or a refusal,
// is a new version.
type Version struct {
	Number uint32
	Kinds  []command.Kind // the commands that it executes
	Digest string         // the formula of the running digest
	seed   uint64         // of the hash that the digest is made with
}

// Versions are all versions that this program can act like, oldest first, without gaps. The build tag machine_next adds
// one that differs from the last in its digest alone: tests upgrade clusters from a build without it to one with it.
var Versions = append([]Version{
	{
		Number: 1,
		Kinds:  firstKinds,
		Digest: "xxhash64 chain 1",
	},
}, next...)

// firstKinds are the commands of version 1.
var firstKinds = []command.Kind{
	command.KindPut, command.KindDelete, command.KindTxn, command.KindCompact,
	command.KindLeaseGrant, command.KindLeaseRevoke, command.KindLeaseRenew, command.KindLeaseExpire,
	command.KindAuth, command.KindAuthenticate, command.KindTokenTouch,
	command.KindMemberPublish, command.KindMemberUpdate, command.KindAlarm, command.KindVersionRaise,
	command.KindMemberChange,
}

// Oldest is the oldest version that this program can act like, and the one in which a new cluster starts, so that
// members of several builds begin with the same store. The leader raises it as soon as all of them can.
func Oldest() uint32 { return Versions[0].Number }

// Latest is the newest version that this program can act like.
func Latest() uint32 { return Versions[len(Versions)-1].Number }

// known returns the version with this number, nil if this program does not know it.
func known(number uint32) *Version {
	for i := range Versions {
		if Versions[i].Number == number {
			return &Versions[i]
		}
	}
	return nil
}

// raiseVersion moves the machine to another version with the entry after the one under way, so that an entry is
// executed in one version whole, wherever a crash interrupts it. A version that is not later changes nothing. One that
// this program does not know stops the member: the others go where it cannot follow (I5).
func (p *Pending) raiseVersion(number uint32) error {
	if number <= p.version {
		return nil
	}
	if known(number) == nil {
		return fmt.Errorf("%w: the cluster has moved to machine version %d, this build knows up to %d", ErrNewerMachine, number, Latest())
	}
	p.version = number
	p.digest.numbers('V', uint64(number))
	return nil
}

// raisedBefore does again what the commands before the first have done to the version, when a crash has interrupted
// the entry under way: the applied record that the store holds is that of before the entry.
func (p *Pending) raisedBefore(first int) error {
	for i := range first {
		c := &p.entry.Commands[i]
		if c.Kind != command.KindVersionRaise {
			continue
		}
		raise, whole, err := command.DecodeVersionRaise(c.Payload)
		if err := understood(whole, err); err != nil {
			return err
		}
		if known(raise.Version) == nil {
			return fmt.Errorf("%w: command %d names machine version %d", ErrNewerMachine, i, raise.Version)
		}
		p.version = max(p.version, raise.Version)
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
