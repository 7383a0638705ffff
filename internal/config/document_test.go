package config

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "rewrite files that are made from the code")

// docs/configuration.md is what the table says.
func TestDocumentIsCurrent(t *testing.T) {
	const path = "../../docs/configuration.md"
	var want bytes.Buffer
	if err := Document(&want); err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the table says (%v); run go test ./internal/config -run TestDocumentIsCurrent -rewrite", path, err)
	}
}

// The help shows every setting under its section, with the defaults of the program, in lines that fit.
func TestHelp(t *testing.T) {
	for _, program := range []string{"holdfast", "etcd"} {
		var b strings.Builder
		if err := Help(&b, program); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		for _, s := range Flags() {
			if !strings.Contains(text, "\n  --"+s.Name) {
				t.Errorf("%s: the help does not show --%s", program, s.Name)
			}
		}
		if !strings.Contains(text, "--data-dir '${name}."+program+"'") {
			t.Errorf("%s: the help does not show the program's own default of --data-dir", program)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if len(line) > 100 {
				t.Errorf("%s: a line of %d bytes: %s", program, len(line), line)
			}
		}
	}
}

// C4: a setting without effect says why.
func TestNoEffectSaysWhy(t *testing.T) {
	found := 0
	for _, s := range Flags() {
		if s.NoEffect == "" {
			continue
		}
		found++
		if !strings.Contains(s.Description(), "has no effect because "+s.NoEffect) {
			t.Errorf("--%s has no effect and does not say why", s.Name)
		}
	}
	if found == 0 {
		t.Error("no setting is without effect; this test tests nothing")
	}
}
