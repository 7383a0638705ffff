package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
)

// oneSegment is a file with a valid header and the bytes of records behind it.
func oneSegment(size int64, records []byte) []byte {
	h := header{begins: true, sequence: 1, id: testID, size: size}
	b := append(h.encode(), records...)
	return append(b, make([]byte, max(0, size-int64(len(b))))...)[:size]
}

// sign gives the record at offset a valid head, whatever it says, and a valid body if it fits.
func sign(file []byte, offset int64) {
	le := binary.LittleEndian
	b := file[offset:]
	if n := int64(le.Uint32(b[8:])); recordHead+n+int64(padding(int(n))) <= int64(len(b)) {
		le.PutUint32(b[4:], crc32.Checksum(b[recordHead:recordSize(int(n))], castagnoli))
	}
	le.PutUint32(b, headSum(placeSeed(testID.Incarnation, 1), offset, b))
}

func openBytes(t testing.TB, file []byte) (*Log, error) {
	fs := vfs.NewMem()
	must(t, fs.MkdirAll(testDir, 0o700))
	writeFile(t, fs, testDir+"/"+segmentName(1), file)
	if _, err := Inspect(fs, testDir, nil); err != nil && !errors.Is(err, ErrNewerFormat) {
		t.Fatalf("Inspect: %v", err)
	}
	if plan, err := PlanCut(fs, testDir); err == nil {
		_ = plan.String()
	}
	return Open(fs, testDir, testID, Witness{}, smallLog)
}

