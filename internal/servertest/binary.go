package servertest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// binaryVariable names a binary to test instead of building one.
const binaryVariable = "HOLDFAST_BINARY"

// buildPrefix begins the name of the directory that a process builds into; its number follows.
const buildPrefix = "holdfast-servertest-"

// Binary returns the path of the holdfast binary: the one that HOLDFAST_BINARY names, or else one that is built
// from the sources at the first call in this process. It fails the test, with the compiler's words, if it
// cannot be built.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatalf("no holdfast binary to test: %v", err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		return filepath.Abs(path)
	}
	removeOldBuilds()
	dir := buildDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "holdfast")
	build := exec.Command("go", "build", "-o", path, "holdfast/cmd/holdfast")
	if words, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build holdfast/cmd/holdfast: %w\n%s", err, words)
	}
	return path, nil
})

// Main runs the tests of a package and removes what Binary built. It returns the code to exit with. A package
// that does without it leaves its build to the next process that builds.
func Main(m *testing.M) int {
	code := m.Run()
	_ = os.RemoveAll(buildDir()) // What stays is removed by removeOldBuilds.
	return code
}

func buildDir() string {
	return filepath.Join(os.TempDir(), buildPrefix+strconv.Itoa(os.Getpid()))
}

// removeOldBuilds removes the builds of processes that are gone.
func removeOldBuilds() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), buildPrefix+"*"))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), buildPrefix))
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir)
		}
	}
}

// Result is what a command did.
type Result struct {
	Stdout, Stderr string
	Code           int // that it exited with
}

// Run runs the holdfast binary with args and waits until it ends. stdin may be empty. The test fails only if
// the binary could not be started.
func Run(t testing.TB, stdin string, args ...string) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(Binary(t), args...)
	cmd.Env = environment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	dieWithParent(cmd)
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			t.Fatalf("run holdfast %s: %v", strings.Join(args, " "), err)
		}
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}
