package config

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Document writes docs/configuration.md: the table as Markdown. It returns the first error of w.
func Document(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Configuration

This page is written from the table of settings in internal/config; edit the table, then run
` + "`go test ./internal/config -run TestDocumentIsCurrent -rewrite`" + `.

A setting comes from the first of these that has it:

1. the flag: ` + "`--name value`, `--name=value`, or one dash instead of two; a bool alone means true; given twice, the last wins" + `;
2. the environment variable ` + "`HOLDFAST_NAME`" + ` (upper case, underscores for dashes);
3. the environment variable ` + "`ETCD_NAME`" + `, for the settings that etcd has;
4. the default. Under the name etcd every default is etcd's; where the name holdfast has another, both are shown.

An environment variable that is empty counts as absent. One that begins with ` + "`HOLDFAST_` or `ETCD_`" + ` and belongs to no setting
gives a warning. A flag or key that is no setting is refused.

With ` + "`--config-file`" + ` (or ` + "`HOLDFAST_CONFIG_FILE`, `ETCD_CONFIG_FILE`" + `) every setting comes from that YAML file, under the name of its
flag, and other flags and the environment are ignored with a warning. A bare number for a duration is nanoseconds, as in etcd; a
text such as ` + "`5s`" + ` is accepted too. Lists are YAML lists or texts with commas. A key without a value counts as absent.

    name: alpha
    data-dir: /var/lib/holdfast
    listen-client-urls: http://0.0.0.0:2379
    advertise-client-urls: http://alpha.example:2379
    warning-apply-duration: 100ms
`)
	for _, section := range Sections() {
		fmt.Fprintf(&b, "\n## %s\n", section)
		for _, s := range Flags() {
			if s.Section == section {
				s.document(&b)
			}
		}
	}
	documentGates(&b)
	b.WriteString("\n## Keys that only the file has\n\n" +
		"As in etcd's file, some settings may stand under a heading of their own, with shorter names:\n\n")
	for _, section := range sections {
		for _, key := range slices.Sorted(maps.Keys(section.keys)) {
			if name := section.keys[key]; name != "" {
				fmt.Fprintf(&b, "- `%s.%s` is `%s`\n", section.name, key, name)
			}
		}
	}
	b.WriteString("\n## Settings that etcd 3.7 refuses\n\nSo does Holdfast, with a sentence that says why:\n\n")
	for _, name := range slices.Sorted(maps.Keys(removed)) {
		fmt.Fprintf(&b, "- `%s`: %s.\n", name, removed[name])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Setting) document(b *strings.Builder) {
	fmt.Fprintf(b, "\n### `--%s`\n\n%s\n\n", s.Name, s.Description())
	fmt.Fprintf(b, "- Kind: %s", s.Kind)
	switch {
	case len(s.OneOf) > 1:
		fmt.Fprintf(b, " (%s)", orList(s.OneOf))
	case s.Min != 0 || s.Max != 0:
		fmt.Fprintf(b, ", from %s to %s", s.formatNumber(s.Min), s.formatNumber(s.Max))
	}
	b.WriteString("\n")
	if s.Default != "" {
		fmt.Fprintf(b, "- Default: `%s`", s.Default)
		if s.EtcdDefault != "" {
			fmt.Fprintf(b, " (under the name etcd: `%s`)", s.EtcdDefault)
		}
		b.WriteString("\n")
	}
	if s.Name != "version" {
		fmt.Fprintf(b, "- Environment: `%s`\n", strings.Join(s.Environment(), "`, `"))
	}
	if s.Own {
		b.WriteString("- Holdfast's own; etcd has no such setting.\n")
	}
}
