package parity

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Difference is one place where two answers disagree.
type Difference struct {
	// Path leads to the field, as in [0].kvs[2].lease; code and text are those of the status.
	Path string
	// Field is the full name of the field, or empty where no field is concerned.
	Field       protoreflect.FullName
	Left, Right string
}

func (d Difference) String() string { return fmt.Sprintf("%s: %s against %s", d.Path, d.Left, d.Right) }

// Compare lists every difference between two answers, in the order of the answers' fields, leaving out the fields of ignored.
func Compare(left, right Answer) []Difference {
	var c comparison
	if l, r := left.Status.Code(), right.Status.Code(); l != r {
		c.add("code", "", l.String(), r.String())
	}
	if l, r := left.Status.Message(), right.Status.Message(); l != r {
		c.add("text", "", fmt.Sprintf("%q", l), fmt.Sprintf("%q", r))
	}
	if l, r := len(left.Messages), len(right.Messages); l != r {
		c.add("messages", "", fmt.Sprint(l), fmt.Sprint(r))
	}
	for i := range min(len(left.Messages), len(right.Messages)) {
		c.message(fmt.Sprintf("[%d]", i), left.Messages[i].ProtoReflect(), right.Messages[i].ProtoReflect())
	}
	return c.found
}

type comparison struct{ found []Difference }

func (c *comparison) add(path string, field protoreflect.FullName, left, right string) {
	c.found = append(c.found, Difference{path, field, left, right})
}

func (c *comparison) message(path string, left, right protoreflect.Message) {
	if l, r := left.Descriptor().FullName(), right.Descriptor().FullName(); l != r {
		c.add(path, "", string(l), string(r))
		return
	}
	fields := left.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); ignored[f.FullName()] == "" {
			c.field(path+"."+string(f.Name()), f, left, right)
		}
	}
	if l, r := left.GetUnknown(), right.GetUnknown(); !bytes.Equal(l, r) {
		c.add(path+".unknown", "", fmt.Sprintf("%x", []byte(l)), fmt.Sprintf("%x", []byte(r)))
	}
}

func (c *comparison) field(path string, f protoreflect.FieldDescriptor, left, right protoreflect.Message) {
	// Presence is compared before content, for an absent message differs from an empty one on the wire.
	if f.HasPresence() && left.Has(f) != right.Has(f) {
		c.add(path, f.FullName(), presence(left, f), presence(right, f))
		return
	}
	l, r := left.Get(f), right.Get(f)
	switch {
	case f.IsMap():
		// The API has no maps today; one that is added must not pass unseen.
		c.add(path, f.FullName(), "a map", "which Compare cannot compare")
	case f.IsList():
		if l.List().Len() != r.List().Len() {
			c.add(path, f.FullName(), fmt.Sprintf("%d elements", l.List().Len()), fmt.Sprintf("%d elements", r.List().Len()))
		}
		for i := range min(l.List().Len(), r.List().Len()) {
			c.value(fmt.Sprintf("%s[%d]", path, i), f, l.List().Get(i), r.List().Get(i))
		}
	case f.HasPresence() && !left.Has(f):
	default:
		c.value(path, f, l, r)
	}
}

func (c *comparison) value(path string, f protoreflect.FieldDescriptor, left, right protoreflect.Value) {
	if f.Message() != nil {
		c.message(path, left.Message(), right.Message())
		return
	}
	if !left.Equal(right) {
		c.add(path, f.FullName(), printed(f, left), printed(f, right))
	}
}

func presence(m protoreflect.Message, f protoreflect.FieldDescriptor) string {
	if !m.Has(f) {
		return "absent"
	}
	if f.Message() != nil && !f.IsList() {
		return describe(m.Get(f).Message().Interface())
	}
	return printed(f, m.Get(f))
}

func printed(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.BytesKind:
		return fmt.Sprintf("%q", v.Bytes())
	case protoreflect.StringKind:
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprint(v.Interface())
}

// clone copies an answer, so that a test can alter the copy.
func clone(a Answer) Answer {
	copied := Answer{Status: a.Status}
	for _, m := range a.Messages {
		copied.Messages = append(copied.Messages, proto.Clone(m))
	}
	return copied
}
