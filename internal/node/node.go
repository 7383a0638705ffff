// Package node is the shell round a replica: its goroutines, its timers, the waiters, and the order in which
// things start and stop.
package node
