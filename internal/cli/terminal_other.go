//go:build !linux

package cli

import "os"

// hideTyping is known on Linux only; elsewhere the password has to be given by flag or variable.
func hideTyping(*os.File) (restore func(), err error) {
	return nil, errNoTerminal
}
