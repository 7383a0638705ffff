package lint

import (
	"os/exec"
	"strings"
	"testing"
)

const repository = "../.."

// TestHouse holds the repository to every rule.
func TestHouse(t *testing.T) {
	tree, err := readTree(repository)
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.files) < 20 {
		t.Fatalf("only %d files were read; this test tests nothing", len(tree.files))
	}
	for _, rule := range Rules() {
		t.Run(rule.Name, func(t *testing.T) {
			found := rule.Check(tree)
			for _, f := range found {
				t.Errorf("%s:%d: %s", f.Path, f.Line, f.What)
			}
			if len(found) > 0 {
				t.Logf("The rule %s: %s", rule.Name, rule.Reason)
			}
		})
	}
}

// TestTools holds the main module to go vet and staticcheck.
func TestTools(t *testing.T) {
	if testing.Short() {
		t.Skip("they take a while; they run without -short")
	}
	for _, tool := range []struct {
		command string
		reason  string
	}{
		{"go vet ./...", "What vet finds is a mistake, or reads like one."},
		{"go tool staticcheck ./...", "What staticcheck finds is a mistake, or reads like one."},
	} {
		t.Run(tool.command, func(t *testing.T) {
			if message := runTool(repository, tool.command); message != "" {
				t.Errorf("%s\n%s says:\n%s", tool.reason, tool.command, message)
			}
		})
	}
}

// runTool returns what a command printed if it failed.
func runTool(dir, command string) string {
	words := strings.Fields(command)
	c := exec.Command(words[0], words[1:]...)
	c.Dir = dir
	output, err := c.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(output) + err.Error()
}
