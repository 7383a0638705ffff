package datadir

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxSealedBytes bounds what is read of one of the text files.
const maxSealedBytes = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal writes lines in the form that the three text files share. No line may hold a line break.
func seal(magic string, lines ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nformat %d\n", magic, FormatVersion)
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "checksum %08x\n", crc32.Checksum([]byte(b.String()), castagnoli))
	return []byte(b.String())
}

// unseal is the inverse of seal: it checks checksum, magic and version, in this order, and returns the lines between.
// The error is a *Corruption or an ErrNewerFormat; path is only for their texts.
func unseal(magic, path string, content []byte) ([]string, error) {
	text := string(content)
	at := strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n") + 1
	if want := fmt.Sprintf("checksum %08x\n", crc32.Checksum(content[:at], castagnoli)); text[at:] != want {
		return nil, &Corruption{path, int64(at), fmt.Sprintf("the checksum line should be %q", strings.TrimSuffix(want, "\n"))}
	}
	lines := strings.Split(text[:at], "\n") // The last element is empty: text[:at] ends in a line break.
	if lines[0] != magic {
		return nil, &Corruption{path, 0, fmt.Sprintf("the first line is not %q", magic)}
	}
	version, ok := strings.CutPrefix(lines[1], "format ")
	n, err := strconv.ParseUint(version, 10, 32)
	if !ok || err != nil || n == 0 || strconv.FormatUint(n, 10) != version {
		return nil, &Corruption{path, int64(len(magic)) + 1, "the second line is no format version"}
	}
	if n > FormatVersion {
		return nil, refuse(ErrNewerFormat, "%s has format %d, but this program knows only %d: it was made by a newer "+
			"Holdfast. Start that version or a newer one.", path, n, FormatVersion)
	}
	return lines[2 : len(lines)-1], nil
}

// writeSealed replaces the named file atomically. When it returns without an error the new content will survive a
// power cut; after an error it is either the old or the new.
func (d *Dir) writeSealed(name string, content []byte) error {
	if err := d.writeSealedSteps(name, content); err != nil {
		return fmt.Errorf("write %s: %w", d.join(name), err)
	}
	return nil
}

func (d *Dir) writeSealedSteps(name string, content []byte) error {
	tmp := d.join(name + tmpSuffix)
	f, err := d.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	d.narrow(tmp)
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.fs.Rename(tmp, d.join(name)); err != nil {
		return err
	}
	return d.sync()
}

// readSealed returns the content of the named file, at most maxSealedBytes of it, and whether it exists.
func (d *Dir) readSealed(name string) (content []byte, exists bool, err error) {
	f, err := d.fs.Open(d.join(name))
	if oserror.IsNotExist(err) {
		return nil, false, nil
	}
	if err == nil {
		content, err = io.ReadAll(io.LimitReader(f, maxSealedBytes))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", d.join(name), err)
	}
	return content, true, nil
}

// sync makes the directory's entries durable.
func (d *Dir) sync() error { return syncDir(d.fs, d.path) }

func syncDir(fs vfs.FS, path string) error {
	f, err := fs.OpenDir(path)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}
