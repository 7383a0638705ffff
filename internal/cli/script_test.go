package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/servertest"
)

// The scripts in testdata hold commands and what they print: "$" a command line, "<" its standard input, ">" a line
// of its standard output (">|" the last one if it does not end in a newline), "!" one of its standard error, "="
// its exit code if that is not 0. Numbers that differ from one cluster to the next are blotted out.
//
// Those in testdata/etcdctl were written by etcdctl 3.7.3 against etcd 3.7.3. To write them again, with a binary
// that starts such a server when called as holdfast is:
//
//	HOLDFAST_BINARY=.../etcd-as-holdfast go test ./internal/cli -run TestScripts/etcdctl -etcdctl .../etcdctl -rewrite
var (
	rewrite = flag.Bool("rewrite", false, "write what the commands print into the scripts")
	etcdctl = flag.String("etcdctl", "", "run the scripts of testdata/etcdctl by this etcdctl `binary`")
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// TestScripts holds C1: the commands answer as etcdctl does, and where they differ, as testdata/holdfast says.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts found: %v", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "testdata/"), ".txt")
		t.Run(name, func(t *testing.T) {
			if *etcdctl != "" && !strings.HasPrefix(name, "etcdctl/") {
				t.Skip("this script is about where we differ from etcdctl")
			}
			server := servertest.Start(t)
			runScript(t, path, strings.TrimPrefix(server.Endpoint(), "http://"))
		})
	}
}

