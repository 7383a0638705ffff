// Package transport carries messages, calls and snapshots between the members of a cluster, over connections of its
// own on the peer URLs, plain or with TLS. It knows raft's messages and nothing of what the members do with them.
//
// Invariants:
//
//	P1  Send never blocks and never fails: what a peer does not take within its bounds of bytes and messages is
//	    dropped, and the Handler is told. A slow or dead peer costs that memory and nobody else's time.
//	P2  Urgent messages (heartbeats and their answers, votes, answers to appends, ReadIndex, hand-over) never stand
//	    behind data: each class has connections and queues of its own. Within a class messages arrive in the order in
//	    which they were sent, or not at all.
//	P3  The messages of one Send to a peer leave in one write per class, as long as they take less than a MiB.
//	P4  A forward that is reported as unsent was never read by the other side: its frame was not completely taken by
//	    any connection. One that is not reported may have been.
//	P5  Nothing is exchanged before both sides have named cluster, member and versions, and each found the other's to be
//	    right. A member that was removed is told so, whatever it wants.
//	P6  What is read from a socket is bounded before it is believed: the time and the number of connections that have not
//	    said who they are, the size of a frame, what is allocated for it before its bytes are there. Every frame bears a
//	    checksum, each chunk of a snapshot one of its own, and the whole snapshot another.
//	P7  Close returns when every goroutine of the Transport is gone; no method of the Handler is called afterwards.
//
// A peer is reached by connections that this member opens, one for each class; what comes from it arrives on connections
// that it opens. On each, messages flow one way, and answers to probes, calls and snapshots the other:
//
//	this member                                        peer
//	  urgent   ---- heartbeats, votes, probes ------>    Receive
//	  data     ---- appends, forwards, probes ------>    Receive
//	  calls    ---- requests ----------------------->    Call
//	           <--- answers -------------------------
//	  snapshot ---- offer, chunks, end ------------->    Snapshot, Sink      (opened for one transfer)
//	           <--- next, done ----------------------
//
// A connection begins with a preface, by which it is told from TLS and HTTP/1.1, and a hello each way. Then frames follow,
// as docs/formats/transport.md describes:
//
//	+----------+----------+------+----------+
//	| length 4 | crc32c 4 | kind | body ... |    length counts kind and body; the checksum covers length, kind and body
//	+----------+----------+------+----------+
//
// Use:
//
//	t := transport.New(transport.Config{Identity: id, URLs: advertised, Logger: log})
//	t.SetHandler(node)
//	t.SetPeers(peers, nil)
//	go t.Serve(listener, nil, true)
//	t.Send(messages)
//	t.Close()
package transport
