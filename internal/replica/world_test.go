package replica

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
	"holdfast/internal/wal"
)

// peer is a replica on a disk in memory, and what a test has taken out of it and not yet done.
type peer struct {
	*Replica
	t       testing.TB
	fs      *vfs.MemFS
	id      kind.Identity
	db      *store.DB
	machine *machine.Machine
	log     *wal.Log

	appends []*Append // in the order in which they were handed out
	applies []Work    // *Apply and *Configure, likewise
	sent    []*raftpb.Message

	stable  kind.Index // the last entry that was written and synced
	term    kind.Term  // of the last hard state that was synced
	applied []uint64   // the numbers of the entries that reached the machine, in that order
	run     uint64     // the highest index that did
}

// cluster makes n replicas that know each other.
func cluster(t testing.TB, n int) []*peer {
	t.Helper()
	var members []member.Member
	for i := range n {
		members = append(members, member.Member{Name: fmt.Sprint(i), PeerURLs: []string{fmt.Sprintf("http://127.0.0.1:%d", 2380+i)}})
	}
	id, members, err := member.Genesis("test", members)
	must(t, err)
	var peers []*peer
	for i := range members {
		p := &peer{t: t, fs: vfs.NewCrashableMem(), id: kind.Identity{Cluster: id, Member: members[i].ID, Incarnation: 7}}
		must(t, store.Create(p.fs, "store", p.id, func(set func(key, value []byte)) error {
			machine.Genesis(set, members)
			return nil
		}))
		must(t, wal.Create(p.fs, "log", p.id, kind.Position{Index: 1, Term: 1}, wal.Options{SegmentBytes: 64 << 10}))
		must(t, p.open())
		peers = append(peers, p)
		t.Cleanup(p.close)
	}
	return peers
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *peer) open() (err error) {
	if p.db, err = store.Open(p.fs, "store", p.id, store.Options{BlockCacheBytes: 1 << 20, MemTableBytes: 256 << 10}); err != nil {
		return err
	}
	applied, err := p.db.Applied()
	if err != nil {
		return err
	}
	if p.log, err = wal.Open(p.fs, "log", p.id, wal.Witness{Applied: applied.Position}, wal.Options{SegmentBytes: 64 << 10}); err != nil {
		return err
	}
	kv, err := mvcc.Open(p.db, mvcc.Options{})
	if err != nil {
		return err
	}
	if p.machine, err = machine.Open(p.db, kv, machine.Options{}); err != nil {
		return err
	}
	p.Replica, err = Open(Config{
		Member: p.id.Member, Log: p.log, Machine: p.machine, ElectionTicks: 10, HeartbeatTicks: 1, PreVote: true,
		Logger: quiet{new(raft.DefaultLogger)},
	})
	p.stable, p.run = p.log.LastIndex(), uint64(applied.Position.Index)
	p.appends, p.applies, p.sent = nil, nil, nil
	return err
}

func (p *peer) close() {
	if p.machine == nil {
		return
	}
	_ = p.machine.Close()
	_ = p.log.Close()
	_ = p.db.Close(false) // a kill: what is in memory is lost
	p.machine = nil
}

// crash begins a new life on what a power cut leaves: of what was not synced this part.
func (p *peer) crash(rng *rand.Rand, percent int) {
	p.t.Helper()
	left := p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	p.close()
	p.fs = left
	p.applied = nil
	must(p.t, p.open())
}

// quiet drops what raft says; a panic of it remains one.
type quiet struct{ *raft.DefaultLogger }

