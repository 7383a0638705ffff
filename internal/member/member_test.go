package member

import (
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	if *rewrite {
		if err := os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got) != strings.TrimSpace(string(want)) {
		t.Errorf("%s is written as %x", name, got)
	}
}

// The records are frozen: what was written once is written alike and read for ever.
func TestGolden(t *testing.T) {
	m := Member{ID: 7, Name: "Rafał", PeerURLs: []string{"http://10.0.0.1:2380", "https://a:1"}, ClientURLs: []string{"http://10.0.0.1:2379"}, Learner: true}
	golden(t, "member-v1", Encode(m))
	if got, err := Decode(7, Encode(m)); err != nil || !got.Equal(m) || !reflect.DeepEqual(got, m) {
		t.Errorf("read as %+v, %v", got, err)
	}
	gone := Member{ID: 8, Removed: true}
	golden(t, "removed-v1", Encode(gone))
	if got, err := Decode(8, Encode(gone)); err != nil || !reflect.DeepEqual(got, gone) {
		t.Errorf("read as %+v, %v", got, err)
	}
	cs := &raftpb.ConfState{Voters: []uint64{1, 2}, Learners: []uint64{3}, VotersOutgoing: []uint64{1, 4}, LearnersNext: []uint64{4}, AutoLeave: new(true)}
	golden(t, "confstate-v1", EncodeConfState(cs))
	if got, err := DecodeConfState(EncodeConfState(cs)); err != nil || !proto.Equal(got, cs) {
		t.Errorf("read as %v, %v", got, err)
	}
}

// Every flipped bit, every cut and every byte more is found.
func TestBrokenRecords(t *testing.T) {
	for name, b := range map[string][]byte{"member": Encode(Member{ID: 7, Name: "n", PeerURLs: []string{"u"}}),
		"configuration": EncodeConfState(&raftpb.ConfState{Voters: []uint64{7}})} {
		read := func(b []byte) error {
			if name == "member" {
				_, err := Decode(7, b)
				return err
			}
			_, err := DecodeConfState(b)
			return err
		}
		for i := range len(b) * 8 {
			c := append([]byte(nil), b...)
			c[i/8] ^= 1 << (i % 8)
			if err := read(c); !errors.Is(err, ErrRecord) {
				t.Errorf("%s with bit %d flipped: %v", name, i, err)
			}
		}
		for n := range b {
			if err := read(b[:n]); !errors.Is(err, ErrRecord) {
				t.Errorf("%s cut to %d: %v", name, n, err)
			}
		}
		// With a checksum that fits.
		for _, body := range [][]byte{{2, 0}, {1, 0x80}, append(append([]byte(nil), b[:len(b)-4]...), 0), {1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}} {
			if err := read(seal(append([]byte(nil), body...))); !errors.Is(err, ErrRecord) {
				t.Errorf("%s of %x: %v", name, body, err)
			}
		}
	}
}

// All members of a bootstrap compute the same; another token makes other ids.
func TestGenesis(t *testing.T) {
	list := []Member{{Name: "a", PeerURLs: []string{"http://a:1", "http://a:2"}}, {Name: "b", PeerURLs: []string{"http://b:1"}}, {Name: "c", PeerURLs: []string{"http://c:1"}, Learner: true}}
	cluster, made, err := Genesis("token", list)
	if err != nil {
		t.Fatal(err)
	}
	turned := []Member{list[2], {Name: "a", PeerURLs: []string{"http://a:2", "http://a:1"}}, list[1]}
	again, other, err := Genesis("token", turned)
	if err != nil || again != cluster || len(other) != 3 {
		t.Fatalf("cluster %v and %v, %v", cluster, again, err)
	}
	for i := range made {
		if made[i].ID != other[i].ID || made[i].Name != other[i].Name || made[i].ID == 0 {
			t.Errorf("%+v and %+v", made[i], other[i])
		}
	}
	stranger, far, _ := Genesis("another token", list)
	if stranger == cluster || far[0].ID == made[0].ID {
		t.Error("another token makes the same ids")
	}
	cs := Configuration(made)
	if len(cs.Voters) != 2 || len(cs.Learners) != 1 {
		t.Errorf("configuration %v", cs)
	}
	// Ids are frozen: a member that starts again must find its own.
	if cluster != 0x6791faa3cf6090a2 || made[0].ID != 0x20eceb2a87d6fb50 {
		t.Errorf("cluster %#x, first member %#x", uint64(cluster), uint64(made[0].ID))
	}
	for want, bad := range map[error][]Member{
		ErrNoMembers: {{Name: "a", PeerURLs: []string{"u"}, Learner: true}},
		ErrNoPeerURL: {{Name: "a"}},
		ErrSameURL:   {{Name: "a", PeerURLs: []string{"u"}}, {Name: "b", PeerURLs: []string{"v", "u"}}},
	} {
		if _, _, err := Genesis("t", bad); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

// What is written is loaded, in order of ids; a store without a configuration, or with a stranger's record, is refused.
func TestLoad(t *testing.T) {
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	open := func(genesis func(set func(key, value []byte))) *store.DB {
		fs := vfs.NewMem()
		if err := store.Create(fs, "s", id, func(set func(key, value []byte)) error { genesis(set); return nil }); err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(fs, "s", id, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close(false) })
		return db
	}
	cs := &raftpb.ConfState{Voters: []uint64{5}}
	db := open(func(set func(key, value []byte)) {
		Write(set, Member{ID: 1 << 63, Name: "high"})
		Write(set, Member{ID: 5, Name: "low"})
		WriteConfState(set, cs)
	})
	members, got, err := Load(db.DB)
	if err != nil || len(members) != 2 || members[0].Name != "low" || members[1].ID != 1<<63 || !proto.Equal(got, cs) {
		t.Errorf("%+v, %v, %v", members, got, err)
	}
	db = open(func(set func(key, value []byte)) { Write(set, Member{ID: 5}) })
	if _, _, err := Load(db.DB); !errors.Is(err, ErrRecord) {
		t.Errorf("without a configuration: %v", err)
	}
	db = open(func(set func(key, value []byte)) {
		WriteConfState(set, cs)
		set(store.AppendKey(nil, store.FamilyMember, "z"), nil)
	})
	if _, _, err := Load(db.DB); !errors.Is(err, ErrRecord) {
		t.Errorf("with a stranger's record: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(Member{ID: 7, Name: "n", PeerURLs: []string{"u", "v"}, ClientURLs: []string{""}}))
	f.Add(EncodeConfState(&raftpb.ConfState{Voters: []uint64{7}, AutoLeave: new(true)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(append([]byte(nil), b...))} {
			if m, err := Decode(7, b); err == nil && string(Encode(m)) != string(b) {
				t.Errorf("%x is written anew as %x", b, Encode(m))
			}
			if cs, err := DecodeConfState(b); err == nil && string(EncodeConfState(cs)) != string(b) {
				t.Errorf("%x is written anew as %x", b, EncodeConfState(cs))
			}
		}
	})
}
