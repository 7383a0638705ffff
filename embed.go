package holdfast

import (
	"os"

	"holdfast/internal/config"
)

// InitialMember is one of the first members of a cluster: its name, and the URLs at which the others reach it.
type InitialMember = config.InitialMember

// ParseConfig returns the settings that the binary has with these flags, as in "--name=a". It reads the file of
// --config-file if that is among them, and never the environment. The error is a sentence that says what to do.
func ParseConfig(flags ...string) (Config, error) {
	c, _, err := config.Parse("holdfast", flags, nil, os.ReadFile)
	return c, err
}
