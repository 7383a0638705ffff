package cli

import (
	"io"
	"reflect"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		`put a b`:                {"put", "a", "b"},
		"  put\ta  b ":           {"put", "a", "b"},
		`put a "b c"`:            {"put", "a", "b c"},
		`put a 'b "c"'`:          {"put", "a", `b "c"`},
		`put a "tab\t\x00\"q\""`: {"put", "a", "tab\t\x00\"q\""},
		`put a 'no\t escape'`:    {"put", "a", `no\t escape`},
		`put a ""`:               {"put", "a", ""},
		`put a ''`:               {"put", "a", ""},
		`put it's b"c`:           {"put", "it's", `b"c`},
		`"a""b"'c'd`:             {"a", "b", "c", "d"},
		`put Rafał "żółw"`:       {"put", "Rafał", "żółw"},
		``:                       nil,
	} {
		got, err := splitWords(line)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`put "a`, `put 'a`, `put "a\"`, `put "\z"`} {
		if got, err := splitWords(line); err == nil {
			t.Errorf("%s: %q, want a refusal", line, got)
		}
	}
}

func TestParseCompare(t *testing.T) {
	for line, want := range map[string]*pb.Compare{
		`version("a") = "0"`:        {Key: []byte("a"), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}},
		`ver("a") > "7"`:            {Key: []byte("a"), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{Version: 7}},
		`c("a") < "7"`:              {Key: []byte("a"), Target: pb.Compare_CREATE, Result: pb.Compare_LESS, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 7}},
		`mod("a\x00") != "-7" tail`: {Key: []byte("a\x00"), Target: pb.Compare_MOD, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_ModRevision{ModRevision: -7}},
		"val(`a`)  =   `b \"c`":     {Key: []byte("a"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(`b "c`)}},
		`lease("a") = "7b"`:         {Key: []byte("a"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 0x7b}},
	} {
		got, err := parseCompare(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if cmp := got.GetCompare(); !proto.Equal(cmp, want) {
			t.Errorf("%s: %v, want %v", line, cmp, want)
		}
	}
}

// FuzzTransaction: whatever comes from standard input makes a transaction or is refused with the code for that.
func FuzzTransaction(f *testing.F) {
	for _, seed := range []string{
		"\n\n\n",
		"version(\"a\") = \"0\"\n\nput a b\n\nget a\n\n",
		"lease(\"a\") != \"7b\"\nval(`a`) < `b`\n\nput 'a b' \"c\\n\" --prev-kv\ndel a b\n\nget --rev=3 -- -a\n\n",
		"m(\"a\") = \"99999999999999999999\"\n\n\n\n",
		"\nput \"a\n\n\n",
		"\np a b --lease=zz\n\n\n",
		"create(\"a\")",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		got, err := readTransaction(strings.NewReader(input), io.Discard, io.Discard)
		switch code := ExitCode(err); {
		case err == nil && got == nil:
			t.Error("neither a transaction nor an error")
		case err != nil && code != exitBadInput && code != exitBadArguments && code != exitBadFeature:
			t.Errorf("refused with code %d: %v", code, err)
		}
	})
}
