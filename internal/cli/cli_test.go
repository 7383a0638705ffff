package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/servertest"
)

// testVersion is what the version command prints in these tests.
var testVersion = Version{Holdfast: "0.0.0", API: "3.7"}

// outcome is what one run of the client did.
type outcome struct {
	stdout, stderr string
	code           int
}

func client(stdin string, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	code := Main(testVersion, append([]string{"etcdctl"}, args...), strings.NewReader(stdin), &stdout, &stderr)
	return outcome{stdout.String(), stderr.String(), code}
}

// nobody is an endpoint where nobody listens, with no time to lose.
var nobody = []string{"--endpoints", "127.0.0.1:1", "--command-timeout", "50ms"}

// TestSettingsPrecedence holds C2.
func TestSettingsPrecedence(t *testing.T) {
	for _, c := range []struct {
		name     string
		flag     string
		holdfast string
		etcdctl  string
		want     string
	}{
		{"default", "", "", "", "simple"},
		{"etcdctl's variable", "", "", "json", "json"},
		{"our variable", "", "fields", "json", "fields"},
		{"flag", "table", "fields", "json", "table"},
		{"flag alone", "table", "", "", "table"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("HOLDFASTCTL_WRITE_OUT", c.holdfast)
			t.Setenv("ETCDCTL_WRITE_OUT", c.etcdctl)
			f := &family{globals: &globals{}}
			cmd := f.getCommand()
			f.globals.register(cmd.PersistentFlags())
			if c.flag != "" {
				if err := cmd.ParseFlags([]string{"--write-out", c.flag}); err != nil {
					t.Fatal(err)
				}
			} else if err := cmd.ParseFlags(nil); err != nil {
				t.Fatal(err)
			}
			if err := applyEnvironment(cmd); err != nil {
				t.Fatal(err)
			}
			if f.globals.writeOut != c.want {
				t.Errorf("--write-out is %q, want %q", f.globals.writeOut, c.want)
			}
		})
	}
}

// TestVariableThatDoesNotFit: a setting that cannot be read is refused, not left at its default in silence.
func TestVariableThatDoesNotFit(t *testing.T) {
	t.Setenv("ETCDCTL_COMMAND_TIMEOUT", "soon")
	got := client("", append(nobody[:2:2], "get", "a")...)
	if got.code != exitBadArguments || !strings.Contains(got.stderr, `ETCDCTL_COMMAND_TIMEOUT="soon" does not fit the flag --command-timeout`) {
		t.Errorf("code %d, said %q", got.code, got.stderr)
	}
}

// TestUnknownVariable: a variable that sets nothing gets a warning, except those that etcdctl knows.
func TestUnknownVariable(t *testing.T) {
	t.Setenv("ETCDCTL_ENDPOINT", "127.0.0.1:2379")
	t.Setenv("ETCDCTL_API", "3")
	got := client("", append(nobody, "get", "a")...)
	if !strings.Contains(got.stderr, "ETCDCTL_ENDPOINT belongs to no setting") || strings.Contains(got.stderr, "ETCDCTL_API") {
		t.Errorf("said %q", got.stderr)
	}
}

// TestRefusedBeforeSending holds C3: where nobody listens, these fail at once and with their own code, not
// with that of a missing answer.
func TestRefusedBeforeSending(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
	}{
		{"put a b -w table", exitBadFeature},
		{"put a b -w xml", exitBadFeature},
		{"del a -w table", exitBadFeature},
		{"txn -w table", exitBadFeature},
		{"get a --count-only", exitBadArguments},
		{"get a --print-value-only -w fields", exitBadArguments},
		{"endpoint status -w protobuf", exitBadFeature},
		{"compaction 5 -w xml", exitBadFeature},
		{"get a --sort-by taste", exitBadFeature},
		{"put a b c", exitBadArguments},
		{"get a --zip", exitFailed},
		{"completion tcsh", exitFailed},
	} {
		got := client("", append(nobody, strings.Fields(c.line)...)...)
		if got.code != c.code || strings.Contains(got.stderr, "deadline") || got.stderr == "" {
			t.Errorf("%s: code %d, want %d; said %q", c.line, got.code, c.code, got.stderr)
		}
	}
}

