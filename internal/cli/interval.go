package cli

import clientv3 "go.etcd.io/etcd/client/v3"

// interval reads the keys that get and del are about: one key; from a first key up to, but without, a second;
// all that begin with a key; all from a key on. With an empty key the latter two mean all keys there are.
func interval(args []string, prefix, fromKey bool) (string, []clientv3.OpOption, error) {
	if prefix && fromKey {
		return "", nil, badArguments("`--prefix` and `--from-key` cannot be set at the same time, choose one")
	}
	key := args[0]
	if len(args) > 1 {
		if prefix || fromKey {
			return "", nil, badArguments("too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
		}
		return key, []clientv3.OpOption{clientv3.WithRange(args[1])}, nil
	}
	if key == "" && (prefix || fromKey) {
		// No key is empty, so the least of all keys is a zero byte.
		return "\x00", []clientv3.OpOption{clientv3.WithFromKey()}, nil
	}
	switch {
	case prefix:
		return key, []clientv3.OpOption{clientv3.WithPrefix()}, nil
	case fromKey:
		return key, []clientv3.OpOption{clientv3.WithFromKey()}, nil
	}
	return key, nil, nil
}
