package machine

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/mvcc"
)

// Whatever a log holds, Apply executes it or says that it cannot; it does not panic, and what it executes keeps the
// laws.
func FuzzApply(f *testing.F) {
	for _, data := range randomEntries(5)[:40] {
		f.Add(data)
	}
	hostile := func(kind command.Kind, payload []byte) {
		f.Add(command.AppendEntry(nil, &command.Entry{Commands: []command.Command{{Kind: kind, Payload: payload}}}))
	}
	hostile(command.KindPut, nil)
	hostile(command.KindDelete, nil)
	hostile(command.KindTxn, []byte{0x12, 0})
	hostile(command.KindTxn, []byte{0x12, 4, 0x12, 2, 0x0a, 0})
	hostile(command.KindTxn, []byte{0x0a, 0, 0x1a, 0})
	hostile(command.KindTxn, []byte{0x12, 4, 0x0a, 2, 0x28, 9})
	hostile(command.KindTxn, command.AppendTxn(nil, &command.Txn{Success: []command.Op{{Range: &command.Range{Target: 9, Order: -1}}}}))
	hostile(command.KindCompact, []byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{})
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
		defer r.db.Close(false)
		defer r.Machine.Close()
		p := r.Begin(testLocal)
		if err := p.Apply(Entry{r.next(), r.pack(put("a", "1"), put("b", "2"))}); err != nil {
			t.Fatal(err)
		}
		if err := p.Apply(Entry{r.next(), data}); err != nil {
			return
		}
		for _, reply := range p.Replies() {
			if reply.Err != nil && reply.Body != nil {
				t.Fatalf("a refusal with a body: %+v", reply)
			}
		}
		if err := p.Commit(); err != nil {
			t.Fatal(err)
		}
		r.dump()
	})
}
