package machine

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into their files")

// Scripts in testdata tell stories. A block is one entry, a line one command; behind ---- stands what it prints:
// each reply, each event, and where the store stands. A line that starts with # is a remark, a block "keys" prints
// the keys, and one "open" opens the store again.
//
//	put KEY VALUE [prev] [ignore-value] [ignore-lease] [lease=N]
//	del KEY [END] [prev]
//	get KEY [END] [rev=N] [limit=N] [count]          (in a transaction)
//	compact REVISION
//	txn [ COMPARE ... ] { OP ; ... } { OP ; ... }    COMPARE is TARGET KEY[..END] = < > != OPERAND
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			fs := vfs.NewMem()
			r := createRig(t, fs, mvcc.Options{}, Options{})
			var out strings.Builder
			for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				input, _, _ := strings.Cut(block, "\n----")
				fmt.Fprintf(&out, "%s\n----\n", input)
				switch lines := scriptLines(input); {
				case len(lines) == 1 && lines[0] == "open":
					sequence := r.sequence
					r.close(true)
					r = openRig(t, fs, mvcc.Options{}, Options{})
					r.sequence = sequence
				case len(lines) == 1 && lines[0] == "keys":
					reader, err := r.kv.View()
					if err != nil {
						t.Fatal(err)
					}
					reader.Reader(context.Background()).Each(span("\x00", "\x00"), func(row mvcc.Row) bool {
						fmt.Fprintf(&out, "%q = %q create %d mod %d version %d\n", row.Key(), row.Value(), row.Create, row.Mod, row.Version)
						return true
					})
					reader.Close()
				default:
					var commands []any
					for _, line := range lines {
						commands = append(commands, parseCommand(line))
					}
					replies, changes := r.apply(r.pack(commands...))
					for i, reply := range replies {
						body, err := answer(commands[i], reply.Body)
						switch {
						case err != nil:
							t.Fatal(err)
						case reply.Err != nil:
							fmt.Fprintf(&out, "%d: refused: %v\n", reply.Revision, reply.Err)
						default:
							fmt.Fprintf(&out, "%d: %s\n", reply.Revision, body)
						}
					}
					for _, e := range changes.Events {
						what := fmt.Sprintf("put %q %q", e.Row.Key(), e.Row.Value())
						if e.Deleted {
							what = fmt.Sprintf("delete %q", e.Row.Key())
						}
						fmt.Fprintf(&out, "event %d.%d: %s, was %d\n", e.Revision, e.Sub, what, e.Previous)
					}
				}
				s := r.State()
				fmt.Fprintf(&out, "at %d/%d revision %d compacted %d keys %d digest %016x\n\n", s.Position.Index, s.Position.Term, s.Revision, s.Compacted, s.LiveKeys, s.Digest)
			}
			r.close(false)
			got := strings.TrimRight(out.String(), "\n") + "\n"
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("the script prints now (run with -rewrite and read the difference)\n%s", got)
			}
		})
	}
}

func scriptLines(input string) (lines []string) {
	for line := range strings.Lines(input) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// words is what is left of a line.
type words struct{ list []string }

func (w *words) more() bool { return len(w.list) > 0 }

func (w *words) next() string {
	if len(w.list) == 0 {
		panic("the line ends too early")
	}
	word := w.list[0]
	w.list = w.list[1:]
	if strings.HasPrefix(word, `"`) {
		text, err := strconv.Unquote(word)
		if err != nil {
			panic(err)
		}
		return text
	}
	return word
}

func (w *words) take(word string) bool {
	if len(w.list) > 0 && w.list[0] == word {
		w.list = w.list[1:]
		return true
	}
	return false
}

// number takes NAME=N.
func (w *words) number(name string) (n int64) {
	if len(w.list) > 0 && strings.HasPrefix(w.list[0], name+"=") {
		n = integer(strings.TrimPrefix(w.list[0], name+"="))
		w.list = w.list[1:]
	}
	return n
}

func integer(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func parseCommand(line string) any {
	w := &words{strings.Fields(line)}
	if w.take("compact") {
		return &command.Compaction{Revision: kind.Revision(integer(w.next()))}
	}
	o := parseOp(w)
	switch {
	case o.Put != nil:
		return o.Put
	case o.Delete != nil:
		return o.Delete
	}
	return o.Txn
}

func parseOp(w *words) command.Op {
	end := func() string {
		if !w.more() || w.list[0] == ";" || w.list[0] == "}" || w.list[0] == "prev" || w.list[0] == "count" || strings.Contains(w.list[0], "=") {
			return ""
		}
		return w.next()
	}
	switch verb := w.next(); verb {
	case "put":
		p := put(w.next(), w.next())
		p.PrevKV, p.IgnoreValue, p.IgnoreLease = w.take("prev"), w.take("ignore-value"), w.take("ignore-lease")
		p.Lease = kind.LeaseID(w.number("lease"))
		return command.Op{Put: p}
	case "del":
		d := &command.DeleteRange{Interval: span(w.next(), end())}
		d.PrevKV = w.take("prev")
		return command.Op{Delete: d}
	case "get":
		g := &command.Range{Interval: span(w.next(), end())}
		g.Revision, g.Limit, g.CountOnly = kind.Revision(w.number("rev")), w.number("limit"), w.take("count")
		return command.Op{Range: g}
	case "txn":
		t := &command.Txn{}
		for w.take("["); !w.take("]"); {
			t.Compares = append(t.Compares, parseCompare(w))
		}
		for _, branch := range []*[]command.Op{&t.Success, &t.Failure} {
			if !w.take("{") {
				break
			}
			for !w.take("}") {
				if !w.take(";") {
					*branch = append(*branch, parseOp(w))
				}
			}
		}
		return command.Op{Txn: t}
	default:
		panic("no command is called " + verb)
	}
}

func parseCompare(w *words) command.Compare {
	targets := map[string]command.CompareTarget{"version": 0, "create": 1, "mod": 2, "value": 3, "lease": 4}
	results := map[string]command.CompareResult{"=": 0, ">": 1, "<": 2, "!=": 3}
	c := command.Compare{Target: targets[w.next()]}
	key, end, _ := strings.Cut(w.next(), "..")
	c.Interval, c.Result = span(key, end), results[w.next()]
	if operand := w.next(); c.Target == command.CompareValue {
		c.Value = []byte(operand)
	} else {
		c.Number = integer(operand)
	}
	return c
}
