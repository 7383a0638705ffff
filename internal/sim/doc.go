// Package sim runs whole clusters in one process, from one seed: real members (package assembly, with the API's handlers
// above them and no sockets) on simulated networks, disks and clocks, under testing/synctest. Clients of all kinds work,
// faults happen as the seed has planned them, then everything is healed and package check judges what was observed.
//
// Invariants:
//
//	Z1  One thing happens at a time: a message arrives, a sync is done, a timer rings, a fault begins. The next one
//	    happens when every goroutine of every member waits for something. So the seed decides the order of all that
//	    members can notice.
//	Z2  What is drawn at one place (a link of the network, a file of a disk, a client) comes from dice of its own: it
//	    does not depend on which goroutine was first elsewhere.
//	Z3  A life that is over changes nothing any more: its disk, its messages and its answers come to nothing.
//	Z4  A run ends with everything healed, progress seen and every member read.
//
// The same seed gives the same trace, as far as the libraries let it. What is left to them: between two things that happen,
// the goroutines of one member run in the order that Go's scheduler gives them (one processor, and no collection of garbage
// in the middle, keep it the same from run to run), select takes any of several ready channels (a watch stream looks for its
// tick of progress first, which was the place where runs differed most), and the engine gives its
// files numbers in the order in which its goroutines ask. What members draw from the system's dice (the boot number, raft's
// election timeouts, tokens) comes from one seeded source, in the order in which their goroutines ask. Maps are walked in random order in places where raft, the
// engine and we are sure that it does not matter; a trace that differs shows where it does.
//
// Use: Seed runs the world of a seed. Run makes a world for a script, such as a corner case that has a name.
package sim
