package parity

import (
	"fmt"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// compareState compares what an operation may have changed: keys, leases, users and roles, and what the watches delivered.
func (r *Run) compareState(title string, o Operation) (done bool) {
	if o.endsReader() && r.state.AuthEnabled {
		done, _, _ = r.compare("the run authenticates again after "+o.String(), r.identities.asReader())
	}
	look := func(o Operation) (left Answer, ok bool) {
		o.As = r.state.reader()
		var enough bool
		enough, left, _ = r.compare(title, o)
		done = done || enough
		return left, len(left.Messages) == 1
	}
	if o.mayWrite() {
		look(readAll())
	}
	if o.changesLeases() && !done {
		for _, l := range r.state.readLeases() {
			look(l)
		}
	}
	if o.changesAuth() && !done {
		readAuth(look)
	}
	return done || r.settleWatches(title)
}

// restart ends the long-lived streams and both systems, starts these again, lets the users authenticate again, and goes on with the watches at
// the next revision.
func (r *Run) restart(how Restart) (done bool, err error) {
	before := r.watchings.streams
	r.watchings.streams = map[int]*watching{}
	for _, stream := range before {
		for _, end := range stream.ends {
			end.close()
		}
	}
	clear(r.state.Watches)
	if err := r.both(func(_ int, s System) error { return s.Restart(how) }); err != nil {
		return true, fmt.Errorf("seed %d, operation %d: %w", r.Seed, r.index, err)
	}
	r.Outcomes.add(Operation{Restart: how}.Name(), "ok", "ok")
	if r.state.AuthEnabled {
		for _, o := range r.identities.again() {
			if done, _, _ := r.compare("users authenticate again after "+how.String(), o); done {
				return true, nil
			}
		}
	}
	for _, number := range slices.Sorted(maps.Keys(before)) {
		if number == identityStream {
			continue
		}
		for _, id := range before[number].ids() {
			request := before[number].watches[id].request
			request.WatchId, request.StartRevision = id, max(request.StartRevision, r.state.Revision+1)
			o := watchOn(number, request)
			o.As = r.state.reader()
			if done, _, _ := r.compare("watches go on after "+how.String(), o); done {
				return true, nil
			}
		}
	}
	return false, nil
}

// watchEverything opens the reference watch.
func (r *Run) watchEverything() (done bool) {
	if done, _, _ = r.compare("at the start", readAll()); done {
		return true
	}
	r.watchings.complete = r.state.Revision + 1
	done, _, _ = r.compare("at the start", watchOn(referenceStream, everythingWatched()))
	return done
}

// awaitEnds waits until leases have ended on both sides.
func (r *Run) awaitEnds(o Operation) (done bool, err error) {
	err = r.both(func(side int, s System) error {
		return awaitEnd(s, o.Ended, func(o Operation) Operation { return r.identities.with(side, with(r.state.reader(), o)) })
	})
	for _, id := range o.Ended {
		r.state.forgetLease(id, Answer{})
	}
	return err != nil, err
}

// endAtOnce revokes a lease that must not outlive its step, on each side by the id that it has there. What comes of it is not compared: a
// machine that stalls for a second may have let the lease come to its end.
func (r *Run) endAtOnce(o Operation, left, right Answer) {
	answers := [2]Answer{left, right}
	r.both(func(side int, s System) error {
		id := answers[side].Messages[0].(*pb.LeaseGrantResponse).ID
		Do(s.Conn(), r.identities.with(side, with(r.state.reader(), revoke(id))))
		return nil
	})
}
