package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// notUnderHoldfast are commands that are there under the name of their program alone: what has no use for a data directory of
// Holdfast's, and what the client's command of the same name does.
var notUnderHoldfast = []string{"etcdutl defrag", "etcdutl version", "etcdutl completion"}

var flagName = regexp.MustCompile(`--[a-z0-9-]+`)

// TestNames walks the commands and flags of etcd's programs: the binary has each of them, under the name of the program and
// under its own.
func TestNames(t *testing.T) {
	binary, err := filepath.Abs(servertest.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"etcd", "etcdctl", "etcdutl"} {
		if err := os.Symlink(binary, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/commands.txt")
	if err != nil {
		t.Fatal(err)
	}
	everywhere := map[string][]string{}
	var lines [][]string
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[1] == "*":
			everywhere[words[0]] = words[2:]
		default:
			lines = append(lines, words)
		}
	}
	if len(lines) < 60 {
		t.Fatalf("the list has only %d commands", len(lines))
	}
	for _, words := range lines {
		n := len(words)
		for n > 0 && strings.HasPrefix(words[n-1], "--") {
			n--
		}
		program, command, flags := words[0], words[1:n], words[n:]
		check := func(path string, flags []string) {
			out, err := exec.Command(path, append(slices.Clone(command), "--help")...).CombinedOutput()
			if err != nil {
				t.Errorf("%s %s: %v", filepath.Base(path), strings.Join(command, " "), err)
				return
			}
			// A command that is not there shows the help of the one above it.
			if usage := filepath.Base(path) + " " + strings.Join(command, " "); !strings.Contains(string(out), usage) {
				t.Errorf("there is no %q", usage)
				return
			}
			have := flagName.FindAllString(string(out), -1)
			for _, f := range flags {
				if !slices.Contains(have, f) {
					t.Errorf("%s %s has no %s", filepath.Base(path), strings.Join(command, " "), f)
				}
			}
		}
		local := slices.Contains([]string{"version", "completion", "options"}, command[0])
		if local {
			check(filepath.Join(dir, program), flags)
		} else {
			check(filepath.Join(dir, program), append(slices.Clone(flags), everywhere[program]...))
		}
		if !slices.Contains(notUnderHoldfast, program+" "+strings.Join(command, " ")) {
			check(binary, flags)
		}
	}
}
