package cli

import (
	"fmt"
	"strings"

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
		RunE: action(func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			shell := strings.Join(args, " ")
			switch shell {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return failed(exitFailed, fmt.Errorf("%q is no shell; choose one of bash, zsh, fish and powershell", shell))
		}),
	}
}
