package holdfast_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/config"
	"holdfast/internal/servertest"
)

// block is a fenced block of commands of a page.
type block struct {
	page   string
	line   int
	text   string
	parsed bool // it cannot be run here: it needs other machines or programs; its lines are checked
}

// Comments in a page, which nobody sees who reads it rendered, steer the tests: one of these before a block lets it be
// parsed only, and "test:" is followed by commands that stand between the blocks, such as Ctrl-C.
const (
	onlyParsed = "<!-- only parsed -->"
	testBegins = "<!-- test: "
)

// blocksOf are the blocks of a page, those of its comments among them.
func blocksOf(t *testing.T, page string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	parsed := false
	for i, line := range strings.Split(string(text), "\n") {
		hidden, isTest := strings.CutPrefix(line, testBegins)
		switch {
		case open != nil && line == "```":
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.text += line + "\n"
		case line == "```sh":
			open, parsed = &block{page: page, line: i + 2, parsed: parsed}, false
		case line == onlyParsed:
			parsed = true
		case isTest:
			blocks = append(blocks, block{page: page, line: i + 1, text: strings.TrimSuffix(hidden, " -->") + "\n"})
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block does not end", page, open.line)
	}
	return blocks
}

// pages are all pages for operators and users.
func pages(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("docs/operations/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(all, "README.md", "docs/README.md", "docs/quickstart.md", "docs/migration.md", "docs/faq.md", "docs/limits.md")
}

// runPages are the pages whose blocks are run, from the first to the last, in one shell.
var runPages = []string{
	"docs/quickstart.md", "docs/migration.md",
	"docs/operations/tls.md", "docs/operations/auth.md", "docs/operations/backup.md", "docs/operations/upgrade.md", "docs/operations/disaster.md",
}

// harness is in front of a page's commands: what serves goes to the background and is waited for, ctrl_c ends the last of
// it, and the end of the shell ends all.
const harness = `set -eu
pids=
holdfast() {
	case "${1:-}" in
	serve)
		command holdfast "$@" >>server.log 2>&1 &
		pids="$! $pids"
		i=0
		until grep -q 'ready to serve' server.log && settled "$@"; do
			kill -0 ${pids%% *} || { cat server.log >&2; exit 1; }
			i=$((i+1)); [ $i -lt 600 ] || { echo "it does not come up" >&2; cat server.log >&2; exit 1; }
			sleep 0.1
		done ;;
	*) command holdfast "$@" ;;
	esac
}
# settled: every port that the command names for clients takes connections.
settled() {
	for word in "$@"; do
		case "$word" in
		--listen-client-urls=*)
			for one in $(echo "${word#*=}" | tr ',' ' '); do
				code=0; curl -sk -o curl.out "${one}/version" || code=$?
				# 56 and 58: the server wants a certificate, and is there.
				case $code in 0|35|56|58) ;; *) return 1 ;; esac
			done ;;
		esac
	done
}
ctrl_c() {
	last=${pids%% *}; pids=${pids#* }
	kill -INT $last; wait $last || true
	: >server.log
}
trap 'for p in $pids; do kill -KILL $p || true; done' EXIT
`

// TestDocsRun runs the commands of the pages as a reader types them, with other ports, in an empty directory.
func TestDocsRun(t *testing.T) {
	for _, page := range runPages {
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			t.Parallel()
			ports := make(map[string]string)
			replace := func(text string) string {
				return regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllStringFunc(text, func(address string) string {
					if ports[address] == "" {
						ports[address] = servertest.FreeAddress(t)
					}
					return ports[address]
				})
			}
			client := replace("127.0.0.1:2379") // what commands mean that name no endpoint
			script, n := harness, 0
			for _, b := range blocksOf(t, page) {
				if b.parsed {
					continue
				}
				n++
				script += fmt.Sprintf("echo '== %s:%d' >&2\n%s", b.page, b.line, replace(b.text))
			}
			if n == 0 {
				t.Fatal("nothing of it is run")
			}
			dir := t.TempDir()
			bin := filepath.Join(dir, "bin")
			if err := os.Mkdir(bin, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(servertest.Binary(t), filepath.Join(bin, "holdfast")); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			defer cancel()
			shell := exec.CommandContext(ctx, "bash", "-c", script)
			shell.Dir = dir
			shell.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "HOLDFASTCTL_ENDPOINTS=" + client}
			shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) } // with what it has started
			shell.WaitDelay = 10 * time.Second
			words, err := shell.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, words)
			}
			// "# says: TEXT" behind a command is what a reader may compare with.
			for _, b := range blocksOf(t, page) {
				for _, m := range regexp.MustCompile(`(?m)# says: (.*)$`).FindAllStringSubmatch(b.text, -1) {
					if !b.parsed && !strings.Contains(string(words), replace(m[1])) {
						t.Errorf("it did not say %q:\n%s", m[1], words)
					}
				}
			}
		})
	}
}

