package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAskPassword types a password on a pseudo-terminal, which must not show it.
func TestAskPassword(t *testing.T) {
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	defer keyboard.Close()
	fd := int(keyboard.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()

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
