package doctor

import (
	"fmt"
	"io"
	"strings"
)

const preface = `# holdfast doctor

` + "```sh" + `
holdfast doctor --endpoints=https://10.0.0.1:2379 --cacert=ca.crt --user=root
holdfast doctor --data-dir=/var/lib/holdfast
` + "```" + `

The first form looks at a running cluster: at the endpoints that are named, and at every member that these name. It asks them through
the API and reads /metrics and /readyz, and looks at the certificates that they show. The second form looks at the data directory of a
member that is stopped: it reads and checks every block of the log and of the store, which takes as long as the disk needs for that.

What is wrong is said in a sentence, the worst first, with the advice below it. Nothing is changed. The command exits with 0 if nothing
is wrong, with 1 if there are warnings, and with 2 if there are errors; ` + "`--write-out=json`" + ` writes the same for programs. An etcd cluster
can be looked at as well; what is read from metrics of Holdfast's own is then left out.

It is not a monitor: it sees one moment, and the histograms of the members since they were started. Of the values of a running cluster it
reads the first %d MiB in the order of the keys, of a data directory all.

Names in braces stand for what is found.
`

// Document writes docs/operations/doctor.md, which is made of the table.
func Document(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, preface, DefaultLimits().ScanBytes>>20)
	for _, part := range []struct {
		title string
		list  []Condition
	}{
		{"The cluster", clusterConditions}, {"A member", memberConditions},
		{"The way to a member", connectionConditions}, {"A data directory", directoryConditions},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| condition | | what is said | what to do |\n|---|---|---|---|\n", part.title)
		for _, c := range part.list {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.ID, c.Severity, cell(c.Sentence), cell(c.Advice))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;").Replace(text)
}
