package config

import (
	"strings"
)

// Setting is one row of the table.
type Setting struct {
	// Name is the flag's name without dashes, etcd's where etcd has it. It is the YAML key too.
	Name string
	// Section is the heading that the setting stands under in the help.
	Section Section
	// Kind says how a value is written.
	Kind Kind
	// Default is the default under the name holdfast, as it would be written in a flag.
	Default string
	// EtcdDefault is the default under the name etcd where that differs, else empty.
	EtcdDefault string
	// Help says what the setting does, in one or a few sentences.
	Help string
	// NoEffect is empty for a setting that works. Otherwise the setting is accepted so that command lines made
	// for etcd work, and this is the reason why it changes nothing: a clause that goes on after "because".
	NoEffect string
	// Own says that etcd has no such setting.
	Own bool
	// OnlyFlag says that the setting is not read from the configuration file: it chooses the file, or acts
	// before one is read.
	OnlyFlag bool
	// OneOf lists the allowed words, where only these are allowed.
	OneOf []string
	// Min and Max are the allowed range, in the unit of the kind (nanoseconds for a duration); no range is
	// checked where both are 0.
	Min, Max int64

	// field returns a pointer to the field of c that holds the value.
	field func(c *Config) any
	// check looks at a decoded value and returns what is wrong with it as a clause that goes on after "but", or
	// nothing.
	check func(c *Config) string
}

// Section is a heading of the help.
type Section string

// The sections, in the order of the help. The names are etcd's, except the last.
const (
	Member     Section = "Member"
	Clustering Section = "Clustering"
	Security   Section = "Security"
	Auth       Section = "Auth"
	Monitoring Section = "Profiling and Monitoring"
	Logging    Section = "Logging"
	Tracing    Section = "Distributed tracing"
	Features   Section = "Features"
	Unsafe     Section = "Unsafe feature"
	Holdfast   Section = "Holdfast"
)

// Sections lists the headings in the order of the help.
func Sections() []Section {
	return []Section{Member, Clustering, Security, Auth, Monitoring, Logging, Tracing, Features, Unsafe, Holdfast}
}

// Kind is the way that a value is written.
type Kind int

// The kinds. In a configuration file a text, word, duration or size is a string or a number, and a list is a
// string with commas or a YAML list.
const (
	Text         Kind = iota // any text
	Word                     // one of a few words
	Bool                     // true or false; a flag without a value means true
	Number                   // a whole number
	Milliseconds             // a whole number of milliseconds, or a duration such as 250ms
	Duration                 // a duration such as 250ms or 2h; a bare number in a configuration file is nanoseconds
	Bytes                    // a whole number of bytes, or a number with KiB, MiB or GiB
	TextList                 // texts with commas between them
	URLList                  // URLs with commas between them
	Members                  // name=URL pairs with commas between them
)

func (k Kind) String() string {
	return [...]string{"text", "word", "bool", "number", "milliseconds", "duration", "bytes", "list", "URL list", "members"}[k]
}

// Environment returns the environment variables of the setting, the stronger first.
func (s Setting) Environment() []string {
	upper := strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
	if s.Own {
		return []string{holdfastPrefix + upper}
	}
	return []string{holdfastPrefix + upper, etcdPrefix + upper}
}

// DefaultFor returns the default under the name of a program: "etcd" or anything else.
func (s Setting) DefaultFor(program string) string {
	if program == etcdProgram && s.EtcdDefault != "" {
		return s.EtcdDefault
	}
	return s.Default
}

// Description returns the help text, with the reason where the setting has no effect.
func (s Setting) Description() string {
	if s.NoEffect == "" {
		return s.Help
	}
	return s.Help + " Accepted for compatibility; has no effect because " + s.NoEffect + "."
}

// Flags returns the table in the order of the help. The caller may change the slice.
func Flags() []Setting {
	byOrder := make([]Setting, 0, len(table))
	for _, section := range Sections() {
		for _, s := range table {
			if s.Section == section {
				byOrder = append(byOrder, s)
			}
		}
	}
	return byOrder
}

func lookup(name string) (Setting, bool) {
	i, ok := rowByName[name]
	if !ok {
		return Setting{}, false
	}
	return table[i], true
}

var rowByName = func() map[string]int {
	m := make(map[string]int, len(table))
	for i, s := range table {
		m[s.Name] = i
	}
	return m
}()

const (
	holdfastPrefix = "HOLDFAST_"
	etcdPrefix     = "ETCD_"
	etcdProgram    = "etcd"
)
