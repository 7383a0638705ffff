package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (f *family) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion [bash|zsh|fish|powershell]",
		Short: "Print the script by which a shell completes commands and flags",
		Long: `Print the script by which a shell completes commands and flags. For this session:

  bash:        source <(PROGRAM completion bash)
  zsh:         source <(PROGRAM completion zsh)
  fish:        PROGRAM completion fish | source
  powershell:  PROGRAM completion powershell | Out-String | Invoke-Expression

where PROGRAM is the name of this program. For all sessions, write the output into a file that your shell reads
when it starts, such as /etc/bash_completion.d/PROGRAM, or _PROGRAM in a directory of zsh's fpath.`,
		Annotations:           map[string]string{localAnnotation: "true"},
		DisableFlagsInUseLine: true,
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return fmt.Errorf("unknown shell %q", args[0])
		}),
	}
}
