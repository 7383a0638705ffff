package holdfast_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"holdfast/internal/config"
)

// accepted checks a command line as the server would.
func accepted(t *testing.T, what string, args []string) {
	t.Helper()
	if len(args) == 0 || args[0] != "serve" {
		t.Errorf("%s does not serve: %q", what, args)
		return
	}
	c, _, err := config.Parse("holdfast", args[1:], nil, nil)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if err := c.CheckBootstrap(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// TestCompose: the settings of the compose file are those that the server takes.
func TestCompose(t *testing.T) {
	text, err := os.ReadFile("packaging/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct{ Command string }
		Volumes  map[string]any
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) != 3 || len(file.Volumes) != 3 {
		t.Fatalf("%d services, %d volumes", len(file.Services), len(file.Volumes))
	}
	for name, s := range file.Services {
		accepted(t, name, strings.Fields(s.Command))
	}
}

// TestStatefulSet: the settings of the StatefulSet are those that the server takes, for each of its pods.
func TestStatefulSet(t *testing.T) {
	text, err := os.ReadFile("packaging/kubernetes/statefulset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, document := range strings.Split(string(text), "\n---\n") {
		var o struct {
			Kind string
			Spec struct {
				Replicas int
				Template struct {
					Spec struct{ Containers []struct{ Args []string } }
				}
			}
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		if o.Kind != "StatefulSet" {
			continue
		}
		found = true
		for i := range o.Spec.Replicas {
			pod := "holdfast-" + string(rune('0'+i))
			var args []string
			for _, a := range o.Spec.Template.Spec.Containers[0].Args {
				args = append(args, strings.ReplaceAll(a, "$(POD)", pod))
			}
			accepted(t, pod, args)
		}
	}
	if !found {
		t.Error("there is no StatefulSet")
	}
}

// TestUnit: the variables of the systemd unit are settings, and the image runs what the server takes.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("packaging/holdfast.service")
	if err != nil {
		t.Fatal(err)
	}
	var environment []string
	for _, m := range regexp.MustCompile(`(?m)^Environment=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		environment = append(environment, m[1])
	}
	c, _, err := config.Parse("holdfast", nil, environment, nil)
	if err != nil || c.DataDir != "/var/lib/holdfast/member" || c.LogFormat != "json" {
		t.Errorf("%q: %v, data in %s", environment, err, c.DataDir)
	}
	image, err := os.ReadFile("packaging/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^CMD (\[.*\])$`).FindStringSubmatch(string(image))
	var args []string
	if m == nil || yaml.Unmarshal([]byte(m[1]), &args) != nil {
		t.Fatal("the image has no command")
	}
	accepted(t, "the image", args)
}

// TestReleaseVersion: the script of a release finds the version, and the variable that it stamps.
func TestReleaseVersion(t *testing.T) {
	script, err := os.ReadFile("scripts/release.sh")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("internal/server/version.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(script), "-X holdfast/internal/server.Version=") || !regexp.MustCompile(`(?m)^var Version = "[0-9]+\.[0-9]+\.[0-9]+"$`).Match(source) {
		t.Error("scripts/release.sh and internal/server/version.go do not fit")
	}
}
