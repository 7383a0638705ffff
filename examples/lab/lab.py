#!/usr/bin/python3
"""The lab: a registry of logged-in users, kept in a Holdfast (or etcd) cluster.

    ./lab.py [--endpoint 127.0.0.1:2379] [--cacert FILE] [--cert FILE --key FILE]
             [--user NAME --password PASSWORD]

Each task does one thing to the registry, prints what it sees and checks it. The
program ends with 0 if everything was as README.md tells it, and with 1 and a
sentence if not. main.go beside it does the same in Go, and prints the same.

It needs the etcd3 package, version 0.12 (Debian: python3-etcd3).
"""

import argparse
import os
import pathlib
import queue
import sys
import threading
import time
import types

import etcd3
import grpc
import tenacity

REGISTRY = '/logged_users'
USERS = REGISTRY + '/'        # followed by a name; the value is a host
ERRORS = '/tmp/errors'        # a key like any other, not a file
NOTICE = '/notice'
RESERVED = '/reserved/host-20'
PRINTER = 'printer'           # a lock; the client keeps it under /locks/printer

TIMEOUT = 5  # seconds to wait for an answer
TTL = 2      # seconds that a lease lives without being refreshed
SOON = 5     # seconds after its end by which a lease must be gone


# Two things that the client needs on a Debian of today; neither is the server's affair.

def retry(*, wait, **options):
    """tenacity.retry, as etcd3 0.12 knows it.

    Its lock hands over a wait function of two arguments, as tenacity up to 4 called
    it. Debian's tenacity 8 calls it with one, and so the lock raises TypeError as
    soon as somebody else holds it.
    """
    return tenacity.retry(
        wait=lambda state: wait(state.attempt_number, state.seconds_since_start),
        **options)


etcd3.locks.tenacity = types.SimpleNamespace(**(vars(tenacity) | {'retry': retry}))


def leave_quietly(args, otherwise=threading.excepthook):
    """The client's watch thread does not know that close() means to end, and dies of a ValueError."""
    if not (args.exc_type is ValueError and args.thread.name.startswith('etcd3_watch_')):
        otherwise(args)


threading.excepthook = leave_quietly


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


def task1(etcd, users, connect):
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


def task2(etcd, users, connect):
    """Register the users, one put each"""
    log_everyone_out(etcd)
    first = last = None
    for name, host in users:
        last = etcd.put(USERS + name, host).header.revision
        first = first or last
    print(f'  {len(users)} users took {last - first + 1} revisions')
    check('the number of users', len(users), 19)
    check('the number of revisions', last - first + 1, 19)


def task3(etcd, users, connect):
    """List them by their common prefix"""
    seen = pairs_of(etcd.get_prefix(USERS))
    show(seen)
    check('the users, in the byte order of their names', seen, sorted(users))


def task4(etcd, users, connect):
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


def task5(etcd, users, connect):
    """Ask for one user"""
    host, meta = etcd.get(USERS + 'Rafał')
    show(pairs_of([(host, meta)]))
    check("Rafał's host", host.decode(), dict(users)['Rafał'])
    check('the bytes of his key', meta.key, b'/logged_users/Rafa\xc5\x82')
    print(f'  Zenon is {"logged in" if etcd.get(USERS + "Zenon")[0] else "not logged in"}')
    check('Zenon', etcd.get(USERS + 'Zenon'), (None, None))


def task6(etcd, users, connect):
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


def task7(etcd, users, connect):
    """Move a user to another host, if he is where we think he is"""
    key, here = USERS + 'Rafał', dict(users)['Rafał']
    for expected in (True, False):
        moved = etcd.replace(key, here, 'host-20')
        print(f'  from {here} to host-20: {"moved" if moved else "not moved"}')
        check('the move succeeds', moved, expected)
        check('where he is now', etcd.get(key)[0].decode(), 'host-20')


def wait_until_free(etcd, refreshed):
    """Waits until nobody has the host, and checks that its lease was not cut short.

    refreshed is when the lease was last asked for, in seconds of time.monotonic().
    """
    while etcd.get(RESERVED)[0] is not None:
        if time.monotonic() > refreshed + TTL + SOON:
            raise NotAsTold(f'{RESERVED} is still there {SOON} seconds after its lease ended')
        time.sleep(0.05)
    check('gone before its lease ended', time.monotonic() < refreshed + TTL, False)


def task8(etcd, users, connect):
    """Reserve a host for two seconds"""
    asked = time.monotonic()
    lease = etcd.lease(TTL)
    check('the seconds granted', lease.ttl, TTL)
    etcd.put(RESERVED, 'Adam', lease=lease)
    name, meta = etcd.get(RESERVED)
    check('who has it', name.decode(), 'Adam')
    check('the lease of the key', meta.lease_id, lease.id)
    print(f'  host-20 is reserved for {name.decode()}')
    wait_until_free(etcd, asked)
    print('  the two seconds are over: host-20 is free')


def task9(etcd, users, connect):
    """Reserve a host for as long as somebody asks for it"""
    lease = etcd.lease(TTL)
    etcd.put(RESERVED, 'Adam', lease=lease)
    stop = threading.Event()
    asked = []
    answers = []

    def ask_on():
        while not stop.wait(TTL / 4):
            asked.append(time.monotonic())
            answers.extend(answer.TTL for answer in lease.refresh())

    thread = threading.Thread(target=ask_on, daemon=True)
    thread.start()
    enough = time.monotonic() + 2 * TTL
    while time.monotonic() < enough:
        check('the host is reserved', etcd.get(RESERVED)[0], b'Adam')
        time.sleep(0.1)
    print('  after twice two seconds host-20 is still reserved')
    stop.set()
    thread.join()
    check('every refresh was granted the same', set(answers), {TTL})
    wait_until_free(etcd, asked[-1])
    print('  nobody asks any more: host-20 is free')


