package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A watching calls back with every event until it is cancelled.
type watching struct {
	stop  context.CancelFunc
	ended chan struct{}
	err   error // why it ended by itself; read after ended
}

// watch calls back with the events of the keys that begin with prefix, from now on: when it returns, the server watches.
func (l *lab) watch(prefix string, callback func(*clientv3.Event)) (*watching, error) {
	ctx, stop := context.WithCancel(context.Background())
	w := &watching{stop: stop, ended: make(chan struct{})}
	answers := l.etcd.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	created := make(chan struct{})
	go func() {
		defer close(w.ended)
		for a := range answers {
			if err := a.Err(); err != nil {
				w.err = err
				return
			}
			if a.Created {
				close(created)
			}
			for _, e := range a.Events {
				callback(e)
			}
		}
	}()
	select {
	case <-created:
		return w, nil
	case <-w.ended:
		stop()
		return nil, w.err
	case <-time.After(timeout):
		w.cancel()
		return nil, errors.New("the watch is not begun in time")
	}
}

// cancel returns when no callback will come any more.
func (w *watching) cancel() {
	w.stop()
	<-w.ended
}

// take returns the next event.
func (w *watching) take(events <-chan *clientv3.Event) (*clientv3.Event, error) {
	select {
	case e := <-events:
		return e, nil
	case <-w.ended:
		return nil, fmt.Errorf("the watch ended: %w", w.err)
	case <-time.After(timeout):
		return nil, &notAsTold{"the next event", "nothing within " + timeout.String(), "an event"}
	}
}

func (l *lab) watchLogins() error {
	zenon := usersPrefix + "Zenon"
	if err := l.delete(zenon); err != nil {
		return err
	}
	another, err := l.connect()
	if err != nil {
		return err
	}
	defer another.Close()
	other := &lab{etcd: another}

	seen := make(chan *clientv3.Event, 10)
	w, err := l.watch(usersPrefix, func(e *clientv3.Event) { seen <- e })
	if err != nil {
		return err
	}
	defer w.cancel()
	if _, err := other.put(zenon, "host-20"); err != nil {
		return err
	}
	e, err := w.take(seen)
	if err != nil {
		return err
	}
	if err := checks(
		check("the kind of event", e.Type, clientv3.EventTypePut),
		check("its key", string(e.Kv.Key), zenon),
		check("its value", string(e.Kv.Value), "host-20"),
	); err != nil {
		return err
	}
	l.printf("%s logged in at %s", strings.TrimPrefix(string(e.Kv.Key), usersPrefix), e.Kv.Value)
	if err := other.delete(zenon); err != nil {
		return err
	}
	if e, err = w.take(seen); err != nil {
		return err
	}
	if err := checks(
		check("the kind of event", e.Type, clientv3.EventTypeDelete),
		check("its key", string(e.Kv.Key), zenon),
	); err != nil {
		return err
	}
	l.printf("Zenon logged out")

	w.cancel()
	// Whatever the first watch still had to tell would come before what the second one tells.
	later := make(chan *clientv3.Event, 10)
	w, err = l.watch(usersPrefix, func(e *clientv3.Event) { later <- e })
	if err != nil {
		return err
	}
	defer w.cancel()
	if _, err := other.put(zenon, "host-16"); err != nil {
		return err
	}
	if e, err = w.take(later); err != nil {
		return err
	}
	if err := checks(
		check("what a new watch sees", string(e.Kv.Value), "host-16"),
		check("the events that the cancelled watch sees", len(seen), 0),
	); err != nil {
		return err
	}
	l.printf("the watch is cancelled: when he logs in again it sees nothing")
	return other.delete(zenon)
}