// commandLines are the commands of a block that call holdfast, as words; what stands for something else is left out.
func commandLines(b block) (lines [][]string) {
	text := strings.ReplaceAll(b.text, "\\\n", " ")
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, " #")
		words := strings.Fields(line)
		i := slices.IndexFunc(words, func(w string) bool { return w == "holdfast" || w == "./bin/holdfast" })
		if i < 0 || strings.HasPrefix(line, "#") || i > 0 && words[0] == "docker" && words[1] != "run" {
			continue
		}
		if i > 0 && !slices.Contains([]string{"--", "|", "&&", "sudo"}, words[i-1]) && !strings.Contains(words[i-1], "=") {
			continue // a name, not a call
		}
		var call []string
		for _, w := range words[i+1:] {
			if w == "&" || w == "|" || w == ">" || w == "--" || strings.HasPrefix(w, "<<") || w == "&&" {
				break
			}
			if w != "..." {
				call = append(call, strings.Trim(w, `"'`))
			}
		}
		lines = append(lines, call)
	}
	return lines
}

// helps caches what commands say of themselves.
var helps = map[string]string{}

func helpOf(t *testing.T, words ...string) string {
	t.Helper()
	name := strings.Join(words, " ")
	if helps[name] == "" {
		r := servertest.Run(t, "", append(slices.Clone(words), "--help")...)
		if r.Code != 0 {
			t.Fatalf("holdfast %s --help: %d %s", name, r.Code, r.Stderr)
		}
		helps[name] = r.Stdout + r.Stderr
	}
	return helps[name]
}

// checkLine holds one command line of a page against the settings and the commands that there are.
func checkLine(t *testing.T, where string, words []string) {
	t.Helper()
	if len(words) == 0 || words[0] == "serve" || strings.HasPrefix(words[0], "--") && words[0] != "--help" {
		var flags []string
		whole := true
		for _, w := range words {
			if !strings.HasPrefix(w, "--") || w == "--help" {
				continue
			}
			flags = append(flags, w)
			whole = whole && !strings.ContainsAny(w, "$") && !strings.Contains(w, "...")
			if name, _, _ := strings.Cut(w, "="); !regexp.MustCompile(regexp.QuoteMeta(name) + `\b`).MatchString(helpOf(t, "serve")) {
				t.Errorf("%s: serve has no %s", where, name)
			}
		}
		if _, _, err := config.Parse("holdfast", flags, nil, os.ReadFile); err != nil && whole {
			t.Errorf("%s: %v", where, err)
		}
		return
	}
	path := []string{}
	for _, w := range words {
		help := helpOf(t, path...)
		if !strings.Contains(help, "[command]") {
			break
		}
		if strings.HasPrefix(w, "-") {
			break
		}
		if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(w) + ` `).MatchString(help) {
			t.Errorf("%s: there is no command %q in \"holdfast %s\"", where, w, strings.Join(path, " "))
			return
		}
		path = append(path, w)
	}
	help := helpOf(t, path...)
	for _, w := range words[len(path):] {
		name, _, _ := strings.Cut(w, "=")
		if strings.HasPrefix(w, "-") && len(w) > 1 && !regexp.MustCompile(`(^|[\s,])`+regexp.QuoteMeta(name)+`\b`).MatchString(help) {
			t.Errorf("%s: \"holdfast %s\" has no flag %s", where, strings.Join(path, " "), name)
		}
	}
}

// TestDocsCommands: every command and flag of holdfast that a page shows is there, also where it cannot be run.
func TestDocsCommands(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, b := range blocksOf(t, page) {
			for _, words := range commandLines(b) {
				checkLine(t, fmt.Sprintf("%s:%d", b.page, b.line), words)
				n++
			}
		}
	}
	if n < 80 {
		t.Errorf("only %d commands were found", n)
	}
}

// TestDocsLinks: what a page links to is there.
func TestDocsLinks(t *testing.T) {
	linked := map[string]bool{}
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := filepath.Join(filepath.Dir(page), m[1])
			linked[target] = true
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
	for _, page := range pages(t) {
		if !linked[page] && page != "README.md" {
			t.Errorf("no page links to %s", page)
		}
	}
}
