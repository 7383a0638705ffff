package chaos

import "holdfast/internal/servertest"

// network is what lies between the members of one fleet.
type network interface {
	// place says where a member that is new listens, and what else its being there asks for.
	place(member int) place
	// set cuts or heals what one member sends to another.
	set(from, to int, cut bool)
	// heal lets everything through again.
	heal()
}

// place is where a member is. The addresses are hosts with ports.
type place struct {
	client  string   // at which it serves clients
	peer    string   // at which it listens to other members
	reached string   // at which other members reach it
	through []string // see servertest.Member
}

// place gives a member ports of the loopback interface, and a proxy in front of that for members.
func (l *links) place(member int) place {
	peer := servertest.FreeAddress(l.t)
	return place{client: servertest.FreeAddress(l.t), peer: peer, reached: l.open(member, peer)}
}
