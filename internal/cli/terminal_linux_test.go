package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// pseudoTerminal returns the two ends of a pseudo-terminal: where somebody types and looks, and where a command reads.
func pseudoTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { keyboard.Close() })
	fd := int(keyboard.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return keyboard, terminal
}

// A new password is typed twice, and nothing is sent if it differs or is empty.
func TestNewPassword(t *testing.T) {
	for _, c := range []struct{ first, second, want, refusal string }{
		{"sesame\n", "sesame\n", "sesame", ""},
		{"sesame\n", "sesam\n", "", "given passwords are different"},
		{"\n", "\n", "", "empty password"},
	} {
		keyboard, terminal := pseudoTerminal(t)
		typist := &turnTypist{keyboard: keyboard, types: []string{c.first, c.second}}
		cmd := &cobra.Command{}
		cmd.SetIn(terminal)
		cmd.SetErr(typist)
		got, err := newPassword(cmd, "alice", true)
		if got != c.want || (err == nil) != (c.refusal == "") || err != nil && err.Error() != c.refusal {
			t.Errorf("%q and %q make %q, %v", c.first, c.second, got, err)
		}
		if !strings.HasPrefix(typist.shown.String(), "Password of alice: \n") {
			t.Errorf("the prompts are %q", typist.shown.String())
		}
	}
	cmd := &cobra.Command{}
	cmd.SetIn(strings.NewReader("sesame\n"))
	if _, err := newPassword(cmd, "alice", true); ExitCode(err) != exitBadArguments {
		t.Errorf("without a terminal: %v", err)
	}
	if got, err := newPassword(cmd, "alice", false); got != "sesame" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// turnTypist answers each prompt with its next line.
type turnTypist struct {
	keyboard *os.File
	types    []string
	shown    bytes.Buffer
}

func (p *turnTypist) Write(b []byte) (int, error) {
	if len(p.types) > 0 && bytes.HasSuffix(b, []byte(": ")) {
		if _, err := p.keyboard.WriteString(p.types[0]); err != nil {
			return 0, err
		}
		p.types = p.types[1:]
	}
	return p.shown.Write(b)
}

// TestAskPassword types a password on a pseudo-terminal, which must not show it.
func TestAskPassword(t *testing.T) {
	keyboard, terminal := pseudoTerminal(t)

	// The prompt comes when typing is hidden already, so what is typed after it can never be shown.
	prompted := promptTypist{keyboard: keyboard, types: "open sesame\n"}
	got, err := askPassword(terminal, &prompted)
	if err != nil || got != "open sesame" {
		t.Fatalf("read %q, %v", got, err)
	}
	if !strings.HasPrefix(prompted.shown.String(), "Password: ") {
		t.Errorf("the prompt was %q", prompted.shown.String())
	}
	if _, err := terminal.WriteString("end\n"); err != nil {
		t.Fatal(err)
	}
	screen := make([]byte, 100)
	n, err := keyboard.Read(screen)
	if err != nil || !bytes.HasPrefix(screen[:n], []byte("end")) {
		t.Errorf("the screen shows %q, %v", screen[:n], err)
	}
	after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil || after.Lflag&unix.ECHO == 0 {
		t.Errorf("typing stays hidden afterwards: %v", err)
	}
}

// promptTypist takes the prompt and answers it.
type promptTypist struct {
	keyboard *os.File
	types    string
	shown    bytes.Buffer
}

func (p *promptTypist) Write(b []byte) (int, error) {
	if p.types != "" {
		if _, err := p.keyboard.WriteString(p.types); err != nil {
			return 0, err
		}
		p.types = ""
	}
	return p.shown.Write(b)
}
