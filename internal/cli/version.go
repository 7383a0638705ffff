package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	etcdversion "go.etcd.io/etcd/api/v3/version"
)

// Version is what the version command prints.
type Version struct {
	// Holdfast is the version of this build, as "0.1.0".
	Holdfast string
	// API is the version of the etcd API that it speaks, as "3.7".
	API string
}

func (f *family) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "version",
		Short:       "Print the version of this program and of the API it speaks",
		Annotations: map[string]string{localAnnotation: "true"},
		RunE: action(func(cmd *cobra.Command, args []string) error {
			s := &sink{w: cmd.OutOrStdout()}
			own := fmt.Sprintf("holdfast version: %s\n", f.version.Holdfast)
			api := fmt.Sprintf("API version: %s\n", f.version.API)
			if cmd.Root().Name() == "etcdctl" {
				// Scripts read the first line, and expect a version of etcd there.
				s.printf("etcdctl version: %s\n%s%s", etcdversion.Version, api, own)
			} else {
				s.printf("%s%s", own, api)
			}
			return s.err
		}),
	}
}