func runScript(t *testing.T, path, endpoint string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	lease = "LEASE"
	members = map[string]string{}
	directory = t.TempDir()
	var trace strings.Builder
	for i := 0; i < len(lines); {
		line := lines[i]
		i++
		if line == "" || line[0] != '$' {
			trace.WriteString(line + "\n")
			continue
		}
		trace.WriteString(line + "\n")
		var stdin strings.Builder
		for ; i < len(lines) && strings.HasPrefix(lines[i], "<"); i++ {
			trace.WriteString(lines[i] + "\n")
			stdin.WriteString(strings.TrimPrefix(strings.TrimPrefix(lines[i], "<"), " ") + "\n")
		}
		args, err := splitWords(strings.TrimPrefix(line, "$ "))
		if err != nil {
			t.Fatalf("%s: %s: %v", path, line, err)
		}
		trace.WriteString(traceOf(t, args, stdin.String(), endpoint, strings.Contains(path, "etcdctl")))
		for i < len(lines) && lines[i] != "" && strings.ContainsAny(lines[i][:1], ">!=") {
			i++ // What the command printed when the script was written.
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(trace.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := strings.Join(lines, "\n") + "\n"; trace.String() != want {
		t.Errorf("%s: the commands printed something else (-rewrite takes it over):\n%s", path, firstDifference(want, trace.String()))
	}
}

// isHint tells the lines by which we say what to do; etcdctl has the log of its client library instead.
func isHint(line string) bool {
	return strings.HasPrefix(line, "No answer") || strings.HasPrefix(line, "The input ended")
}

var lease string

// directory is what DIR stands for in a script.
var directory string

// members are what a script has learnt of members' ids: SELF in it stands for that of the member that runs, MEMBER for
// that of the last one that was added.
var members map[string]string

var (
	ownMember   = regexp.MustCompile(`(?m)^([0-9a-f]+), started, `)
	addedMember = regexp.MustCompile(`Member +([0-9a-f]+) added`)
)

// granted is how a script learns the id of the last lease; LEASE in it stands for that.
var granted = regexp.MustCompile(`lease ([0-9a-f]{16}) granted with`)

// traceOf runs one command and returns what it printed, in the form of a script. A script that is shared with
// etcdctl leaves out the hints.
func traceOf(t *testing.T, args []string, stdin, endpoint string, isShared bool) string {
	full := args
	if !strings.Contains(strings.Join(args, " "), "--endpoints") {
		full = append([]string{"--endpoints", endpoint}, args...)
	}
	full = slices.Clone(full)
	for i := range full {
		full[i] = strings.ReplaceAll(full[i], "LEASE", lease)
		full[i] = strings.ReplaceAll(full[i], "DIR", directory)
		for name, id := range members {
			full[i] = strings.ReplaceAll(full[i], name, id)
		}
	}
	var stdout, stderr bytes.Buffer
	var code int
	if *etcdctl != "" {
		cmd := exec.Command(*etcdctl, full...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
		if _, exited := errors.AsType[*exec.ExitError](cmd.Run()); exited || cmd.ProcessState != nil {
			code = cmd.ProcessState.ExitCode()
		} else {
			t.Fatalf("%s did not run", *etcdctl)
		}
	} else {
		code = Main(testVersion, append([]string{"etcdctl"}, full...), strings.NewReader(stdin), &stdout, &stderr)
	}
	if id := granted.FindStringSubmatch(stdout.String()); id != nil {
		lease = id[1]
	}
	for name, pattern := range map[string]*regexp.Regexp{"SELF": ownMember, "MEMBER": addedMember} {
		if id := pattern.FindStringSubmatch(stdout.String()); id != nil {
			members[name] = id[1]
		}
	}
	var b strings.Builder
	rest := blot(args, stdout.String(), endpoint)
	for rest != "" {
		line, after, whole := strings.Cut(rest, "\n")
		switch {
		case !whole:
			b.WriteString(">| " + line + "\n")
		case line == "":
			b.WriteString(">\n")
		default:
			b.WriteString("> " + line + "\n")
		}
		rest = after
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.HasPrefix(line, `{"level"`) || (isShared && isHint(line)) {
			continue
		}
		b.WriteString("! " + strings.TrimSuffix(blot(args, line, endpoint), "\n") + "\n")
	}
	if code != 0 {
		fmt.Fprintf(&b, "= %d\n", code)
	}
	return b.String()
}

var (
	volatileJSON   = regexp.MustCompile(`"(cluster_id|member_id|raft_term|leader|raftIndex|raftTerm|raftAppliedIndex|dbSize|dbSizeInUse|dbSizeQuota|hash|version|storageVersion|took)":(-?\d+|"[^"]*")`)
	volatileFields = regexp.MustCompile(`"(ClusterID|MemberID|RaftTerm|Leader|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse|DBSizeQuota|Hash|Version|StorageVersion|Took)" : \S+`)
	volatileTook   = regexp.MustCompile(`took = \S+`)
	volatileNumber = regexp.MustCompile(`\b([0-9a-f]{9,16}|[0-9][0-9.]*)( [kMGTPE]?B|%|[mµ]?s)?\b%?`)
	volatileLease  = regexp.MustCompile(`("[Ii][Dd]" ?: ?|"[Tt][Tt][Ll]" ?: ?)(29\d\b|-?\d{4,})|(remaining\()(?:29\d|-?\d{4,})`)
	volatileMember = regexp.MustCompile(`"(cluster_id|member_id|ID|raft_term)":("[0-9a-f]+"|\d+)|"(ClusterID|MemberID|ID|RaftTerm)" : \S+|cluster +[0-9a-f]+`)
	volatileURL    = regexp.MustCompile(`http://(127\.0\.0\.1|localhost):\d+`)
	volatileServer = regexp.MustCompile(`(Server version |took )[0-9][0-9a-zµ.]*[0-9a-z]`)
	tableFiller    = regexp.MustCompile(`─+| +`)
)

// blot hides what no two clusters have in common, such as ids, sizes, durations and the port.
func blot(args []string, text, endpoint string) string {
	text = strings.ReplaceAll(text, endpoint, "ENDPOINT")
	text = strings.ReplaceAll(text, "127.0.0.1:1 ", "NOBODY ")
	text = strings.ReplaceAll(text, directory, "DIR")
	text = volatileServer.ReplaceAllString(text, "${1}N")
	if len(args) > 0 && args[0] == "endpoint" {
		text = volatileJSON.ReplaceAllString(text, `"$1":N`)
		text = volatileFields.ReplaceAllString(text, `"$1" : N`)
		text = volatileTook.ReplaceAllString(text, "took = N")
		if !strings.ContainsAny(text, `{"`) {
			text = volatileNumber.ReplaceAllString(text, "N")
		}
		return tableFiller.ReplaceAllStringFunc(text, func(s string) string { return string([]rune(s)[:1]) })
	}
	if len(args) > 0 && slices.Contains([]string{"member", "alarm", "move-leader"}, args[0]) {
		for name, id := range members {
			text = strings.ReplaceAll(text, id, name)
			if number, err := strconv.ParseUint(id, 16, 64); err == nil {
				text = strings.ReplaceAll(text, strconv.FormatUint(number, 10), name)
			}
		}
		text = volatileURL.ReplaceAllString(text, "http://PEER")
		text = volatileMember.ReplaceAllStringFunc(text, func(s string) string {
			if strings.HasSuffix(strings.TrimRight(s, "\""), "SELF") || strings.HasSuffix(strings.TrimRight(s, "\""), "MEMBER") {
				return s
			}
			return strings.TrimRight(s, "0123456789abcdef\"") + "N"
		})
		text = regexp.MustCompile(`(?m)^[0-9a-f]+(, (un)?started, )`).ReplaceAllString(text, "N$1")
		text = tableFiller.ReplaceAllStringFunc(text, func(s string) string { return string([]rune(s)[:1]) })
		return sortMembers(text)
	}
	if len(args) > 0 && args[0] == "lease" {
		text = volatileLease.ReplaceAllString(text, "${1}${3}N")
	}
	text = strings.ReplaceAll(text, lease, "LEASE")
	text = regexp.MustCompile(`"(cluster_id|member_id|raft_term)":\d+`).ReplaceAllString(text, `"$1":N`)
	return regexp.MustCompile(`"(ClusterID|MemberID|RaftTerm)" : \S+`).ReplaceAllString(text, `"$1" : N`)
}

// sortMembers puts members into the order of what is said of them: they come by their ids, which are chance.
func sortMembers(text string) string {
	list := func(pattern, separator string) {
		text = regexp.MustCompile(pattern).ReplaceAllStringFunc(text, func(s string) string {
			parts := regexp.MustCompile(pattern).FindStringSubmatch(s)
			body, ended := strings.CutSuffix(parts[2], separator)
			members := strings.Split(body, separator)
			slices.Sort(members)
			if body = strings.Join(members, separator); ended {
				body += separator
			}
			return parts[1] + body + parts[3]
		})
	}
	list(`("members":\[\{)(.*)(\}\])`, "},{")
	list(`(ETCD_INITIAL_CLUSTER=")(.*)(")`, ",")
	list(`()((?m:^\w+, (?:un)?started, .*\n)+)()`, "\n")
	list(`(IS LEARNER │\n.*\n)((?:│.*\n)+)()`, "\n")
	list(`(?s)((?:"(?:ClusterID|MemberID|RaftTerm)" : \S+\n)+"ID" : )(.*)(\n\n)`, "\n\n\"ID\" : ")
	return text
}

// firstDifference shows the first line that differs, with what stands before it.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	context := strings.Join(w[max(0, i-5):i], "\n")
	end := func(s []string) string { return strings.Join(s[min(i, len(s)):min(i+5, len(s))], "\n") }
	return fmt.Sprintf("%s\n--- want\n%s\n--- got\n%s", context, end(w), end(g))
}
