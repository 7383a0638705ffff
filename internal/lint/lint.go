// Package lint holds the rules of the house as tests, so that a broken rule explains itself: each rule has a reason,
// and a finding prints file, line, what is wrong, and the reason.
//
// Invariants:
//
//	L1  A rule is a function of a Tree, which may be the repository or a few files made up in a test.
//	L2  Each rule has a test that shows it finding a violation in a made-up Tree.
//	L3  An exception stands in a table beside its rule, with its own reason; an exception that is no longer needed is
//	    a finding.
//
// Use: go test ./internal/lint, which make lint does.
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Finding is one violation of a rule.
type Finding struct {
	// Path is relative to the root of the repository, with slashes.
	Path string
	// Line counts from 1; 0 means the file as a whole.
	Line int
	// What says what is wrong there.
	What string
}

// Rule is one rule of the house.
type Rule struct {
	// Name is a few words with dashes.
	Name string
	// Reason says why the house has the rule.
	Reason string
	// Check returns the violations in a tree, in the order of the files.
	Check func(t Tree) []Finding
}

// Rules lists every rule that looks at files only. gofmt, vet and staticcheck stand in the tests beside them.
func Rules() []Rule {
	return []Rule{
		arrows, forbiddenImports, noClock, noGoroutines, noEtcdServer,
		packageComments, exportedComments, fileNames, fileLengths,
		formatted, noUnfinished, noMachinePaths, noDeadLinks, noSleepInTests,
	}
}

// Tree is a set of files.
type Tree struct {
	files []File
}

// File is one text file of a Tree.
type File struct {
	// Path is relative to the root, with slashes.
	Path string
	// Content is the whole file.
	Content string

	syntax *ast.File // nil where the file is not Go or does not parse
	tokens *token.FileSet
}

// newTree makes a Tree of files given by path and content.
func newTree(content map[string]string) Tree {
	var t Tree
	for name, text := range content {
		f := File{Path: name, Content: text}
		if f.isGo() {
			f.tokens = token.NewFileSet()
			// A file that does not parse is the compiler's business; gofmt's rule reports it too.
			f.syntax, _ = parser.ParseFile(f.tokens, name, text, parser.ParseComments|parser.SkipObjectResolution)
		}
		t.files = append(t.files, f)
	}
	slices.SortFunc(t.files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return t
}

// textSuffixes and textNames say which files are read; everything else may hold any bytes.
var (
	textSuffixes = []string{".go", ".md", ".sh", ".py", ".mod", ".txt", ".yml", ".yaml", ".json"}
	textNames    = []string{"Makefile", "run", ".gitignore", "LICENSE"}
)

// readTree reads the repository at root. What lies in testdata is data, not code, and is left out.
func readTree(root string) (Tree, error) {
	content := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", "testdata", "bin"}, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains(textSuffixes, path.Ext(name)) && !slices.Contains(textNames, entry.Name()) || !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		content[filepath.ToSlash(relative)] = string(text)
		return err
	})
	if err != nil {
		return Tree{}, fmt.Errorf("read the repository: %w", err)
	}
	return newTree(content), nil
}

func (f File) isGo() bool   { return strings.HasSuffix(f.Path, ".go") }
func (f File) isTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// room returns the package of a file by the names of ARCHITECTURE.md: "mvcc" for internal/mvcc, "holdfast" for the
// root, else the directory. Nested modules have no rooms and answer "".
func (f File) room() string {
	dir := path.Dir(f.Path)
	if dir == "." {
		return "holdfast"
	}
	if first, _, _ := strings.Cut(dir, "/"); slices.Contains(nestedModules, first) {
		return ""
	}
	return strings.TrimPrefix(dir, "internal/")
}

var nestedModules = []string{"bench", "kube", "parity"}

// goFiles yields the Go files that parse.
func (t Tree) goFiles(yield func(File) bool) {
	for _, f := range t.files {
		if f.syntax != nil && !yield(f) {
			return
		}
	}
}

func (f File) finding(pos token.Pos, format string, args ...any) Finding {
	return Finding{f.Path, f.tokens.Position(pos).Line, fmt.Sprintf(format, args...)}
}

// eachLine calls do with the lines of f, counted from 1.
func (f File) eachLine(do func(n int, line string)) {
	n := 0
	for line := range strings.SplitSeq(f.Content, "\n") {
		n++
		do(n, line)
	}
}
