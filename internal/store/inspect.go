package store

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// families lists what Inspect prints of each family.
var families = []struct {
	first byte
	name  string
}{
	{FamilyMeta, "meta"},
	{FamilyVersion, "versions"},
	{FamilyHistory, "history"},
	{FamilyLease, "leases"},
	{FamilyAuth, "auth"},
	{FamilyMember, "members"},
	{FamilyAlarm, "alarms"},
}

// Describer prints what a record of its family means, in one line without an end of line.
type Describer func(key, value []byte) string

// Dump says what Inspect prints beside the summary.
type Dump struct {
	Records  bool               // every record
	Describe map[byte]Describer // by family; a family without one is printed in Pebble's way
}

// Inspect opens the store in dir for reading and writes to w what it is: whose, where it stands, and how many records
// and bytes each family has; and each record if d asks for them. The member must not be running. The error is that of
// opening, reading or writing to w; Check finds all broken files.
func Inspect(fs vfs.FS, dir string, w io.Writer, d Dump) (err error) {
	db, err := OpenReadOnly(fs, dir, Options{})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := db.Close(false); err == nil {
			err = closeErr
		}
	}()
	a, err := db.Applied()
	if err != nil {
		return err
	}
	out := &printer{w: w}
	out.line("store            %s, format %d", dir, FormatVersion)
	out.line("identity         %v", db.Identity)
	out.line("applied          index %d, term %d", a.Position.Index, a.Position.Term)
	out.line("revision         %d, compacted %d", a.Revision, a.Compacted)
	out.line("digest           %016x", a.Digest)
	out.line("elapsed          %d ns", a.Elapsed)
	out.line("machine version  %d", a.MachineVersion)
	out.line("live             %d keys, %d bytes, %d versions", a.LiveKeys, a.LiveBytes, a.Versions)
	out.line("on disk          %d bytes", db.Usage())
	for _, family := range families {
		records, size := 0, 0
		lower, upper := FamilyBounds(family.first)
		describe := d.Describe[family.first]
		if describe == nil {
			describe = describeRaw
		}
		err := db.Visit(lower, upper, func(key, value []byte) error {
			records++
			size += len(key) + len(value)
			if d.Records {
				out.line("%s", describe(key, value))
			}
			return out.err
		})
		if err != nil {
			return err
		}
		out.line("%-16s %d records, %d bytes", family.name, records, size)
	}
	return out.err
}

// describeRaw prints a record that nobody has a word for.
func describeRaw(key, value []byte) string {
	return fmt.Sprintf("%v = %q", Comparer.FormatKey(key), value)
}

// printer keeps the first error of a writer, so that the lines above need no check each.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
