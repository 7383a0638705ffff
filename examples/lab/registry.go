package main

import (
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// put returns the revision at which the value was written.
func (l *lab) put(key, value string) (revision int64, err error) {
	ctx, cancel := inTime()
	defer cancel()
	resp, err := l.etcd.Put(ctx, key, value)
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

func (l *lab) get(key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := inTime()
	defer cancel()
	return l.etcd.Get(ctx, key, opts...)
}

func (l *lab) delete(key string, opts ...clientv3.OpOption) error {
	ctx, cancel := inTime()
	defer cancel()
	_, err := l.etcd.Delete(ctx, key, opts...)
	return err
}

// logEveryoneOut empties the registry and forgets the noted error.
func (l *lab) logEveryoneOut() error {
	if err := l.delete(registryKey, clientv3.WithPrefix()); err != nil {
		return err
	}
	return l.delete(errorsKey)
}

func (l *lab) hostOf(name string) string {
	for _, u := range l.users {
		if u.name == name {
			return u.host
		}
	}
	return ""
}

// usersOf reads the registry's lines from an answer, in the order of the answer.
func usersOf(resp *clientv3.GetResponse) []user {
	var users []user
	for _, kv := range resp.Kvs {
		users = append(users, user{strings.TrimPrefix(string(kv.Key), usersPrefix), string(kv.Value)})
	}
	return users
}

// revisionsOf counts the different revisions at which the keys of an answer were written.
func revisionsOf(resp *clientv3.GetResponse) int {
	seen := map[int64]bool{}
	for _, kv := range resp.Kvs {
		seen[kv.ModRevision] = true
	}
	return len(seen)
}

// byName orders users as the store orders their keys: by bytes.
func byName(a, b user) int { return strings.Compare(a.name, b.name) }
