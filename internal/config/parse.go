package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/internal/invariant"
)

// The refusals of Parse. Each error that Parse returns is one of them by errors.Is and reads as sentences that say
// what to do.
var (
	// ErrHelp means that help was asked for: print it with Help, and exit with 0.
	ErrHelp = errors.New("help was asked for")
	// ErrUnknown means a flag or key that is no setting.
	ErrUnknown = errors.New("unknown setting")
	// ErrValue means a value that is not allowed.
	ErrValue = errors.New("value not allowed")
	// ErrFile means a configuration file that cannot be read.
	ErrFile = errors.New("configuration file cannot be read")
)

// refusal is a sentence that is also one of the sentinels above.
type refusal struct {
	kind error
	text string
	// cause is the error of the system underneath, if there is one.
	cause error
}

func (r *refusal) Error() string { return r.text }

func (r *refusal) Unwrap() []error {
	if r.cause == nil {
		return []error{r.kind}
	}
	return []error{r.kind, r.cause}
}

func valueError(format string, args ...any) error {
	return &refusal{kind: ErrValue, text: fmt.Sprintf(format, args...)}
}

func unknownError(format string, args ...any) error {
	return &refusal{kind: ErrUnknown, text: fmt.Sprintf(format, args...)}
}

// refuse says that the row does not take value. from names the place that the value stands in, where that is not
// the flag.
func (s Setting) refuse(value, from, complaint string) error {
	if from != "" {
		from = " (from " + from + ")"
	}
	return valueError("--%s is %q%s, but %s", s.Name, value, from, complaint)
}

// given is one value as it was found.
type given struct {
	text   string
	source Source
	// from names the place for people where it is not the flag: an environment variable or a file.
	from string
}

// Parse reads the settings of a server. program is the name that it was called by, of which only "etcd" changes
// anything (C5); args are the arguments after the program's name (and after "serve"); environ is as os.Environ
// gives it; readFile reads the configuration file if one is named.
//
// The error is ErrHelp, ErrUnknown, ErrValue or ErrFile; the Config is then not usable. If the version is asked
// for, Config.Version is set and nothing else is. Warnings come in a fixed order.
func Parse(program string, args, environ []string, readFile func(path string) ([]byte, error)) (Config, []Warning, error) {
	flags, err := scanFlags(args)
	if err != nil {
		return Config{}, nil, err
	}
	c := Config{Program: program}
	if v, ok := flags["version"]; ok {
		s, _ := lookup("version")
		if complaint := s.decode(&c, v.text); complaint != "" {
			return Config{}, nil, s.refuse(v.text, "", complaint)
		}
		if c.Version {
			return c, nil, nil
		}
	}
	env, warnings := scanEnvironment(environ, flags)
	values := merge(flags, env)

	path := values["config-file"]
	if path.text != "" {
		if ignored := ignoredNames(flags, env); len(ignored) > 0 {
			warnings = append(warnings, Warning(fmt.Sprintf("The settings come from the file %s; these are ignored: %s.",
				path.text, strings.Join(ignored, ", "))))
		}
		values, err = readSettings(path.text, readFile)
		if err != nil {
			return Config{}, warnings, err
		}
	}

	if err := c.fill(values); err != nil {
		return Config{}, warnings, err
	}
	c.ConfigFile = path.text
	c.sources["config-file"] = path.source
	if err := c.checkRows(values); err != nil {
		return Config{}, warnings, err
	}
	isGiven := func(name string) bool { return values[name].source != FromDefault }
	warnings = append(warnings, c.complete(isGiven)...)
	if err := c.checkTogether(isGiven); err != nil {
		return Config{}, warnings, err
	}
	return c, warnings, nil
}

// Default returns the settings of a program that was given none.
func Default(program string) Config {
	c, _, err := Parse(program, nil, nil, nil)
	invariant.Check(err == nil, "the defaults are refused: %v", err)
	return c
}

// fill decodes the values and, where there is none, the defaults.
func (c *Config) fill(values map[string]given) error {
	c.sources = make(map[string]Source, len(values))
	for _, s := range table {
		if v, ok := values[s.Name]; ok {
			if complaint := s.decode(c, v.text); complaint != "" {
				return s.refuse(v.text, v.from, complaint)
			}
			c.sources[s.Name] = v.source
			continue
		}
		if d := s.DefaultFor(c.Program); !strings.Contains(d, "${") {
			complaint := s.decode(c, d)
			invariant.Check(complaint == "", "the default of --%s is refused: it %s", s.Name, complaint)
		}
	}
	return nil
}

// merge takes the strongest value of each setting (C2).
func merge(flags, env map[string]given) map[string]given {
	values := maps.Clone(env)
	maps.Copy(values, flags)
	return values
}

func ignoredNames(flags, env map[string]given) []string {
	var names []string
	for _, values := range []map[string]given{flags, env} {
		for name, v := range values {
			if name == "config-file" || name == "version" {
				continue
			}
			if v.from == "" {
				v.from = "--" + name
			}
			names = append(names, v.from)
		}
	}
	slices.Sort(names)
	return names
}

// scanFlags finds the flags among the arguments without reading their values. It takes what Go's flag package
// takes: one or two dashes, a value after = or as the next argument, none for a bool; the last of doubles wins.
func scanFlags(args []string) (map[string]given, error) {
	flags := map[string]given{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
		if arg == "--" && len(args) == 0 {
			break
		}
		if name == arg || name == "" {
			return nil, unknownError("%q is not a flag: flags begin with --, and a bool that is false is written "+
				"--flag=false. See --help.", strayArgument(arg, args))
		}
		name, value, hasValue := strings.Cut(name, "=")
		if name == "help" || name == "h" {
			return nil, ErrHelp
		}
		s, ok := lookup(name)
		switch {
		case !ok:
			return nil, unknownName("--", name)
		case hasValue:
		case s.Kind == Bool:
			value = "true"
		case len(args) == 0:
			return nil, valueError("--%s needs a value: write --%s=value.", name, name)
		default:
			value, args = args[0], args[1:]
		}
		flags[name] = given{text: value, source: FromFlag}
	}
	return flags, nil
}

func strayArgument(arg string, rest []string) string {
	if arg == "--" {
		return rest[0]
	}
	return arg
}

// scanEnvironment finds the settings in the environment. An empty variable counts as absent, as in etcd. flags are
// those found before, for the warnings about what they hide.
func scanEnvironment(environ []string, flags map[string]given) (map[string]given, []Warning) {
	found := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if value != "" && (strings.HasPrefix(name, holdfastPrefix) || strings.HasPrefix(name, etcdPrefix)) {
			found[name] = value
		}
	}
	env := map[string]given{}
	var warnings []Warning
	for _, s := range table {
		winner := ""
		if _, ok := flags[s.Name]; ok {
			winner = "--" + s.Name
		}
		for _, name := range s.Environment() {
			value, ok := found[name]
			delete(found, name)
			switch {
			case !ok:
			case s.Name == "version":
				warnings = append(warnings, Warning(name+" is set and ignored: --version is a flag only."))
			case winner != "":
				warnings = append(warnings, Warning(fmt.Sprintf("%s is set and ignored: %s is stronger.", name, winner)))
			default:
				winner = name
				source := FromHoldfastEnvironment
				if strings.HasPrefix(name, etcdPrefix) {
					source = FromEtcdEnvironment
				}
				env[s.Name] = given{text: value, source: source, from: name}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		warnings = append(warnings, unknownVariable(name))
	}
	return env, warnings
}
