package main

import (
	"cmp"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	registryKey = "/logged_users"
	usersPrefix = registryKey + "/" // followed by a name; the value is a host
	errorsKey   = "/tmp/errors"     // a key like any other, not a file
	noticeKey   = "/notice"
)

// tasks is the story, in order.
var tasks = []struct {
	title string
	do    func(*lab) error
}{
	{"Put a key, get it back, and look at what is known about it", (*lab).putAndGet},
	{"Register the users, one put each", (*lab).register},
	{"List them by their common prefix", (*lab).list},
	{"Register them all at once, or not at all", (*lab).registerAtOnce},
	{"Ask for one user", (*lab).askForOne},
	{"Ask for the users from Emil up to Oskar", (*lab).askForRange},
	{"Move a user to another host, if he is where we think he is", (*lab).move},
	{"Reserve a host for two seconds", (*lab).reserveForAWhile},
	{"Reserve a host for as long as somebody asks for it", (*lab).reserveAsLongAsAsked},
	{"Let one at a time use the printer", (*lab).oneAtATime},
	{"Watch who logs in and out", (*lab).watchLogins},
}

func (l *lab) putAndGet() error {
	if err := l.delete(noticeKey); err != nil {
		return err
	}
	for i, notice := range []string{"The lab opens at nine.", "The lab opens at ten."} {
		if _, err := l.put(noticeKey, notice); err != nil {
			return err
		}
		resp, err := l.get(noticeKey)
		if err != nil {
			return err
		}
		if err := check("the number of keys", len(resp.Kvs), 1); err != nil {
			return err
		}
		kv := resp.Kvs[0]
		l.printf("%s says '%s', version %d", kv.Key, kv.Value, kv.Version)
		if err := checks(
			check("the key", string(kv.Key), noticeKey),
			check("the value", string(kv.Value), notice),
			check("the version", kv.Version, int64(i+1)),
			check("created before it was changed", kv.CreateRevision < kv.ModRevision, i > 0),
		); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) register() error {
	if err := l.logEveryoneOut(); err != nil {
		return err
	}
	var first, last int64
	for _, u := range l.users {
		rev, err := l.put(usersPrefix+u.name, u.host)
		if err != nil {
			return err
		}
		first, last = cmp.Or(first, rev), rev
	}
	l.printf("%d users took %d revisions", len(l.users), last-first+1)
	return checks(
		check("the number of users", len(l.users), 19),
		check("the number of revisions", last-first+1, 19),
	)
}

func (l *lab) list() error {
	resp, err := l.get(usersPrefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	seen := usersOf(resp)
	l.show(seen)
	return check("the users, in the byte order of their names", seen, slices.SortedFunc(slices.Values(l.users), byName))
}

func (l *lab) registerAtOnce() error {
	if err := l.logEveryoneOut(); err != nil {
		return err
	}
	puts := []clientv3.Op{clientv3.OpPut(registryKey, "open")}
	for _, u := range l.users {
		puts = append(puts, clientv3.OpPut(usersPrefix+u.name, u.host))
	}
	const refusal = "the registry is open already"
	attempt := func() (done bool, noted string, err error) {
		ctx, cancel := inTime()
		defer cancel()
		resp, err := l.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.Version(registryKey), "=", 0)).
			Then(puts...).
			Else(clientv3.OpPut(errorsKey, refusal)).
			Commit()
		if err != nil {
			return false, "", err
		}
		errors, err := l.get(errorsKey)
		if err != nil || len(errors.Kvs) == 0 {
			return resp.Succeeded, "", err
		}
		return resp.Succeeded, string(errors.Kvs[0].Value), nil
	}
	outcome := map[bool]string{true: "registered", false: "refused"}

	done, noted, err := attempt()
	if err != nil {
		return err
	}
	l.printf("the first time: %s", outcome[done])
	resp, err := l.get(usersPrefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	l.printf("%d users share %d revision", len(resp.Kvs), revisionsOf(resp))
	if err := checks(
		check("the first registration succeeds", done, true),
		check("the noted error", noted, ""),
		check("the users", usersOf(resp), slices.SortedFunc(slices.Values(l.users), byName)),
		check("the number of revisions", revisionsOf(resp), 1),
	); err != nil {
		return err
	}

	done, noted, err = attempt()
	if err != nil {
		return err
	}
	l.printf("the second time: %s, and %s says '%s'", outcome[done], errorsKey, noted)
	if resp, err = l.get(usersPrefix, clientv3.WithPrefix()); err != nil {
		return err
	}
	return checks(
		check("the second registration succeeds", done, false),
		check("the noted error", noted, refusal),
		check("the number of revisions", revisionsOf(resp), 1),
	)
}

func (l *lab) askForOne() error {
	resp, err := l.get(usersPrefix + "Rafał")
	if err != nil {
		return err
	}
	l.show(usersOf(resp))
	if err := check("Rafał", usersOf(resp), []user{{"Rafał", l.hostOf("Rafał")}}); err != nil {
		return err
	}
	if err := check("the bytes of his key", resp.Kvs[0].Key, []byte("/logged_users/Rafa\xc5\x82")); err != nil {
		return err
	}
	if resp, err = l.get(usersPrefix + "Zenon"); err != nil {
		return err
	}
	l.printf("Zenon is %s", map[bool]string{true: "logged in", false: "not logged in"}[len(resp.Kvs) > 0])
	return check("Zenon is logged in", len(resp.Kvs) > 0, false)
}

func (l *lab) askForRange() error {
	between := slices.DeleteFunc(slices.Clone(l.users), func(u user) bool {
		return u.name < "Emil" || u.name >= "Oskar"
	})
	for _, sorting := range []struct {
		title string
		by    clientv3.SortTarget
		order clientv3.SortOrder
		less  func(a, b user) int
	}{
		{"value, descending", clientv3.SortByValue, clientv3.SortDescend, func(a, b user) int { return strings.Compare(b.host, a.host) }},
		{"key, ascending", clientv3.SortByKey, clientv3.SortAscend, byName},
	} {
		l.printf("by %s:", sorting.title)
		resp, err := l.get(usersPrefix+"Emil", clientv3.WithRange(usersPrefix+"Oskar"), clientv3.WithSort(sorting.by, sorting.order))
		if err != nil {
			return err
		}
		seen := usersOf(resp)
		l.show(seen)
		among := func(name string) bool {
			return slices.ContainsFunc(seen, func(u user) bool { return u.name == name })
		}
		if err := checks(
			check("the users by "+sorting.title, seen, slices.SortedFunc(slices.Values(between), sorting.less)),
			check("Emil is among them", among("Emil"), true),
			check("Oskar is among them", among("Oskar"), false),
		); err != nil {
			return err
		}
	}
	l.printf("Oskar is not among them: the end of a range does not belong to it")
	return nil
}

func (l *lab) move() error {
	key, here := usersPrefix+"Rafał", l.hostOf("Rafał")
	for _, expected := range []bool{true, false} {
		ctx, cancel := inTime()
		resp, err := l.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.Value(key), "=", here)).
			Then(clientv3.OpPut(key, "host-20")).
			Commit()
		cancel()
		if err != nil {
			return err
		}
		l.printf("from %s to host-20: %s", here, map[bool]string{true: "moved", false: "not moved"}[resp.Succeeded])
		now, err := l.get(key)
		if err != nil {
			return err
		}
		if err := checks(
			check("the move succeeds", resp.Succeeded, expected),
			check("where he is now", usersOf(now), []user{{"Rafał", "host-20"}}),
		); err != nil {
			return err
		}
	}
	return nil
}
