// Package doctor says in plain sentences what is wrong with a running cluster, or with the data directory of a stopped
// member, and what to do about it.
//
// Invariants:
//
//	Y1  Nothing is changed: neither in the cluster, of which it reads only, nor in a directory, except that the lock of the
//	    directory is taken. No user's name and password is sent over a connection that a client would not send them over.
//	Y2  Each condition stands once in the table (conditions.go), with id, severity, sentence and advice; docs/operations/doctor.md
//	    is made of the table. No other sentence is ever said.
//	Y3  A condition is found or it is not: nothing is found because something could not be asked. What could not be asked is a
//	    condition of its own.
//	Y4  The worst comes first; within one severity the order is that of the table, and then that of the endpoints.
//
// It works in two steps. Observing asks every member, and those that they name, at the same time, and brings back facts
// (observe.go, probe.go, directory.go); judging is a function of the facts and of the Limits (judge_*.go).
//
// Use:
//
//	findings, err := doctor.Cluster(ctx, doctor.Options{Spec: spec})
//	findings, err := doctor.Directory(ctx, path, doctor.DirectoryOptions{})
package doctor
