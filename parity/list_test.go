package parity

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TestListsAreReasoned holds that nothing is excused without a reason, and that no error is both expected and called unprovokable.
func TestListsAreReasoned(t *testing.T) {
	for field, reason := range ignored {
		if d, err := protoregistry.GlobalFiles.FindDescriptorByName(field); err != nil || reason == "" {
			t.Errorf("ignored %s: reason %q, %v", field, reason, err)
		} else if _, ok := d.(protoreflect.FieldDescriptor); !ok {
			t.Errorf("ignored %s is no field", field)
		}
	}
	for _, k := range allKnown() {
		if k.Name == "" || k.Reason == "" {
			t.Errorf("a known difference without name or reason: %q %q", k.Name, k.Reason)
		}
	}
	for text, reason := range unprovoked {
		if reason == "" {
			t.Errorf("%q is called unprovokable without a reason", text)
		}
		for _, service := range services {
			for _, e := range service.Errors {
				if strings.EqualFold(e.Text, text) {
					t.Errorf("%q is provoked by %s and called unprovokable", text, service.Name)
				}
			}
		}
	}
}
