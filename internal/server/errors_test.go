package server

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refusalTexts is the list of the API's refusals: text to code.
func refusalTexts(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("testdata/refusals.txt")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		code, text, _ := strings.Cut(line, " ")
		texts[text] = code
	}
	return texts
}

// Every row of the table has a code and a text of the API's list, or is one of the two that have no prefix.
func TestTableHoldsTheTextsOfTheAPI(t *testing.T) {
	texts := refusalTexts(t)
	texts["RangeStream does not support custom sort orders"] = "Unimplemented"
	texts["RangeStream does not support revision filters"] = "Unimplemented"
	seen := make(map[error]bool)
	for _, row := range refusals {
		s, ok := status.FromError(row.etcds)
		if !ok {
			t.Fatalf("%v maps to %v, which is no status", row.ours, row.etcds)
		}
		if code := texts[s.Message()]; code != s.Code().String() {
			t.Errorf("%v maps to %v %q; the list has code %q for this text", row.ours, s.Code(), s.Message(), code)
		}
		if seen[row.ours] {
			t.Errorf("%v is in the table twice", row.ours)
		}
		seen[row.ours] = true
		if got := toStatus(fmt.Errorf("while doing something: %w", row.ours)); got != row.etcds {
			t.Errorf("wrapped, %v becomes %v, want %v", row.ours, got, row.etcds)
		}
	}
}

// The list says what etcd's own client knows, so that a mistake in the list is found.
func TestListAgreesWithTheClientLibrary(t *testing.T) {
	texts := refusalTexts(t)
	if len(texts) < 60 {
		t.Fatalf("the list has %d texts only", len(texts))
	}
	// Errors that the client library has no name for, or only on one side.
	unnamed := map[string]bool{
		"etcdserver: invalid client api version":                                     true,
		"etcdserver: watch canceled":                                                 true,
		"etcdserver: not capable":                                                    true,
		"etcdserver: cluster ID mismatch":                                            true,
		"etcdserver: revision of auth store is old":                                  true,
		"etcdserver: request canceled":                                               true,
		"etcdserver: context deadline exceeded":                                      true,
		"etcdserver: bad leader transferee":                                          true,
		"etcdserver: permission not given":                                           true,
		"etcdserver: request timed out, waiting for the applied index took too long": true,
	}
	for text, code := range texts {
		e, ok := rpctypes.Error(status.Error(codes.Unknown, text)).(rpctypes.EtcdError)
		if !ok {
			if !unnamed[text] {
				t.Errorf("the client library does not know %q", text)
			}
			continue
		}
		if e.Code().String() != code {
			t.Errorf("the list has %s for %q, the client library %v", code, text, e.Code())
		}
	}
}

// Every sentinel of the rooms below that a client could get is in the table.
func TestEverySentinelIsInTheTable(t *testing.T) {
	// What never leaves the program as an answer, with the reason.
	inside := map[string]string{
		"command.ErrWire":               "malformed has the words of gRPC for it",
		"command.ErrEntry":              "stops the member",
		"mvcc.ErrAnswerTooLarge":        "has a text of its own, with numbers",
		"mvcc.ErrClosed":                "a view is closed by its owner, the handler",
		"machine.ErrUnknownEntry":       "stops the member",
		"machine.ErrNewerMachine":       "the member does not start",
		"machine.ErrCursor":             "stops the member",
		"machine.ErrAlarmRecord":        "the member does not start",
		"node.ErrTimeoutLeaderTransfer": "MoveLeader has the words for it, which are not among the API's",
		"node.ErrRemoved":               "the member ends by itself",
		"node.ErrNothingToRepair":       "Repair has its own words, which are not among the API's",
		"node.ErrRepairing":             "as above",
		"node.ErrNobodyToAsk":           "as above",
		"node.ErrRefetch":               "as above",
		"command.ErrMemberChange":       "no request makes such a change",
		"member.ErrNoMembers":           "a new cluster is described by flags, not by requests",
		"member.ErrNoPeerURL":           "as above",
		"member.ErrSameURL":             "as above",
		"machine.ErrAuthChanged":        "the command is authorised and proposed anew",
		"auth.ErrRecord":                "the member does not start",
		"lease.ErrRecord":               "stops the member",
		"member.ErrRecord":              "stops the member",
	}
	inTable := make(map[string]bool)
	for _, name := range tableNames(t) {
		inTable[name] = true
	}
	for _, room := range []string{"command", "mvcc", "machine", "node", "lease", "auth", "member"} {
		for _, name := range sentinels(t, filepath.Join("..", room)) {
			full := room + "." + name
			if !inTable[full] && inside[full] == "" {
				t.Errorf("%s has no row in the table of refusals", full)
			}
		}
	}
}

// tableNames returns the names in the first column of the table.
func tableNames(t *testing.T) (names []string) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				names = append(names, x.Name+"."+s.Sel.Name)
			}
		}
		return true
	})
	return names
}

// sentinels returns the exported variables of a package whose names begin with Err.
func sentinels(t *testing.T, dir string) (names []string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

// A context that ends is told as etcd tells it: a command may still be applied, a read has just ended.
func TestEndedContexts(t *testing.T) {
	for _, c := range []struct {
		err  error
		tell func(error) error
		code codes.Code
		text string
	}{
		{context.Canceled, proposalFailed, codes.Canceled, "etcdserver: request canceled"},
		{context.DeadlineExceeded, proposalFailed, codes.Unavailable, "etcdserver: request timed out"},
		{context.Canceled, toStatus, codes.Canceled, "context canceled"},
		{context.DeadlineExceeded, toStatus, codes.DeadlineExceeded, "context deadline exceeded"},
		{errors.New("something else"), toStatus, codes.Unknown, "something else"},
	} {
		s, _ := status.FromError(c.tell(fmt.Errorf("wait: %w", c.err)))
		want := c.text
		if c.code == codes.Unknown {
			want = "wait: " + want
		}
		if s.Code() != c.code || s.Message() != want {
			t.Errorf("%v becomes %v %q, want %v %q", c.err, s.Code(), s.Message(), c.code, want)
		}
	}
}
