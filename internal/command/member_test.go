package command

import (
	"errors"
	"reflect"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/kind"
)

// What is encoded is read back, and what has a message of etcd's is encoded as the protobuf library does it.
func TestMemberCommands(t *testing.T) {
	for _, id := range []kind.MemberID{0, 1, 1<<64 - 1} {
		for _, urls := range [][]string{nil, {"http://a:1"}, {"", "http://b:2", ""}} {
			p := MemberPublish{ID: id, Name: "n", ClientURLs: urls}
			if got, known, err := DecodeMemberPublish(AppendMemberPublish(nil, &p)); !reflect.DeepEqual(got, p) || !known || err != nil {
				t.Errorf("%+v is read as %+v, %v, %v", p, got, known, err)
			}
			u := MemberUpdate{ID: id, PeerURLs: urls}
			library, err := proto.Marshal(&pb.MemberUpdateRequest{ID: uint64(id), PeerURLs: urls})
			if b := AppendMemberUpdate(nil, &u); err != nil || string(b) != string(library) {
				t.Errorf("%+v is encoded as %x, by the library as %x, %v", u, b, library, err)
			}
			if got, known, err := DecodeMemberUpdate(library); !reflect.DeepEqual(got, u) || !known || err != nil {
				t.Errorf("%+v is read as %+v, %v, %v", u, got, known, err)
			}
			c := MemberChange{Steps: []MemberStep{{Op: RemoveMember, ID: 3}, {Op: AddLearner, ID: id, PeerURLs: urls}}}
			if got, known, err := DecodeMemberChange(AppendMemberChange(nil, &c)); !reflect.DeepEqual(got, c) || !known || err != nil {
				t.Errorf("%+v is read as %+v, %v, %v", c, got, known, err)
			}
		}
		for _, action := range []AlarmAction{AlarmGet, AlarmRaise, AlarmClear, -1} {
			a := Alarm{Action: action, Member: id, Type: AlarmCorrupt}
			library, err := proto.Marshal(&pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(action), MemberID: uint64(id), Alarm: pb.AlarmType_CORRUPT})
			if b := AppendAlarm(nil, &a); err != nil || string(b) != string(library) {
				t.Errorf("%+v is encoded as %x, by the library as %x, %v", a, b, library, err)
			}
			if got, known, err := DecodeAlarm(library); got != a || !known || err != nil {
				t.Errorf("%+v is read as %+v, %v, %v", a, got, known, err)
			}
		}
	}
	r := VersionRaise{Version: 1<<32 - 1}
	if got, known, err := DecodeVersionRaise(AppendVersionRaise(nil, &r)); got != r || !known || err != nil {
		t.Errorf("%+v is read as %+v, %v, %v", r, got, known, err)
	}
}

// What is not understood is said, at every depth, and what is broken too.
func TestMemberStrange(t *testing.T) {
	if _, known, err := DecodeVersionRaise([]byte{0x08, 0x80, 0x80, 0x80, 0x80, 0x10}); known || err != nil {
		t.Errorf("a version of 33 bits: %v, %v", known, err)
	}
	for name, b := range map[string][]byte{
		"a field of a step":         {0x0a, 2, 0x20, 1},
		"bytes of a step":           {0x0a, 3, 0x22, 1, 'x'},
		"an operation of 9 bits":    {0x0a, 3, 0x08, 0x81, 0x02},
		"a field beside the steps":  {0x10, 1},
		"a wire type that is other": {0x0a, 5, 0x0d, 1, 2, 3, 4},
	} {
		if _, known, err := DecodeMemberChange(b); known || err != nil {
			t.Errorf("%s: %v, %v", name, known, err)
		}
	}
	for _, b := range [][]byte{{0x0a}, {0x0a, 1, 0x08}, {0x0a, 2, 0x1a, 5}, {0}} {
		if _, _, err := DecodeMemberChange(b); !errors.Is(err, ErrWire) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

// A change names each member once, and says what is to happen to it.
func TestMemberChangeCheck(t *testing.T) {
	for _, good := range [][]MemberStep{{{Op: AddVoter, ID: 1}}, {{Op: RemoveMember, ID: 1}, {Op: PromoteMember, ID: 2}}} {
		if err := (&MemberChange{Steps: good}).Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range [][]MemberStep{nil, {{ID: 1}}, {{Op: 5, ID: 1}}, {{Op: AddVoter}}, {{Op: AddVoter, ID: 1}, {Op: PromoteMember, ID: 2}, {Op: RemoveMember, ID: 1}}} {
		if err := (&MemberChange{Steps: bad}).Check(); !errors.Is(err, ErrMemberChange) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// FuzzMember: nothing makes the decoders panic; what they know wholly is the same after another round; they read what
// the library reads.
func FuzzMember(f *testing.F) {
	f.Add(AppendMemberPublish(nil, &MemberPublish{ID: 1, Name: "n", ClientURLs: []string{"u", ""}}))
	f.Add(AppendMemberUpdate(nil, &MemberUpdate{ID: 1 << 63, PeerURLs: []string{"u"}}))
	f.Add(AppendAlarm(nil, &Alarm{Action: AlarmRaise, Member: 5, Type: AlarmNoSpace}))
	f.Add(AppendMemberChange(nil, &MemberChange{Steps: []MemberStep{{Op: AddVoter, ID: 1, PeerURLs: []string{"u"}}, {Op: RemoveMember, ID: 2}}}))
	f.Add([]byte{0x0a, 2, 0x08, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var request pb.AlarmRequest
		libraryErr := proto.Unmarshal(b, &request)
		a, known, err := DecodeAlarm(b)
		if (err != nil) != (libraryErr != nil) {
			t.Fatalf("%x: %v, the library says %v", b, err, libraryErr)
		}
		if err == nil && (Alarm{AlarmAction(request.Action), kind.MemberID(request.MemberID), AlarmType(request.Alarm)} != a || known != (len(request.ProtoReflect().GetUnknown()) == 0)) {
			t.Errorf("%x is read as %+v, %v, by the library as %v", b, a, known, &request)
		}
		if p, known, err := DecodeMemberPublish(b); known && err == nil {
			if again, _, err := DecodeMemberPublish(AppendMemberPublish(nil, &p)); err != nil || !reflect.DeepEqual(again, p) {
				t.Errorf("%x: %+v is read again as %+v, %v", b, p, again, err)
			}
		}
		if u, known, err := DecodeMemberUpdate(b); known && err == nil {
			if again, _, err := DecodeMemberUpdate(AppendMemberUpdate(nil, &u)); err != nil || !reflect.DeepEqual(again, u) {
				t.Errorf("%x: %+v is read again as %+v, %v", b, u, again, err)
			}
		}
		if c, known, err := DecodeMemberChange(b); known && err == nil {
			if again, _, err := DecodeMemberChange(AppendMemberChange(nil, &c)); err != nil || !reflect.DeepEqual(again, c) {
				t.Errorf("%x: %+v is read again as %+v, %v", b, c, again, err)
			}
		}
		if r, known, err := DecodeVersionRaise(b); known && err == nil {
			if again, _, err := DecodeVersionRaise(AppendVersionRaise(nil, &r)); err != nil || again != r {
				t.Errorf("%x: %+v is read again as %+v, %v", b, r, again, err)
			}
		}
	})
}
