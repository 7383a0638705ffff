package cli

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefixes are the beginnings of the variables that hold settings; the first that is set and not empty wins.
var envPrefixes = []string{"HOLDFASTCTL_", "ETCDCTL_"}

// envIgnored are variables with such a beginning that are not settings of a flag: ETCDCTL_API once chose
// between two programs, and the watch command takes its keys from the others.
var envIgnored = []string{"API", "WATCH_KEY", "WATCH_RANGE_END"}

// applyEnvironment gives each setting of cmd that has no flag on the command line the value of its variable
// (C2). A variable that cannot be read as its setting is refused; one that belongs to no setting gets a
// warning, for it is probably misspelt.
func applyEnvironment(cmd *cobra.Command) error {
	known := map[string]bool{}
	for _, prefix := range envPrefixes {
		for _, name := range envIgnored {
			known[prefix+name] = true
		}
	}
	var failure error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[settingAnnotation] == nil {
			return
		}
		for _, prefix := range envPrefixes {
			known[envName(prefix, f.Name)] = true
		}
		if f.Changed || failure != nil {
			return
		}
		for _, prefix := range envPrefixes {
			name := envName(prefix, f.Name)
			value := os.Getenv(name)
			if value == "" {
				continue
			}
			if err := cmd.Flags().Set(f.Name, value); err != nil {
				failure = badArguments("the environment variable %s=%q does not fit the flag --%s: %w", name, value, f.Name, err)
			}
			return
		}
	})
	if failure == nil {
		warnUnknown(cmd.ErrOrStderr(), known)
	}
	return failure
}

func envName(prefix, flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func warnUnknown(stderr io.Writer, known map[string]bool) {
	var unknown []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		for _, prefix := range envPrefixes {
			if strings.HasPrefix(name, prefix) && !known[name] {
				unknown = append(unknown, name)
			}
		}
	}
	sort.Strings(unknown)
	for _, name := range unknown {
		fmt.Fprintf(stderr, "Warning: the environment variable %s belongs to no setting and is ignored; unset it or correct its name.\n", name)
	}
}
