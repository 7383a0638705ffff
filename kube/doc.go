// Package kube drives a server as kube-apiserver does, with the same client library, and holds that it gets what Kubernetes relies on.
//
// An Apiserver opens one client for each resource. Its writers create, update and delete objects with optimistic concurrency
// (OptimisticPut and OptimisticDelete of clientv3/kubernetes), starting from what a watch cache has, however old. Each cache lists its resource
// and then watches it from the next revision on, with prev_kv and under "hasleader". A consistent read asks the store for its revision and
// is answered by the cache as soon as that has reached it; meanwhile the watch stream is asked for its progress every 100 ms. Two compactors
// contend for compact_rev_key and watch it. Objects that shall end are put with leases which several of them share and nobody keeps alive.
//
// What it holds:
//
//	K1  A cache sees every change of its resource exactly once and in the order of revisions, none split between two responses: each event
//	    fits the row that the cache has, prev_kv included, and lies above everything that was said to be delivered.
//	K2  Progress is told of nothing that is still to come, and reaches every revision that the store has shown.
//	K3  A cache at revision R equals a list at R, be it streamed, in pages or whole.
//	K4  A write that was acknowledged is there, at the revision that was told; one that was refused is not; the row that a refusal gives
//	    is enough to try again.
//	K5  A lease's objects go in one revision, none before its time, none much later; one that was put again with another lease stays.
//	K6  What is compacted is refused with the error that apiserver knows, and a cache that meets it lists again.
//
// They hold over kill -9, too. The tests run for KUBE_SECONDS (6 unless set), on the built Holdfast, or with KUBE_PEER=etcd on etcd.
package kube
