package auth

import (
	"errors"
	"math/rand/v2"
	"testing"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// smallWorld is a snapshot with one user whose permissions are drawn from random, and leases with keys.
func smallWorld(r *rand.Rand) (*Snapshot, AttachedKeys) {
	s := newSnapshot()
	s.enabled = true
	role := &Role{Name: "r"}
	for range r.IntN(4) {
		p := permit(0, "", command.PermissionType(r.IntN(3)), modelKeys[r.IntN(6)], modelEnds[r.IntN(len(modelEnds))]).Permission
		if validInterval(p.Interval) {
			role.Permissions = append(role.Permissions, *p)
		}
	}
	s.roles["r"] = role
	u := &User{Name: "u", Roles: []string{"r"}}
	s.resolve(u)
	s.users["u"] = u
	keys := map[kind.LeaseID][]string{1: {"a"}, 2: {"b", "d"}}
	return s, func(id kind.LeaseID, yield func([]byte) bool) {
		for _, key := range keys[id] {
			if !yield([]byte(key)) {
				return
			}
		}
	}
}

func randomInterval(r *rand.Rand) command.Interval {
	return command.NewInterval([]byte(modelKeys[r.IntN(6)]), []byte(modelEnds[r.IntN(len(modelEnds))]))
}

func randomTxn(r *rand.Rand, depth int) *command.Txn {
	t := &command.Txn{}
	for range r.IntN(2) {
		t.Compares = append(t.Compares, command.Compare{Interval: randomInterval(r)})
	}
	branch := func() (ops []command.Op) {
		for range r.IntN(3) {
			switch n := r.IntN(8); {
			case n < 2:
				ops = append(ops, command.Op{Range: &command.Range{Interval: randomInterval(r)}})
			case n < 4:
				ops = append(ops, command.Op{Put: &command.Put{Key: []byte(modelKeys[r.IntN(6)]), PrevKV: r.IntN(3) == 0, Lease: kind.LeaseID(max(0, r.IntN(6)-3))}})
			case n < 6:
				ops = append(ops, command.Op{Delete: &command.DeleteRange{Interval: randomInterval(r), PrevKV: r.IntN(3) == 0}})
			case depth > 0:
				ops = append(ops, command.Op{Txn: randomTxn(r, depth-1)})
			}
		}
		return ops
	}
	t.Success, t.Failure = branch(), branch()
	return t
}

// alone returns everything that a transaction could do, each as a request of its own.
func alone(t *command.Txn) (requests []any) {
	for i := range t.Compares {
		requests = append(requests, &command.Range{Interval: t.Compares[i].Interval})
	}
	for _, branch := range [2][]command.Op{t.Success, t.Failure} {
		for _, o := range branch {
			switch {
			case o.Range != nil:
				requests = append(requests, o.Range)
			case o.Put != nil:
				requests = append(requests, o.Put)
				if o.Put.Lease != 0 {
					requests = append(requests, &command.LeaseRevoke{ID: o.Put.Lease})
				}
				if o.Put.PrevKV {
					requests = append(requests, &command.Range{Interval: command.NewInterval(o.Put.Key, nil)})
				}
			case o.Delete != nil:
				requests = append(requests, o.Delete)
				if o.Delete.PrevKV {
					requests = append(requests, &command.Range{Interval: o.Delete.Interval})
				}
			case o.Txn != nil:
				requests = append(requests, alone(o.Txn)...)
			}
		}
	}
	return requests
}

// A transaction is allowed if and only if everything that it could do is allowed alone (A3).
func FuzzTxnIsItsParts(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		s, attached := smallWorld(r)
		id := Identity{"u", s.revision}
		for range 20 {
			txn := randomTxn(r, 3)
			want := true
			for _, one := range alone(txn) {
				if err := s.Allow(id, one, attached); err != nil {
					want = false
				}
			}
			if err := s.Allow(id, txn, attached); (err == nil) != want {
				t.Fatalf("%+v: %v, want allowed %v", txn, err, want)
			}
		}
	})
}

// What is not known is denied (A2), to everybody but root.
func TestUnknownIsDenied(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	s, _ := smallWorld(r)
	s.revision = 5
	s.users["root"] = &User{Name: "root", Roles: []string{"root"}, root: true}
	u, root := Identity{"u", s.revision}, Identity{"root", s.revision}
	for _, request := range []any{nil, 7, command.Put{}, &command.TokenGrant{}, &command.LeaseExpire{}} {
		if err := s.Allow(u, request, nil); !errors.Is(err, ErrPermissionDenied) {
			t.Errorf("%T: %v", request, err)
		}
	}
	// An operation that says nothing is nothing that could be allowed.
	if err := s.Allow(u, &command.Txn{Success: []command.Op{{}}}, nil); !errors.Is(err, ErrPermissionDenied) {
		t.Errorf("an empty operation: %v", err)
	}
	for _, c := range []struct {
		id   Identity
		want error
	}{{Identity{}, ErrUserEmpty}, {Identity{"u", 0}, ErrUserEmpty}, {Identity{"nobody", s.revision}, ErrPermissionDenied}, {Identity{"", s.revision}, ErrPermissionDenied}} {
		if err := s.Allow(c.id, &command.Range{Interval: command.NewInterval([]byte("a"), nil)}, nil); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.id, err)
		}
	}
	for id, want := range map[Identity]error{{}: ErrUserEmpty, {"", 1}: ErrUserEmpty, {"nobody", 1}: ErrUserNotFound, u: ErrPermissionDenied, root: nil} {
		if err := s.AllowAdmin(id); !errors.Is(err, want) {
			t.Errorf("admin %+v: %v", id, err)
		}
	}
	if s.Allow(Identity{"u", s.revision - 1}, &command.Txn{}, nil) != ErrOldRevision {
		t.Error("an old proof counts for keys")
	}
	s.enabled = false
	if err := s.Allow(Identity{}, &command.Compaction{}, nil); err != nil {
		t.Error(err)
	}
}

// The permission of a put is found without a lock and without an allocation.
func TestAllowDoesNotAllocate(t *testing.T) {
	s, put := bigUser(t)
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Allow(Identity{"u", s.revision}, put, nil); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// bigUser is a user with a thousand permissions, and a put that one of them allows.
func bigUser(t testing.TB) (*Snapshot, *command.Put) {
	s := newSnapshot()
	s.enabled = true
	role := &Role{Name: "r"}
	for i := range 1000 {
		key := []byte{'k', byte(i >> 8), byte(i)}
		role.Permissions = append(role.Permissions, command.Permission{Type: command.ReadWrite, Interval: command.NewInterval(key, nil)})
	}
	s.roles["r"] = role
	u := &User{Name: "u", Roles: []string{"r"}}
	s.resolve(u)
	s.users["u"] = u
	if len(u.write) != 1000 {
		t.Fatalf("%d spans", len(u.write))
	}
	return s, &command.Put{Key: []byte{'k', 1, 77}}
}

func BenchmarkAllowPut(b *testing.B) {
	s, put := bigUser(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Allow(Identity{"u", s.revision}, put, nil); err != nil {
			b.Fatal(err)
		}
	}
}
