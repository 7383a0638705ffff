package command

import (
	"errors"
	"reflect"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/kind"
)

// What is encoded is read back, and what the protobuf library writes is read as the library reads it.
func TestLeaseRequests(t *testing.T) {
	for _, id := range []kind.LeaseID{0, 1, -1, 1<<63 - 1, -1 << 63} {
		for _, ttl := range []int64{0, 1, -5, MaxLeaseTTL + 1} {
			g := LeaseGrant{ID: id, TTL: ttl}
			library, err := proto.Marshal(&pb.LeaseGrantRequest{ID: int64(id), TTL: ttl})
			if b := AppendLeaseGrant(nil, &g); err != nil || string(b) != string(library) {
				t.Errorf("%+v is encoded as %x, by the library as %x, %v", g, b, library, err)
			}
			if got, known, err := DecodeLeaseGrant(library); got != g || !known || err != nil {
				t.Errorf("%+v is read as %+v, %v, %v", g, got, known, err)
			}
		}
		for _, keys := range []bool{false, true} {
			q := LeaseTimeToLive{ID: id, Keys: keys}
			library, err := proto.Marshal(&pb.LeaseTimeToLiveRequest{ID: int64(id), Keys: keys})
			if b := AppendLeaseTimeToLive(nil, &q); err != nil || string(b) != string(library) {
				t.Errorf("%+v is encoded as %x, by the library as %x, %v", q, b, library, err)
			}
			if got, known, err := DecodeLeaseTimeToLive(library); got != q || !known || err != nil {
				t.Errorf("%+v is read as %+v, %v, %v", q, got, known, err)
			}
		}
		library, err := proto.Marshal(&pb.LeaseRevokeRequest{ID: int64(id)})
		if b := AppendLeaseRevoke(nil, &LeaseRevoke{ID: id}); err != nil || string(b) != string(library) {
			t.Errorf("a revocation of %v is encoded as %x, by the library as %x, %v", id, b, library, err)
		}
		if got, known, err := DecodeLeaseRevoke(library); got.ID != id || !known || err != nil {
			t.Errorf("a revocation of %v is read as %+v, %v, %v", id, got, known, err)
		}
		if got, known, err := DecodeLeaseKeepAlive(library); got != id || !known || err != nil {
			t.Errorf("a keep-alive of %v is read as %v, %v, %v", id, got, known, err)
		}
	}
	// Each lease of a list has its place, zero too.
	list := []kind.LeaseID{3, 0, -4, 0}
	if got, known, err := DecodeLeaseRenew(AppendLeaseRenew(nil, &LeaseRenew{IDs: list})); !reflect.DeepEqual(got.IDs, list) || !known || err != nil {
		t.Errorf("renewals are read as %v, %v, %v", got.IDs, known, err)
	}
	if got, known, err := DecodeLeaseExpire(AppendLeaseExpire(nil, &LeaseExpire{IDs: list})); !reflect.DeepEqual(got.IDs, list) || !known || err != nil {
		t.Errorf("expiries are read as %v, %v, %v", got.IDs, known, err)
	}
	if _, known, err := DecodeLeaseLeases(nil); !known || err != nil {
		t.Errorf("the empty request: %v, %v", known, err)
	}
	// What is not understood is said.
	for _, strange := range [][]byte{{0x18, 1}, {0x0a, 1, 'x'}} {
		if _, known, err := DecodeLeaseGrant(strange); known || err != nil {
			t.Errorf("%x: %v, %v", strange, known, err)
		}
	}
	for _, broken := range [][]byte{{0x08}, {0x08, 0x80}, {0x0a, 5, 1}, {0}} {
		if _, _, err := DecodeLeaseGrant(broken); !errors.Is(err, ErrWire) {
			t.Errorf("%x: %v", broken, err)
		}
	}
}

// FuzzLease: the decoders read what the library reads, and nothing makes them panic.
func FuzzLease(f *testing.F) {
	f.Add(AppendLeaseGrant(nil, &LeaseGrant{ID: -5, TTL: 60}))
	f.Add(AppendLeaseRenew(nil, &LeaseRenew{IDs: []kind.LeaseID{1, 0, -1}}))
	f.Add([]byte{0x0a, 1, 'x', 0x08, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var grant pb.LeaseGrantRequest
		libraryErr := proto.Unmarshal(b, &grant)
		g, known, err := DecodeLeaseGrant(b)
		if (err != nil) != (libraryErr != nil) {
			t.Fatalf("%x: %v, the library says %v", b, err, libraryErr)
		}
		if err == nil && (int64(g.ID) != grant.ID || g.TTL != grant.TTL || known != (len(grant.ProtoReflect().GetUnknown()) == 0)) {
			t.Errorf("%x is read as %+v, %v, by the library as %v", b, g, known, &grant)
		}
		if r, known, err := DecodeLeaseRenew(b); err == nil && known {
			again, _, err := DecodeLeaseRenew(AppendLeaseRenew(nil, &r))
			if err != nil || !reflect.DeepEqual(again, r) {
				t.Errorf("%x: %v is read again as %v, %v", b, r, again, err)
			}
		}
		if q, known, err := DecodeLeaseTimeToLive(b); err == nil && known {
			if again, _, err := DecodeLeaseTimeToLive(AppendLeaseTimeToLive(nil, &q)); err != nil || again != q {
				t.Errorf("%x: %v is read again as %v, %v", b, q, again, err)
			}
		}
	})
}
