package parity

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A mutation is one change to one field of a message.
type mutation struct {
	Path    string
	Kind    string // what was changed: number, bytes, presence, ...
	Ignored bool   // the field, or one that leads to it, is in ignored
}

// mutate applies the n-th possible mutation to m. It reports false if there are fewer.
func mutate(m proto.Message, n int) (mutation, bool) {
	w := walk{left: n}
	w.message("", false, m.ProtoReflect())
	return w.done, w.done.Kind != ""
}

// mutations lists all mutations of a message.
func mutations(m proto.Message) []mutation {
	var all []mutation
	for n := 0; ; n++ {
		done, ok := mutate(proto.Clone(m), n)
		if !ok {
			return all
		}
		all = append(all, done)
	}
}

type walk struct {
	left int // mutations still to be passed over
	done mutation
}

// try is called for each possible mutation in order and applies the one that was asked for. It reports whether the walk is over.
func (w *walk) try(path, kind string, ignored bool, apply func()) bool {
	if w.done.Kind == "" && w.left == 0 {
		apply()
		w.done = mutation{path, kind, ignored}
	}
	w.left--
	return w.done.Kind != ""
}

func (w *walk) message(path string, skipped bool, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := 0; i < fields.Len() && w.done.Kind == ""; i++ {
		f := fields.Get(i)
		w.field(path+"."+string(f.Name()), skipped || ignored[f.FullName()] != "", f, m)
	}
	w.try(path, "unknown field", skipped, func() { m.SetUnknown([]byte{0xfa, 0xf0, 0x04, 1, 'x'}) })
}

func (w *walk) field(path string, skipped bool, f protoreflect.FieldDescriptor, m protoreflect.Message) {
	switch {
	case f.IsList():
		w.list(path, skipped, f, m)
	case f.Message() != nil && m.Has(f):
		if w.try(path, "presence", skipped, func() { m.Clear(f) }) {
			return
		}
		w.message(path, skipped, m.Mutable(f).Message())
	case f.Message() != nil:
		w.try(path, "presence", skipped, func() { m.Mutable(f) })
	default:
		value, kind := other(f, m.Get(f))
		w.try(path, kind, skipped, func() { m.Set(f, value) })
	}
}

func (w *walk) list(path string, skipped bool, f protoreflect.FieldDescriptor, m protoreflect.Message) {
	n := m.Get(f).List().Len()
	if w.try(path, "one element more", skipped, func() {
		l := m.Mutable(f).List()
		l.Append(l.NewElement())
	}) || n == 0 {
		return
	}
	l := m.Mutable(f).List()
	if w.try(path, "one element less", skipped, func() { l.Truncate(n - 1) }) {
		return
	}
	for i := 0; i < n && w.done.Kind == ""; i++ {
		at := fmt.Sprintf("%s[%d]", path, i)
		if f.Message() != nil {
			w.message(at, skipped, l.Get(i).Message())
			continue
		}
		value, kind := other(f, l.Get(i))
		w.try(at, kind, skipped, func() { l.Set(i, value) })
	}
	if n > 1 && !l.Get(0).Equal(l.Get(1)) {
		w.try(path, "order", skipped, func() {
			first, second := l.Get(0), l.Get(1)
			l.Set(0, second)
			l.Set(1, first)
		})
	}
}

// other returns a value that differs from v, and what kind of value it is.
func other(f protoreflect.FieldDescriptor, v protoreflect.Value) (protoreflect.Value, string) {
	switch x := v.Interface().(type) {
	case bool:
		return protoreflect.ValueOfBool(!x), "bool"
	case int32:
		return protoreflect.ValueOfInt32(x + 1), "number"
	case int64:
		return protoreflect.ValueOfInt64(x + 1), "number"
	case uint32:
		return protoreflect.ValueOfUint32(x + 1), "number"
	case uint64:
		return protoreflect.ValueOfUint64(x + 1), "number"
	case string:
		return protoreflect.ValueOfString(x + "x"), "string"
	case []byte:
		return protoreflect.ValueOfBytes(append(append([]byte{}, x...), 'x')), "bytes"
	case protoreflect.EnumNumber:
		return protoreflect.ValueOfEnum(x + 1), "enum"
	}
	panic(fmt.Sprintf("%s is of a kind that mutations do not know yet", f.FullName()))
}

// fill sets every field of m, two elements to a list, down to the given depth.
func fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsList():
			for range 2 {
				l := m.Mutable(f).List()
				e := l.NewElement()
				if f.Message() != nil {
					if depth == 0 {
						continue
					}
					fill(e.Message(), depth-1)
				} else {
					e, _ = other(f, e)
				}
				l.Append(e)
			}
		case f.Message() != nil:
			if depth > 0 {
				fill(m.Mutable(f).Message(), depth-1)
			}
		default:
			value, _ := other(f, m.Get(f))
			m.Set(f, value)
		}
	}
}
