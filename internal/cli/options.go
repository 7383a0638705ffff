package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (f *family) optionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "options",
		Short:       "List the flags that every client command has",
		Annotations: map[string]string{localAnnotation: "true"},
		RunE: action(func(cmd *cobra.Command, args []string) error {
			flags := pflag.NewFlagSet("client", pflag.ContinueOnError)
			(&globals{}).register(flags)
			s := &sink{w: cmd.OutOrStdout()}
			s.printf("The following options can be passed to any command:\n\n%s", flags.FlagUsages())
			return s.err
		}),
	}
}
