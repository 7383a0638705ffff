package config

import (
	"fmt"
	"io"
	"strings"
)

// helpWidth is how long a line of the help may be, in bytes.
const helpWidth = 100

// Help writes the help text of the server: how to start it and every setting by section, with the defaults that
// hold under the name of the program. It returns the first error of w.
func Help(w io.Writer, program string) error {
	var b strings.Builder
	serve := program + " [serve] [flags]"
	if program == etcdProgram {
		serve = program + " [flags]"
	}
	fmt.Fprintf(&b, "Usage:\n\n  %s\n    Start a member.\n\n  %s --version\n    Print the version and exit.\n\n", serve, program)
	b.WriteString(wrap("A flag may be written --name value or --name=value. A setting comes from its flag, else from the "+
		"environment variable HOLDFAST_NAME (dashes become underscores), else from ETCD_NAME, else it has its default. "+
		"With --config-file every setting comes from that file.", "", helpWidth))
	for _, section := range Sections() {
		fmt.Fprintf(&b, "\n%s:\n", section)
		for _, s := range Flags() {
			if s.Section != section {
				continue
			}
			flag := "  --" + s.Name + s.placeholder(program)
			if len(flag) > helpWidth { // the default gets a line of its own
				flag = "  --" + s.Name + "\n   " + s.placeholder(program)
			}
			b.WriteString(flag + "\n")
			b.WriteString(wrap(s.Description(), "    ", helpWidth))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Setting) placeholder(program string) string {
	if s.Kind == Bool && s.DefaultFor(program) == "false" {
		return ""
	}
	return " '" + s.DefaultFor(program) + "'"
}

// wrap breaks text into lines of at most width bytes that begin with indent; a word longer than that stands alone.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for _, word := range strings.Fields(text) {
		switch {
		case line == indent:
			line += word
		case len(line)+1+len(word) > width:
			b.WriteString(line + "\n")
			line = indent + word
		default:
			line += " " + word
		}
	}
	b.WriteString(line + "\n")
	return b.String()
}
