package lint

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"path"
	"regexp"
	"strings"
)

var formatted = Rule{
	Name:   "gofmt",
	Reason: "One layout for all, so that a diff shows what changed.",
	Check: func(t Tree) (found []Finding) {
		for _, f := range t.files {
			if !f.isGo() {
				continue
			}
			want, err := format.Source([]byte(f.Content))
			if err != nil {
				found = append(found, Finding{f.Path, 0, "it does not parse: " + err.Error()})
			} else if !bytes.Equal(want, []byte(f.Content)) {
				found = append(found, Finding{f.Path, 0, "run gofmt -w on it"})
			}
		}
		return found
	},
}

// The words are built from pieces, so that this file does not contain them.
var unfinished = regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"}, "|") + `)\b`)

var noUnfinished = Rule{
	Name:   "no-unfinished",
	Reason: "What is left to do is an issue that somebody can find, not a word in a file.",
	Check:  func(t Tree) []Finding { return t.matches(unfinished, "it says %s") },
}

// machinePaths are the traces of one machine or one sitting, built from pieces.
var machinePaths = regexp.MustCompile(strings.Join([]string{
	"(^|[^\\w.])/wo" + "rk(/|\\b)",
	"(^|[^\\w.])/ro" + "ot/",
	"bash" + "_jobs",
	"(^|[^\\w/])shar" + "ed/",
	"etcd-v" + "3\\.md",
	"proxy\\.gol" + "ang\\.org",
	"sum\\.gol" + "ang\\.org",
	"GO" + "PROXY",
}, "|"))

var noMachinePaths = Rule{
	Name:   "no-machine-paths",
	Reason: "The repository stands alone: what it says must be true on any machine.",
	Check:  func(t Tree) []Finding { return t.matches(machinePaths, "it names %s") },
}

// matches finds a pattern in every text file.
func (t Tree) matches(pattern *regexp.Regexp, what string) (found []Finding) {
	for _, f := range t.files {
		f.eachLine(func(n int, line string) {
			if hit := pattern.FindString(line); hit != "" {
				found = append(found, Finding{f.Path, n, strings.Replace(what, "%s", strings.TrimSpace(hit), 1)})
			}
		})
	}
	return found
}

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	inlineCode   = regexp.MustCompile("`[^`]*`")
)

var noDeadLinks = Rule{
	Name:   "no-dead-links",
	Reason: "A link is a promise that the other page is there.",
	Check: func(t Tree) (found []Finding) {
		exists := map[string]bool{".": true}
		for _, f := range t.files {
			for name := f.Path; name != "."; name = path.Dir(name) {
				exists[name] = true
			}
		}
		for _, f := range t.files {
			if !strings.HasSuffix(f.Path, ".md") {
				continue
			}
			inBlock := false
			f.eachLine(func(n int, line string) {
				if strings.HasPrefix(strings.TrimSpace(line), "```") {
					inBlock = !inBlock
				}
				if inBlock || strings.HasPrefix(line, "    ") {
					return
				}
				for _, link := range markdownLink.FindAllStringSubmatch(inlineCode.ReplaceAllString(line, ""), -1) {
					target, _, _ := strings.Cut(link[1], "#")
					if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
						continue
					}
					if !exists[path.Join(path.Dir(f.Path), target)] {
						found = append(found, Finding{f.Path, n, "there is no " + link[1]})
					}
				}
			})
		}
		return found
	},
}

// sleepers are the test files that may sleep otherwise than while they poll for a condition, each with its reason.
var sleepers = map[string]string{}

var noSleepInTests = Rule{
	Name:   "no-sleep-in-tests",
	Reason: "A test that sleeps and hopes is slow on a fast machine and wrong on a slow one: wait for the condition, in a loop that ends when it holds.",
	Check: func(t Tree) (found []Finding) {
		used := map[string]bool{}
		for f := range t.goFiles {
			if !f.isTest() {
				continue
			}
			polls := f.pollingSleeps()
			f.eachSelector("time", func(pos token.Pos, name string) {
				switch {
				case name != "Sleep" || polls[pos]:
				case sleepers[f.Path] != "":
					used[f.Path] = true
				default:
					found = append(found, f.finding(pos, "it sleeps"))
				}
			})
		}
		for _, f := range t.files {
			if sleepers[f.Path] != "" && !used[f.Path] {
				found = append(found, Finding{f.Path, 0, "it is allowed to sleep but does not: remove the exception"})
			}
		}
		return found
	},
}

// pollingSleeps returns where f sleeps as a statement of its own in a loop that does not count: such a loop looks
// again and again whether something has happened.
func (f File) pollingSleeps() map[token.Pos]bool {
	polls := map[token.Pos]bool{}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		loop, ok := n.(*ast.ForStmt)
		if !ok {
			return true
		}
		if _, counts := loop.Post.(*ast.IncDecStmt); counts {
			return true
		}
		for _, statement := range loop.Body.List {
			if e, ok := statement.(*ast.ExprStmt); ok {
				if call, ok := e.X.(*ast.CallExpr); ok {
					polls[call.Fun.Pos()] = true
				}
			}
		}
		return true
	})
	return polls
}
