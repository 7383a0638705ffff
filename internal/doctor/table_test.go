package doctor

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"holdfast/internal/servertest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite files that are made from the code")

// Y2: docs/operations/doctor.md is what the table says.
func TestDocumentIsCurrent(t *testing.T) {
	const path = "../../docs/operations/doctor.md"
	var want bytes.Buffer
	if err := Document(&want); err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the table says (%v); run go test ./internal/doctor -run TestDocumentIsCurrent -rewrite", path, err)
	}
}

func TestTable(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[string]bool{}
	for _, c := range Conditions() {
		if !name.MatchString(c.ID) || seen[c.ID] {
			t.Errorf("the id %q is no name, or stands there twice", c.ID)
		}
		seen[c.ID] = true
		if c.Severity != Warning && c.Severity != Error {
			t.Errorf("%s: severity %d", c.ID, c.Severity)
		}
		for _, text := range []string{c.Sentence, c.Advice} {
			if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "}") && !strings.HasPrefix(text, "Run") {
				t.Errorf("%s: this does not end as a sentence does: %s", c.ID, text)
			}
		}
	}
}

// Y4: errors before warnings, and within them the order of the table.
func TestOrder(t *testing.T) {
	r := &report{}
	r.add("two-stores", "path", "p", "stores", "a and b", "current", "a")
	r.add("many-leases", "leases", "3")
	r.add("no-directory", "path", "p")
	r.add("root-without-password")
	r.add("root-without-password")
	var order []string
	for _, f := range r.sorted() {
		order = append(order, f.ID)
	}
	if got := strings.Join(order, " "); got != "root-without-password no-directory many-leases two-stores" {
		t.Errorf("the order is %s", got)
	}
	if Code(r.findings) != 2 || Code(r.findings[2:]) != 1 || Code(nil) != 0 {
		t.Error("the codes are wrong")
	}
}

// The built binary says it in both forms and exits with the code.
func TestCommand(t *testing.T) {
	s := servertest.Start(t)
	type answer struct {
		Findings         []told
		Errors, Warnings int
	}
	ask := func(code int, args ...string) (a answer) {
		t.Helper()
		r := servertest.Run(t, "", append([]string{"doctor", "--write-out=json"}, args...)...)
		if err := json.Unmarshal([]byte(r.Stdout), &a); err != nil || r.Code != code || r.Stderr != "" {
			t.Errorf("doctor %v: code %d, %v\n%s%s", args, r.Code, err, r.Stdout, r.Stderr)
		}
		return a
	}
	if a := ask(0, "--endpoints", s.Endpoint()); len(a.Findings) != 0 {
		t.Errorf("a member that is well has these findings: %+v", a)
	}
	if a := ask(1, "--data-dir", s.DataDir()); a.Warnings != 1 || a.Findings[0].ID != "directory-in-use" || a.Findings[0].Severity != "warning" {
		t.Errorf("the data directory of a running member: %+v", a)
	}
	s.Stop()
	if a := ask(2, "--endpoints", s.Endpoint()); a.Errors != 2 || a.Findings[0].ID != "no-endpoint-answers" {
		t.Errorf("a member that is stopped: %+v", a)
	}
	r := servertest.Run(t, "", "doctor", "--data-dir", s.DataDir())
	if r.Code != 0 || r.Stdout != "Nothing is wrong.\n" {
		t.Errorf("a data directory that is whole: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	for _, wrong := range [][]string{{"--data-dir=x", "--endpoints=y"}, {"x"}, {"--write-out=table"}} {
		if r := servertest.Run(t, "", append([]string{"doctor"}, wrong...)...); r.Code != 128 || r.Stderr == "" {
			t.Errorf("doctor %v: code %d\n%s", wrong, r.Code, r.Stderr)
		}
	}
}

// told is a finding as programs read it.
type told struct{ ID, Severity, Sentence, Advice string }
