package cli

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"holdfast/internal/servertest"
)

// An interactive watch shows several watches of one input, runs their commands, and tells progress when asked.
func TestInteractiveWatch(t *testing.T) {
	server := servertest.Start(t)
	endpoint := strings.TrimPrefix(server.Endpoint(), "http://")
	run := func(args ...string) {
		t.Helper()
		var out bytes.Buffer
		if code := Main(testVersion, append([]string{"etcdctl", "--endpoints", endpoint}, args...), strings.NewReader(""), &out, &out); code != 0 {
			t.Fatalf("%v exits with %d: %s", args, code, out.String())
		}
	}
	run("put", "a", "1")
	run("put", "b", "2")
	stdin, input := io.Pipe()
	shown, stdout := io.Pipe()
	var problems bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- Main(testVersion, []string{"etcdctl", "--endpoints", endpoint, "watch", "-i"}, stdin, stdout, &problems)
		_ = stdout.Close()
	}()
	lines := bufio.NewScanner(shown)
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if !lines.Scan() || lines.Text() != w {
				t.Fatalf("it shows %q, want %q", lines.Text(), w)
			}
		}
	}
	say := func(line string) {
		t.Helper()
		if _, err := io.WriteString(input, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	say("watch a --rev 2 -- echo seen")
	expect("PUT", "a", "1", "seen")
	say(`watch --rev=3 "b"`)
	expect("PUT", "b", "2")
	run("put", "a", "3")
	expect("PUT", "a", "3", "seen")
	run("del", "b")
	expect("DELETE", "b", "")
	run("put", "c", "4")
	say("progress")
	// Every watch of the stream is told the progress.
	expect("progress notify: 6", "progress notify: 6")
	_ = input.Close()
	if c := <-code; c != exitBadInput || !strings.Contains(problems.String(), "error reading watch request line: EOF") {
		t.Errorf("it exits with %d and says %s", c, problems.String())
	}
}