// TestProtobuf holds C1 for the one format that is no text: the bytes are the reply's own, with nothing around.
func TestProtobuf(t *testing.T) {
	endpoint := servertest.Start(t).Endpoint()
	run := func(m proto.Message, stdin string, args ...string) {
		t.Helper()
		got := client(stdin, append([]string{"--endpoints", endpoint, "-w", "protobuf"}, args...)...)
		if got.code != 0 {
			t.Fatalf("%v: code %d, said %q", args, got.code, got.stderr)
		}
		if err := proto.Unmarshal([]byte(got.stdout), m); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	var put pb.PutResponse
	run(&put, "", "put", "a", "1")
	if put.GetHeader().GetRevision() != 2 {
		t.Errorf("put answered %v", &put)
	}
	var get pb.RangeResponse
	run(&get, "", "get", "a")
	if len(get.Kvs) != 1 || string(get.Kvs[0].Value) != "1" || get.Count != 1 {
		t.Errorf("get answered %v", &get)
	}
	var txn pb.TxnResponse
	run(&txn, "\nget a\n\n\n", "txn")
	if !txn.Succeeded || len(txn.Responses) != 1 {
		t.Errorf("txn answered %v", &txn)
	}
	var del pb.DeleteRangeResponse
	run(&del, "", "del", "a", "--prev-kv")
	if del.Deleted != 1 || len(del.PrevKvs) != 1 {
		t.Errorf("del answered %v", &del)
	}
}

// TestUnderAnotherRoot: hung under a root with flags of its own, the commands have the client's flags themselves,
// say themselves what is wrong even if the root is silent, and hand their code through.
func TestUnderAnotherRoot(t *testing.T) {
	run := func(args ...string) outcome {
		root := &cobra.Command{Use: "holdfast", SilenceErrors: true, SilenceUsage: true}
		root.PersistentFlags().String("data-dir", "", "a flag of the server")
		AddTo(root, Version{Holdfast: "1.2.3", API: "3.7"})
		var stdout, stderr bytes.Buffer
		root.SetArgs(args)
		root.SetIn(strings.NewReader(""))
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		code := ExitCode(root.Execute())
		return outcome{stdout.String(), stderr.String(), code}
	}
	if got := run("version"); got.stdout != "holdfast version: 1.2.3\nAPI version: 3.7\n" {
		t.Errorf("version said %q", got.stdout)
	}
	if got := run("get", "a", "--endpoints", "127.0.0.1:1", "--command-timeout=50ms"); got.code != exitFailed || strings.Count(got.stderr, "deadline exceeded") != 1 {
		t.Errorf("code %d, said %q", got.code, got.stderr)
	}
	if got := run("get", "a", "--zip"); got.code != exitFailed || !strings.Contains(got.stderr, "unknown flag: --zip") {
		t.Errorf("code %d, said %q", got.code, got.stderr)
	}
	if got := run("version", "--endpoints", "a"); got.code != exitFailed {
		t.Errorf("version knows --endpoints")
	}
	help := run("get", "--help").stdout
	own, client, ok := strings.Cut(help, "Flags of every client command")
	if !ok || !strings.Contains(own, "--prefix") || strings.Contains(own, "--endpoints") || !strings.Contains(client, "--endpoints") {
		t.Errorf("the help of get is:\n%s", help)
	}
}

// TestShortenedCommand: under the name etcdctl a command may be shortened.
func TestShortenedCommand(t *testing.T) {
	if got := client("", "vers"); got.code != 0 || !strings.HasPrefix(got.stdout, "etcdctl version: 3.") {
		t.Errorf("vers: code %d, said %q", got.code, got.stdout+got.stderr)
	}
}

// TestCompletion: each shell gets a script, which asks the program itself.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		got := client("", "completion", shell)
		if got.code != 0 || !strings.Contains(got.stdout, "__complete") {
			t.Errorf("completion %s: code %d, %d bytes", shell, got.code, len(got.stdout))
		}
	}
	if got := client("", "__complete", "get", "--sort-by", ""); !strings.Contains(got.stdout, "MODIFY") {
		t.Errorf("the values of --sort-by are not completed: %q", got.stdout)
	}
	if got := client("", "__complete", "get", "--endp"); !strings.Contains(got.stdout, "--endpoints") {
		t.Errorf("the client's flags are not completed: %q", got.stdout)
	}
}

// TestShowSettingsHidesSecrets: --debug prints the settings, and no secret among them.
func TestShowSettingsHidesSecrets(t *testing.T) {
	f := &family{globals: &globals{}}
	cmd := f.getCommand()
	f.globals.register(cmd.PersistentFlags())
	if err := cmd.ParseFlags([]string{"--user", "ada:secret1", "--password", "secret2", "--auth-jwt-token", "secret3"}); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	showSettings(cmd, &shown)
	if strings.Contains(shown.String(), "secret") || !strings.Contains(shown.String(), "HOLDFASTCTL_USER=ada:(hidden)") {
		t.Errorf("the settings were shown as\n%s", shown.String())
	}
}

func TestSizeText(t *testing.T) {
	for bytes, want := range map[int64]string{
		-1: "0 B", 0: "0 B", 9: "9 B", 10: "10 B", 999: "999 B", 1000: "1.0 kB", 1049: "1.0 kB", 1050: "1.1 kB", 9940: "9.9 kB",
		9960: "10 kB", 20480: "20 kB", 999449: "999 kB", 12500: "12 kB", 2147483648: "2.1 GB", 1 << 62: "4.6 EB",
	} {
		if got := sizeText(bytes); got != want {
			t.Errorf("%d bytes are written %q, want %q", bytes, got, want)
		}
	}
	for _, c := range []struct{ size, used, want int64 }{{0, 0, 0}, {20480, 16384, 20}, {100, 100, 0}, {1000, 999, 1}, {1000, 0, 100}} {
		if got := percentFree(c.size, c.used); got != c.want {
			t.Errorf("of %d bytes with %d used %d%% are free, want %d%%", c.size, c.used, got, c.want)
		}
	}
}

// TestBinary runs the built binary: as holdfast, whose root has other flags, the client commands work too.
func TestBinary(t *testing.T) {
	server := servertest.Start(t)
	at := "--endpoints=" + server.Endpoint()
	if got := servertest.Run(t, "hello\n", "put", "greeting", at); got.Code != 0 || got.Stdout != "OK\n" {
		t.Errorf("put: %+v", got)
	}
	if got := servertest.Run(t, "", "get", "greeting", at); got.Code != 0 || got.Stdout != "greeting\nhello\n\n" {
		t.Errorf("get: %+v", got)
	}
	if got := servertest.Run(t, "", "get", "greeting", at, "--rev=99"); got.Code != exitFailed || !strings.Contains(got.Stderr, "Error: etcdserver: mvcc: required revision is a future revision") {
		t.Errorf("get of a future revision: %+v", got)
	}
	if got := servertest.Run(t, "", "get", at, "-w", "yaml", "a"); got.Code != exitBadFeature {
		t.Errorf("get in an unknown format: %+v", got)
	}
	if got := servertest.Run(t, "", "endpoint", "health", at); got.Code != 0 || !strings.Contains(got.Stdout, "is healthy") {
		t.Errorf("endpoint health: %+v", got)
	}
}
