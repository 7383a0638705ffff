// Package chaos drives clusters of real processes through what befalls them: it kills them, stops and continues them, cuts
// the links between them, fills their disks, restarts and replaces them, while clients of the ordinary client library work.
// All that the clients ask and are told becomes a history, which the checkers of the simulator judge (sim/check).
//
// What a test here may rely on:
//
//	C1  Every link between two members runs through a proxy of the test, which can hold back what one of them sends to the
//	    other, in one direction or both, as a network does that loses everything: connections stand, nothing arrives. In
//	    network namespaces the kernel does the same: by routes that lead nowhere, and by a cable that is pulled.
//	C2  The history holds every request of every client, with moments of one counter that is read before a request is sent
//	    and after its answer has arrived.
//	C3  A test that fails writes its history to a file and says where.
//
// The short form runs with the ordinary tests; "make chaos" kills leaders for as long as it is told.
package chaos