// TestHostileRecords holds W7 against the mistakes that other logs have made (CVE-2020-15106, CVE-2020-15112): lengths
// that do not fit, entries that jump, and numbers at the edge, all with valid checksums.
func TestHostileRecords(t *testing.T) {
	record := func(length uint32, kind byte, synced uint64, payload ...uint64) []byte {
		b := make([]byte, recordHead+8*len(payload)+8)
		le := binary.LittleEndian
		le.PutUint32(b[8:], length)
		b[12] = kind
		le.PutUint64(b[16:], synced)
		for i, v := range payload {
			le.PutUint64(b[recordHead+8*i:], v)
		}
		return b
	}
	const huge = 1<<32 - 1
	for name, c := range map[string]struct {
		record  []byte
		corrupt bool // else it is no record and the log ends before it
	}{
		"length 4 GiB":            {record(huge, kindEntry, headerSize), false},
		"length 2 GiB":            {record(1<<31, kindEntry, headerSize), false},
		"length behind the file":  {record(8192, kindEntry, headerSize), false},
		"length 0":                {record(0, kindEntry, headerSize), false},
		"length 16":               {record(16, kindEntry, headerSize, 1, 1), false},
		"short hard state":        {record(16, kindState, headerSize, 1, 1), false},
		"long mark":               {record(8, kindMark, headerSize, 1), false},
		"unknown kind":            {record(0, 77, headerSize), false},
		"synced in the future":    {record(17, kindEntry, headerSize+64, 1, 1), false},
		"synced beyond all":       {record(17, kindEntry, 1<<63, 1, 1), false},
		"an entry that jumps":     {record(17, kindEntry, headerSize, 1, 2), true},
		"entry 0":                 {record(17, kindEntry, headerSize, 1, 0), true},
		"an entry beyond all":     {record(17, kindEntry, headerSize, 1, 1<<64-1), true},
		"a commit beyond the log": {record(24, kindState, headerSize, 1, 1, 1<<64-1), true},
	} {
		file := oneSegment(8192, c.record)
		sign(file, headerSize)
		l, err := openBytes(t, file)
		var damage *Corruption
		if c.corrupt != errors.As(err, &damage) || !c.corrupt && (err != nil || l.LastIndex() != 0) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHostileSearch holds that bytes made to look like records cannot make the search behind the end slow: it gives up
// and calls the log corrupt.
func TestHostileSearch(t *testing.T) {
	const size = 4 << 20
	file := oneSegment(size, nil)
	le := binary.LittleEndian
	for at := int64(headerSize + 64); at+recordHead < size; at += recordHead {
		le.PutUint32(file[at+8:], uint32(size-at-recordHead)&^7)
		file[at+12] = kindEntry
		le.PutUint64(file[at+16:], headerSize)
		le.PutUint32(file[at:], headSum(placeSeed(testID.Incarnation, 1), at, file[at:]))
	}
	began := time.Now()
	_, err := openBytes(t, file)
	var c *Corruption
	if !errors.As(err, &c) {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Fatalf("it took %v", d)
	}
}

// TestNewerFormat holds that a log of a later version is refused as that, and not as damage.
func TestNewerFormat(t *testing.T) {
	file := oneSegment(8192, nil)
	binary.LittleEndian.PutUint32(file[8:], version+1)
	binary.LittleEndian.PutUint32(file[headerSize-4:], crc32.Checksum(file[:headerSize-4], castagnoli))
	if _, err := openBytes(t, file); !errors.Is(err, ErrNewerFormat) {
		t.Fatal(err)
	}
}

// TestRefusals holds what Append does not take.
func TestRefusals(t *testing.T) {
	l := newLog(t, vfs.NewMem(), smallLog)
	must(t, l.Append(entriesOf(1, 3, 2, 10), hard(2, 1, 1)))
	for name, call := range map[string]func(){
		"a gap":            func() { _ = l.Append(entriesOf(5, 5, 2, 1), nil) },
		"index 0":          func() { _ = l.Append(entriesOf(0, 0, 2, 1), nil) },
		"an older term":    func() { _ = l.Append(entriesOf(4, 4, 1, 1), nil) },
		"a term back":      func() { _ = l.Append(nil, hard(1, 1, 1)) },
		"a far commit":     func() { _ = l.Append(nil, hard(2, 1, 4)) },
		"a far truncation": func() { _ = l.Truncate(4) },
	} {
		func() {
			defer func() {
				if _, ok := recover().(invariant.Violation); !ok {
					t.Errorf("%s was taken", name)
				}
			}()
			call()
		}()
	}
	must(t, l.Close())
	if err := l.Append(entriesOf(4, 4, 2, 1), nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// FuzzOpen opens a segment of arbitrary bytes: no panic, memory in proportion to the file. With mode 1 the header is
// made valid and with mode 2 each record's checksums too, as far as lengths lead, so that the fuzzer comes to what lies behind.
func FuzzOpen(f *testing.F) {
	fs, _, l := idleLog(f, false)
	for _, s := range l.mu.segments {
		b := readFile(f, fs, s.path)
		f.Add(byte(0), b)
		f.Add(byte(1), b[headerSize:])
		f.Add(byte(2), b[headerSize:l.dataEnd])
	}
	f.Add(byte(0), []byte{})
	f.Add(byte(0), []byte(magic))
	f.Fuzz(func(t *testing.T, mode byte, b []byte) {
		if mode%3 > 0 {
			b = oneSegment((headerSize+int64(len(b))+64)&^7, b)
		}
		if mode%3 == 2 {
			for at := int64(headerSize); at+recordHead <= int64(len(b)); {
				sign(b, at)
				at += recordHead + int64(binary.LittleEndian.Uint32(b[at+8:])+7)&^7
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l, err := openBytes(t, b)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20+100*uint64(len(b)) {
			t.Fatalf("%d bytes of memory for a file of %d", used, len(b))
		}
		if err != nil {
			return
		}
		es := all(t, l)
		next := l.LastIndex() + 1
		term := max(l.HardState().GetTerm(), 1)
		if next == 0 || term == 1<<64-1 {
			return
		}
		e := entry(uint64(next), term, 20)
		must(t, l.Append([]*raftpb.Entry{e}, nil))
		must(t, l.Close())
		l, err = Open(l.fs, testDir, l.id, Witness{Applied: kind.Position{}}, smallLog)
		must(t, err)
		sameEntries(t, all(t, l), append(es, e))
	})
}
