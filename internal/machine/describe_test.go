package machine

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// describe prints a message in one stable line; the library's own text is unstable on purpose.
func describe(m protoreflect.ProtoMessage) string {
	var b strings.Builder
	describeMessage(&b, m.ProtoReflect())
	return b.String()
}

func describeMessage(b *strings.Builder, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	space := ""
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		v := m.Get(f)
		if f.IsList() {
			for j := range v.List().Len() {
				b.WriteString(space)
				describeField(b, f, v.List().Get(j))
				space = " "
			}
			continue
		}
		b.WriteString(space)
		describeField(b, f, v)
		space = " "
	}
}

func describeField(b *strings.Builder, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	fmt.Fprintf(b, "%s:", f.Name())
	switch f.Kind() {
	case protoreflect.MessageKind:
		b.WriteString("{")
		describeMessage(b, v.Message())
		b.WriteString("}")
	case protoreflect.BytesKind:
		fmt.Fprintf(b, "%q", v.Bytes())
	default:
		fmt.Fprintf(b, "%v", v.Interface())
	}
}
