package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"holdfast/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// python is Debian's, with Debian's unmodified etcd3 package.
const python = "/usr/bin/python3"

type telling struct {
	stdout, stderr string
	code           int
}

func inGo(t *testing.T, args ...string) telling {
	var stdout, stderr bytes.Buffer
	code := run(args, &stdout, &stderr)
	return telling{stdout.String(), stderr.String(), code}
}

func inPython(t *testing.T, args ...string) telling {
	t.Helper()
	if words, err := exec.Command(python, "-c", "import etcd3").CombinedOutput(); err != nil {
		t.Skipf("the lab in Python needs %s with the package etcd3 (Debian: apt install python3-etcd3): %v\n%s", python, err, words)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(python, append([]string{"lab.py"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // Its exit code says the same.
	return telling{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// languages are the two tellings.
var languages = map[string]func(*testing.T, ...string) telling{"go": inGo, "python": inPython}

// tellEverywhere tells the story in both languages, one after the other: it ends well and reads the same.
func tellEverywhere(t *testing.T, args ...string) {
	t.Helper()
	want, err := os.ReadFile("testdata/story.txt")
	if err != nil {
		t.Fatal(err)
	}
	for language, tell := range languages {
		t.Run("in "+language, func(t *testing.T) {
			got := tell(t, args...)
			if got.code != 0 {
				t.Fatalf("it ended with %d: %s\nafter it had told:\n%s", got.code, got.stderr, got.stdout)
			}
			if got.stdout != string(want) {
				t.Errorf("it told:\n%s\nwant:\n%s", got.stdout, want)
			}
			if got.stderr != "" {
				t.Errorf("it complained:\n%s", got.stderr)
			}
		})
	}
}

// TestLab tells the story to one server in both languages: what one telling leaves behind does not disturb the next.
func TestLab(t *testing.T) {
	t.Parallel()
	tellEverywhere(t, "--endpoint", strings.TrimPrefix(servertest.Start(t).Endpoint(), "http://"))
}

// TestNobodyThere: without a server the lab ends with 1 and says what to do.
func TestNobodyThere(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for its timeout")
	}
	for language, tell := range languages {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			got := tell(t, "--endpoint", "127.0.0.1:1")
			if got.code != 1 || !strings.Contains(got.stderr, `start one with "holdfast"`) {
				t.Errorf("it ended with %d: %s", got.code, got.stderr)
			}
		})
	}
}

// TestChecksBite: a store that answers something else is noticed.
func TestChecksBite(t *testing.T) {
	if err := check("the version", 2, 1); err == nil || err.Error() != "the version: saw 2, expected 1" {
		t.Errorf("the check said %v", err)
	}
	if err := checks(nil, check("the hosts", []string{"a"}, []string{"b"})); err == nil {
		t.Error("the check said nothing")
	}
}