func (quiet) Debug(...any)            {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warning(...any)          {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Error(...any)            {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Panic(v ...any)          { panic(fmt.Sprint(v...)) }

func (quiet) Panicf(format string, v ...any) { panic(fmt.Sprintf(format, v...)) }

// take takes out all the work there is. What is to be sent must be true on this peer's disk by now (R1).
func (p *peer) take() {
	p.t.Helper()
	for {
		w, ok := p.Next()
		if !ok {
			return
		}
		switch w := w.(type) {
		case *Append:
			p.appends = append(p.appends, w)
		case *Send:
			for _, m := range w.Messages {
				p.mayPromise(m)
				p.sent = append(p.sent, m)
			}
		default:
			p.applies = append(p.applies, w)
		}
	}
}

// mayPromise holds R1: an acknowledgement and a vote are on the disk.
func (p *peer) mayPromise(m *raftpb.Message) {
	p.t.Helper()
	switch m.GetType() {
	case raftpb.MsgAppResp:
		if !m.GetReject() && kind.Index(m.GetIndex()) > p.stable {
			p.t.Errorf("entry %d is acknowledged, and synced is only %d", m.GetIndex(), p.stable)
		}
	case raftpb.MsgVoteResp:
		if !m.GetReject() && kind.Term(m.GetTerm()) > p.term {
			p.t.Errorf("a vote in term %d is given, and the term that is synced is %d", m.GetTerm(), p.term)
		}
	}
}

func clock() time.Duration { return 0 }

// write does the first n appends.
func (p *peer) write(n int) {
	p.t.Helper()
	if n == 0 {
		return
	}
	batch := p.appends[:n]
	_, err := p.WriteLog(batch, clock)
	must(p.t, err)
	for _, a := range batch {
		if k := len(a.Entries); k > 0 {
			p.stable = kind.Index(a.Entries[k-1].GetIndex())
		}
		if a.HardState != nil {
			p.term = kind.Term(a.HardState.GetTerm())
		}
		if len(a.Entries) > 0 && !a.Sync {
			p.t.Error("entries are appended for nobody")
		}
	}
	for _, a := range batch {
		must(p.t, p.Done(a))
	}
	p.appends = p.appends[n:]
}

// apply does the first n applies. An entry reaches the machine once, in order, and only if it is on this disk (R3).
func (p *peer) apply(n int) {
	p.t.Helper()
	if n == 0 {
		return
	}
	batch := p.applies[:n]
	for _, w := range batch {
		var entries []*raftpb.Entry
		switch w := w.(type) {
		case *Apply:
			entries = w.Entries
		case *Configure:
			entries = []*raftpb.Entry{w.Entry}
		}
		for _, e := range entries {
			if e.GetIndex() != p.run+1 {
				p.t.Errorf("entry %d is applied after entry %d", e.GetIndex(), p.run)
			}
			if kind.Index(e.GetIndex()) > p.stable {
				p.t.Errorf("entry %d is applied, and synced is only %d", e.GetIndex(), p.stable)
			}
			p.run = e.GetIndex()
			if e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 {
				p.applied = append(p.applied, number(e.GetData()))
			}
		}
	}
	must(p.t, p.ApplyWork(batch, 1, func(*machine.Pending) {}))
	for _, w := range batch {
		must(p.t, p.Done(w))
	}
	p.applies = p.applies[n:]
}

// settle does everything there is.
func (p *peer) settle() {
	p.t.Helper()
	for {
		p.take()
		if len(p.appends)+len(p.applies) == 0 {
			return
		}
		p.write(len(p.appends))
		p.apply(len(p.applies))
	}
}

// entry makes an entry with one put that is told from others by n.
func entry(n uint64) []byte {
	put := command.Put{Key: fmt.Appendf(nil, "key%d", n%50), Value: binary.BigEndian.AppendUint64(nil, n)}
	data := command.AppendEntryHeader(nil, 0, 0, 1)
	return command.AppendCommand(data, &command.Command{
		Kind: command.KindPut, Origin: command.Origin{Member: 1, Boot: 1, Sequence: n}, Payload: command.AppendPut(nil, &put)})
}

func number(data []byte) uint64 {
	var e command.Entry
	if err := e.Decode(data); err != nil {
		panic(err)
	}
	return e.Commands[0].Origin.Sequence
}
