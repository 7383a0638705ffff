"""Leases and locks through Debian's python3-etcd3, as a program would use them."""

import sys
import threading
import time
from urllib.parse import urlparse

import etcd3
import etcd3.locks
import tenacity

# The lock of this version of the client gives tenacity a wait function with two arguments; the tenacity that Debian
# ships calls it with one, so that a contended lock would end in a TypeError before anything is sent.
genuine = tenacity.retry


def retry(*args, wait, **options):
    def adapted(state):
        return wait(state.attempt_number, state.seconds_since_start or 0)
    return genuine(*args, wait=adapted, **options)


etcd3.locks.tenacity.retry = retry

where = urlparse(sys.argv[1])


def connect():
    return etcd3.client(host=where.hostname, port=where.port)


def check(what, fact):
    if not fact:
        print("wrong:", what)
        sys.exit(1)


def until(what, fact):
    deadline = time.monotonic() + 30
    while not fact():
        check(what, time.monotonic() < deadline)
        time.sleep(0.05)


client = connect()

lease = client.lease(60, lease_id=12345)
check("the chosen id", lease.id == 12345 and lease.ttl == 60)
client.put("/kept", "1", lease=lease)
check("what is left", 50 < lease.remaining_ttl <= 60 and lease.granted_ttl == 60)
check("its keys", list(lease.keys) == [b"/kept"])
check("refresh", [r.TTL for r in lease.refresh()] == [60])
lease.revoke()
check("the key after the revocation", client.get("/kept")[0] is None)
check("refresh of nothing", [r.TTL for r in lease.refresh()] == [0])

# A key that expires, and one that a thread keeps alive until it stops.
short = client.lease(2)
client.put("/short", "1", lease=short)
alive = client.lease(2)
client.put("/alive", "1", lease=alive)
stopped = threading.Event()


def keep():
    with connect() as other:
        while not stopped.wait(0.5):
            list(other.refresh_lease(alive.id))


thread = threading.Thread(target=keep)
thread.start()
until("the short lease ends", lambda: client.get("/short")[0] is None)
check("the other lives", client.get("/alive")[0] == b"1")
stopped.set()
thread.join()
until("the other ends too", lambda: client.get("/alive")[0] is None)

# Locks.
lock = client.lock("door", ttl=20)
check("acquire", lock.acquire(timeout=5) and lock.is_acquired())
check("refresh of the lock", lock.refresh()[0].TTL == 20)
second = connect()
contender = second.lock("door", ttl=20)
check("a second contender gives up", contender.acquire(timeout=1) is False and not contender.is_acquired())
threading.Timer(0.5, lock.release).start()
check("a second contender waits", contender.acquire(timeout=20) and contender.is_acquired())
check("the first has let go", not lock.is_acquired())
check("release", contender.release())
dead = client.lock("door", ttl=2)
check("a holder that dies", dead.acquire(timeout=5))
check("is succeeded", contender.acquire(timeout=20) and contender.is_acquired())
check("and has lost it", not dead.is_acquired())
contender.release()
print("all is well")
