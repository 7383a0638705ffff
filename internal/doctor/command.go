package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/cli"
)

// Command returns "doctor", which exits with 0 if nothing is wrong, 1 after warnings and 2 after errors.
func Command() *cobra.Command {
	var dataDir string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with a cluster or a data directory, and what to do",
		Long: "Looks at a running cluster (--endpoints, and every member that these name), or at the data directory of a stopped member\n" +
			"(--data-dir), and says in plain sentences what is wrong and what to do, the worst first. It changes nothing.\n\n" +
			"Exits with 0 if nothing is wrong, with 1 if there are warnings, with 2 if there are errors.",
	}
	settings := cli.NewSettings(c)
	c.Flags().StringVar(&dataDir, "data-dir", "", "look at the `directory` of a stopped member instead of a cluster")
	c.RunE = cli.Action(func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return cli.BadArguments("doctor takes no arguments: name a cluster with --endpoints or a data directory with --data-dir")
		}
		if dataDir != "" && cmd.Flags().Changed("endpoints") {
			return cli.BadArguments("doctor looks at a cluster or at a data directory: give --endpoints or --data-dir, not both")
		}
		spec, timeout, form, err := settings.Read(cmd)
		if err != nil {
			return err
		}
		if form != "simple" && form != "json" {
			return cli.BadArguments("--write-out is %q, but doctor knows simple and json", form)
		}
		var findings []Finding
		if dataDir != "" {
			findings, err = Directory(cmd.Context(), dataDir, DirectoryOptions{})
		} else {
			findings, err = Cluster(cmd.Context(), Options{Spec: spec, Timeout: timeout})
		}
		if err != nil {
			return err
		}
		if err := write(cmd.OutOrStdout(), form, findings); err != nil {
			return err
		}
		if code := Code(findings); code != 0 {
			return cli.Exit(code, errors.New(summary(findings)))
		}
		return nil
	})
	return c
}

// write tells the findings.
func write(out io.Writer, form string, findings []Finding) error {
	if form == "json" {
		if findings == nil {
			findings = []Finding{}
		}
		b, err := json.Marshal(struct {
			Findings []Finding `json:"findings"`
			Errors   int       `json:"errors"`
			Warnings int       `json:"warnings"`
		}{findings, count(findings, Error), count(findings, Warning)})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, string(b))
		return err
	}
	for _, f := range findings {
		if _, err := fmt.Fprintf(out, "%s (%s): %s\n    %s\n", strings.ToUpper(f.Severity.String()), f.ID, f.Sentence, f.Advice); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, summary(findings))
	return err
}

func count(findings []Finding, s Severity) (n int) {
	for _, f := range findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

func summary(findings []Finding) string {
	many := func(n int, word string) string {
		if n == 1 {
			return "1 " + word
		}
		return fmt.Sprintf("%d %ss", n, word)
	}
	if len(findings) == 0 {
		return "Nothing is wrong."
	}
	return many(count(findings, Error), "error") + ", " + many(count(findings, Warning), "warning") + "."
}
