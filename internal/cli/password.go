package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// errNoTerminal is the refusal to ask for a password where nobody can hide what is typed.
var errNoTerminal = errors.New("no terminal to ask for the password; give it with --password, as --user name:password, or in HOLDFASTCTL_PASSWORD")

// askPassword asks for the password to log in with.
func askPassword(stdin io.Reader, stderr io.Writer) (string, error) {
	return askSecret(stdin, stderr, "Password: ")
}

// askSecret asks for a password on the terminal, which does not show what is typed.
func askSecret(stdin io.Reader, stderr io.Writer, prompt string) (string, error) {
	terminal, ok := stdin.(*os.File)
	if !ok {
		return "", errNoTerminal
	}
	restore, err := hideTyping(terminal)
	if err != nil {
		return "", errNoTerminal
	}
	defer restore()
	fmt.Fprint(stderr, prompt)
	line, err := bufio.NewReader(terminal).ReadString('\n')
	fmt.Fprintln(stderr)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