def task10(etcd, users, connect):
    """Let one at a time use the printer"""
    etcd.delete_prefix('/locks/' + PRINTER)
    with connect() as hers:
        adam = etcd.lock(PRINTER, ttl=60)
        barbara = hers.lock(PRINTER, ttl=TTL)
        check('Adam gets the lock', adam.acquire(), True)
        check('Adam has it', adam.is_acquired(), True)
        print('  Adam has the printer')
        check('Barbara gets it meanwhile', barbara.acquire(timeout=1), False)
        check('Barbara has it', barbara.is_acquired(), False)
        print('  Barbara waits for a second and does not get it')
        check('Adam gives it back', adam.release(), True)
        check('Adam has it still', adam.is_acquired(), False)
        print('  Adam gives it back')
        asked = time.monotonic()
        check('Barbara gets it then', barbara.acquire(), True)
        check('Barbara has it then', barbara.is_acquired(), True)
        print('  Barbara has the printer')
    print('  Barbara goes home and does not give it back')
    check('Adam gets it again', adam.acquire(timeout=TTL + SOON), True)
    check('Adam had to wait for the end of her lease',
          time.monotonic() >= asked + TTL, True)
    check('Adam has it again', adam.is_acquired(), True)
    print('  her lease ends, and Adam has the printer')
    check('Adam gives it back again', adam.release(), True)


def task11(etcd, users, connect):
    """Watch who logs in and out"""
    zenon = USERS + 'Zenon'
    etcd.delete(zenon)
    seen, later = queue.SimpleQueue(), queue.SimpleQueue()

    def callback(answers):
        def put(response):
            if isinstance(response, Exception):
                answers.put(response)
            else:
                for event in response.events:
                    answers.put(event)
        return put

    def take(answers):
        try:
            event = answers.get(timeout=TIMEOUT)
        except queue.Empty:
            raise NotAsTold(f'no event came within {TIMEOUT} seconds') from None
        if isinstance(event, Exception):
            raise event
        return event

    watch = etcd.add_watch_prefix_callback(USERS, callback(seen))
    with connect() as other:
        other.put(zenon, 'host-20')
        event = take(seen)
        check('the kind of event', type(event), etcd3.events.PutEvent)
        check('its key', event.key.decode(), zenon)
        check('its value', event.value.decode(), 'host-20')
        print(f'  Zenon logged in at {event.value.decode()}')
        other.delete(zenon)
        event = take(seen)
        check('the kind of event', type(event), etcd3.events.DeleteEvent)
        check('its key', event.key.decode(), zenon)
        print('  Zenon logged out')

        etcd.cancel_watch(watch)
        # Whatever the first watch still had to tell would come before what the second one tells.
        watch = etcd.add_watch_prefix_callback(USERS, callback(later))
        other.put(zenon, 'host-16')
        check('what a new watch sees', take(later).value.decode(), 'host-16')
        check('the cancelled watch sees nothing', seen.empty(), True)
        print('  the watch is cancelled: when he logs in again it sees nothing')
        etcd.cancel_watch(watch)
        other.delete(zenon)


TASKS = [task1, task2, task3, task4, task5, task6, task7, task8, task9, task10, task11]


def connect_to(options):
    """A new client. user and password need a secure channel, hence --cacert."""
    host, _, port = options.endpoint.rpartition('//')[2].rpartition(':')
    return etcd3.client(host=host, port=int(port), timeout=TIMEOUT,
                        ca_cert=options.cacert,
                        cert_cert=options.cert, cert_key=options.key,
                        user=options.user, password=options.password)


def main():
    sys.stdout.reconfigure(encoding='utf-8')
    parser = argparse.ArgumentParser(description='The lab, in Python.')
    parser.add_argument('--endpoint', metavar='HOST:PORT',
                        default=os.environ.get('ETCD_ENDPOINT') or '127.0.0.1:2379',
                        help='a member of the cluster (default: ETCD_ENDPOINT, '
                             'or else 127.0.0.1:2379)')
    parser.add_argument('--cacert', metavar='FILE',
                        help='certificates of those who sign for members; '
                             'the lab then speaks TLS')
    parser.add_argument('--cert', metavar='FILE', help="the lab's own certificate")
    parser.add_argument('--key', metavar='FILE', help='its key')
    parser.add_argument('--user', metavar='NAME', help='who asks; needs --cacert')
    parser.add_argument('--password', help='the password of --user')
    options = parser.parse_args()
    if bool(options.cert) != bool(options.key) or options.cert and not options.cacert:
        parser.error('--cert and --key go together, and need --cacert')
    if (options.user is None) != (options.password is None) or options.user and not options.cacert:
        parser.error('--user and --password go together, and need --cacert')
    users = read_users()

    def connect():
        return connect_to(options)

    try:
        with connect() as etcd:
            for number, task in enumerate(TASKS, 1):
                print(f'{number}. {task.__doc__}', flush=True)
                task(etcd, users, connect)
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
