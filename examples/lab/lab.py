#!/usr/bin/python3
"""The lab: a registry of logged-in users, kept in a Holdfast (or etcd) cluster.

    ./lab.py [--endpoint 127.0.0.1:2379]

Each task does one thing to the registry, prints what it sees and checks it. The
program ends with 0 if everything was as README.md tells it, and with 1 and a
sentence if not. main.go beside it does the same in Go, and prints the same.

It needs the etcd3 package, version 0.12 (Debian: python3-etcd3).
"""

import argparse
import os
import pathlib
import sys

import etcd3
import grpc

REGISTRY = '/logged_users'
USERS = REGISTRY + '/'        # followed by a name; the value is a host
ERRORS = '/tmp/errors'        # a key like any other, not a file
NOTICE = '/notice'

TIMEOUT = 5  # seconds to wait for an answer


class NotAsTold(Exception):
    """What was seen is not what README.md promises."""


def check(what, seen, expected):
    if seen != expected:
        raise NotAsTold(f'{what}: saw {seen!r}, expected {expected!r}')


def read_users():
    """Who logs in, in that order: pairs of a name and a host."""
    text = pathlib.Path(__file__).with_name('users.txt').read_text('utf-8')
    return [tuple(line.split()) for line in text.splitlines()]


def show(pairs):
    for name, host in pairs:
        print(f'  {name} is logged in at {host}')


def pairs_of(answers):
    """Turns (value, metadata) pairs as the client gives them into (name, host)."""
    return [(meta.key.decode().removeprefix(USERS), value.decode())
            for value, meta in answers]


def log_everyone_out(etcd):
    etcd.delete_prefix(REGISTRY)
    etcd.delete(ERRORS)


def task1(etcd, users):
    """Put a key, get it back, and look at what is known about it"""
    etcd.delete(NOTICE)
    etcd.put(NOTICE, 'The lab opens at nine.')
    value, meta = etcd.get(NOTICE)
    print(f'  {meta.key.decode()} says {value.decode()!r}, version {meta.version}')
    check('the value', value.decode(), 'The lab opens at nine.')
    check('the key', meta.key.decode(), NOTICE)
    check('the version of a new key', meta.version, 1)

    etcd.put(NOTICE, 'The lab opens at ten.')
    value, meta = etcd.get(NOTICE)
    print(f'  {meta.key.decode()} says {value.decode()!r}, version {meta.version}')
    check('the value', value.decode(), 'The lab opens at ten.')
    check('the version after a second put', meta.version, 2)
    check('created before it was changed',
          meta.create_revision < meta.mod_revision, True)


def task2(etcd, users):
    """Register the users, one put each"""
    log_everyone_out(etcd)
    first = last = None
    for name, host in users:
        last = etcd.put(USERS + name, host).header.revision
        first = first or last
    print(f'  {len(users)} users took {last - first + 1} revisions')
    check('the number of users', len(users), 19)
    check('the number of revisions', last - first + 1, 19)


def task3(etcd, users):
    """List them by their common prefix"""
    seen = pairs_of(etcd.get_prefix(USERS))
    show(seen)
    check('the users, in the byte order of their names', seen, sorted(users))


def task4(etcd, users):
    """Register them all at once, or not at all"""
    log_everyone_out(etcd)

    def register():
        return etcd.transaction(
            compare=[etcd.transactions.version(REGISTRY) == 0],
            success=[etcd.transactions.put(REGISTRY, 'open')] +
                    [etcd.transactions.put(USERS + name, host)
                     for name, host in users],
            failure=[etcd.transactions.put(ERRORS, 'the registry is open already')],
        )

    done, _ = register()
    print(f'  the first time: {"registered" if done else "refused"}')
    check('the first registration succeeds', done, True)
    check('no error is noted', etcd.get(ERRORS), (None, None))
    answers = list(etcd.get_prefix(USERS))
    check('the users', pairs_of(answers), sorted(users))
    revisions = {meta.mod_revision for _, meta in answers}
    print(f'  {len(answers)} users share {len(revisions)} revision')
    check('the number of revisions', len(revisions), 1)

    done, _ = register()
    error, _ = etcd.get(ERRORS)
    print(f'  the second time: {"registered" if done else "refused"}, '
          f'and {ERRORS} says {error.decode()!r}')
    check('the second registration succeeds', done, False)
    check('the noted error', error.decode(), 'the registry is open already')
    revisions = {meta.mod_revision for _, meta in etcd.get_prefix(USERS)}
    check('the number of revisions', len(revisions), 1)


def task5(etcd, users):
    """Ask for one user"""
    host, meta = etcd.get(USERS + 'Rafał')
    show(pairs_of([(host, meta)]))
    check("Rafał's host", host.decode(), dict(users)['Rafał'])
    check('the bytes of his key', meta.key, b'/logged_users/Rafa\xc5\x82')
    print(f'  Zenon is {"logged in" if etcd.get(USERS + "Zenon")[0] else "not logged in"}')
    check('Zenon', etcd.get(USERS + 'Zenon'), (None, None))


def task6(etcd, users):
    """Ask for the users from Emil up to Oskar"""
    between = [u for u in users if 'Emil' <= u[0] < 'Oskar']
    by_host_backwards = sorted(between, key=lambda user: user[1], reverse=True)
    for title, target, order, expected in [
            ('value, descending', 'value', 'descend', by_host_backwards),
            ('key, ascending', 'key', 'ascend', sorted(between))]:
        print(f'  by {title}:')
        seen = pairs_of(etcd.get_range(USERS + 'Emil', USERS + 'Oskar',
                                       sort_order=order, sort_target=target))
        show(seen)
        check(f'the users by {title}', seen, expected)
        names = [name for name, _ in seen]
        check('Emil is among them', 'Emil' in names, True)
        check('Oskar is among them', 'Oskar' in names, False)
    print('  Oskar is not among them: the end of a range does not belong to it')


def task7(etcd, users):
    """Move a user to another host, if he is where we think he is"""
    key, here = USERS + 'Rafał', dict(users)['Rafał']
    for expected in (True, False):
        moved = etcd.replace(key, here, 'host-20')
        print(f'  from {here} to host-20: {"moved" if moved else "not moved"}')
        check('the move succeeds', moved, expected)
        check('where he is now', etcd.get(key)[0].decode(), 'host-20')


TASKS = [task1, task2, task3, task4, task5, task6, task7]


def connect(options):
    host, _, port = options.endpoint.removeprefix('http://').rpartition(':')
    return etcd3.client(host=host, port=int(port), timeout=TIMEOUT)


def main():
    sys.stdout.reconfigure(encoding='utf-8')
    parser = argparse.ArgumentParser(description='The lab, in Python.')
    parser.add_argument('--endpoint', metavar='HOST:PORT',
                        default=os.environ.get('ETCD_ENDPOINT') or '127.0.0.1:2379',
                        help='a member of the cluster (default: ETCD_ENDPOINT, '
                             'or else 127.0.0.1:2379)')
    options = parser.parse_args()
    users = read_users()
    try:
        with connect(options) as etcd:
            for number, task in enumerate(TASKS, 1):
                print(f'{number}. {task.__doc__}', flush=True)
                task(etcd, users)
    except NotAsTold as e:
        print(f'Not as told: {e}.', file=sys.stderr)
        return 1
    except (etcd3.exceptions.Etcd3Exception, grpc.RpcError) as e:
        print(f'The request to the member at {options.endpoint} failed: '
              f'{str(e) or type(e).__name__}. If none runs there, start one with '
              '"holdfast", or name another with --endpoint.',
              file=sys.stderr)
        return 1
    print('Everything was as told.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
