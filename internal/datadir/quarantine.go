package datadir

import (
	"fmt"
	"strconv"
	"strings"
)

// Quarantine is the mark of a member whose store is known to be wrong, the file QUARANTINE:
//
//	+------------------------------------+
//	| holdfast quarantine                |
//	| format 1                           |
//	| store store-3                      |  which store is wrong
//	| damaged false                      |  whether its files are damaged, so that nothing may be written to it
//	| cause "after entry 77 the ..."     |  a Go string literal, for people
//	| checksum 9b2c6e51                  |
//	+------------------------------------+
//
// It counts as long as that store is current.
type Quarantine struct {
	Store   string
	Damaged bool
	Cause   string
}

const quarantineMagic = "holdfast quarantine"

func encodeQuarantine(q Quarantine) []byte {
	return seal(quarantineMagic, "store "+q.Store, "damaged "+strconv.FormatBool(q.Damaged), "cause "+strconv.QuoteToASCII(q.Cause))
}

func decodeQuarantine(path string, content []byte) (q Quarantine, err error) {
	lines, err := unseal(quarantineMagic, path, content)
	if err != nil {
		return Quarantine{}, err
	}
	if len(lines) != 3 {
		return Quarantine{}, &Corruption{path, 0, fmt.Sprintf("it has %d lines between format and checksum, but must have 3", len(lines))}
	}
	q.Store, _ = strings.CutPrefix(lines[0], "store ")
	if _, ok := storeNumber(q.Store); !ok || lines[0] != "store "+q.Store {
		return Quarantine{}, &Corruption{path, lineOffset(content, 2), "it must name one store directory, such as store-1"}
	}
	damaged, _ := strings.CutPrefix(lines[1], "damaged ")
	if q.Damaged = damaged == "true"; lines[1] != "damaged true" && lines[1] != "damaged false" {
		return Quarantine{}, &Corruption{path, lineOffset(content, 3), "the line must be \"damaged\" and true or false"}
	}
	quoted, ok := strings.CutPrefix(lines[2], "cause ")
	if q.Cause, err = strconv.Unquote(quoted); !ok || err != nil || q.Cause == "" {
		return Quarantine{}, &Corruption{path, lineOffset(content, 4), "the line must be \"cause\" and a quoted text"}
	}
	return q, nil
}

// Quarantine returns the mark, if there is one about the current store. One about another store is removed: a repair has
// replaced that one. A directory that was opened for reading keeps it.
func (d *Dir) Quarantine() (q Quarantine, marked bool, err error) {
	d.mustBeMade()
	content, exists, err := d.readSealed(quarantineName)
	if err != nil || !exists {
		return Quarantine{}, false, err
	}
	if q, err = decodeQuarantine(d.join(quarantineName), content); err != nil {
		return Quarantine{}, false, err
	}
	if q.Store == d.store {
		return q, true, nil
	}
	if d.options.ReadOnly {
		return Quarantine{}, false, nil
	}
	return Quarantine{}, false, d.EndQuarantine()
}

// SetQuarantine marks the current store as wrong. When it returns without an error the mark survives a power cut.
func (d *Dir) SetQuarantine(cause string, damaged bool) error {
	d.mustBeMade()
	d.mustBeWritable()
	return d.writeSealed(quarantineName, encodeQuarantine(Quarantine{d.store, damaged, cause}))
}

// EndQuarantine removes the mark durably, if there is one.
func (d *Dir) EndQuarantine() error {
	d.mustBeWritable()
	_, exists, err := d.readSealed(quarantineName)
	if err != nil || !exists {
		return err
	}
	if err := d.fs.Remove(d.join(quarantineName)); err != nil {
		return fmt.Errorf("remove %s: %w", d.join(quarantineName), err)
	}
	return d.sync()
}
