package check

import (
	"fmt"
	"strings"
)

// String is the operation in one line, with its answer.
func (o *Operation) String() string {
	asked, told := o.text()
	switch o.Outcome {
	case Unknown:
		told = "unknown"
	case Refused:
		told = "refused: " + o.Error
	}
	return fmt.Sprintf("#%d %s -> %s [%d,%d]", o.ID, asked, told, o.Call.Step, o.Return.Step)
}

func (o *Operation) text() (asked, told string) {
	switch {
	case o.Range != nil:
		return o.Range.text()
	case o.Put != nil:
		return o.Put.text()
	case o.Delete != nil:
		return o.Delete.text()
	case o.Txn != nil:
		return o.Txn.text()
	case o.Compact != nil:
		return fmt.Sprintf("compact %d", o.Compact.Revision), "done"
	case o.Grant != nil:
		return fmt.Sprintf("grant %v for %d s", o.Grant.ID, o.Grant.TTL), "done"
	case o.Revoke != nil:
		asked = fmt.Sprintf("revoke %v", o.Revoke.ID)
		if o.Revoke.Result != nil {
			told = fmt.Sprintf("revision %d", o.Revoke.Result.Revision)
		}
	case o.KeepAlive != nil:
		asked = fmt.Sprintf("keep %v alive", o.KeepAlive.ID)
		if o.KeepAlive.Result != nil {
			told = fmt.Sprintf("%d s", o.KeepAlive.Result.TTL)
		}
	case o.Remaining != nil:
		asked = fmt.Sprintf("time to live of %v", o.Remaining.ID)
		if o.Remaining.Result != nil {
			told = fmt.Sprintf("%d of %d s", o.Remaining.Result.TTL, o.Remaining.Result.Granted)
		}
	case o.HashKV != nil:
		return fmt.Sprintf("hash at %d", o.HashKV.Revision), "done"
	case o.Auth != nil:
		return o.Auth.What, "done"
	case o.Change != nil:
		return fmt.Sprintf("%s %v", o.Change.What, o.Change.Member), "done"
	}
	return asked, told
}

func keys(key, end string) string {
	switch end {
	case "":
		return fmt.Sprintf("%q", key)
	case "\x00":
		return fmt.Sprintf("[%q, …)", key)
	}
	return fmt.Sprintf("[%q, %q)", key, end)
}

func (r *Range) text() (asked, told string) {
	asked = "range " + keys(r.Key, r.End)
	if r.Revision != 0 {
		asked += fmt.Sprintf(" at %d", r.Revision)
	}
	if r.Serializable {
		asked = "serializable " + asked
	}
	if r.Result == nil {
		return asked, ""
	}
	var kvs []string
	for i := range r.Result.KVs {
		if i == 5 {
			kvs = append(kvs, "…")
			break
		}
		kvs = append(kvs, r.Result.KVs[i].String())
	}
	return asked, fmt.Sprintf("%d keys {%s} at revision %d", r.Result.Count, strings.Join(kvs, ", "), r.Result.Revision)
}

func (kv KV) String() string {
	text := fmt.Sprintf("%s=%.20q c%d m%d v%d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version)
	if kv.Lease != 0 {
		text += fmt.Sprintf(" lease %v", kv.Lease)
	}
	return text
}

func (p *Put) text() (asked, told string) {
	asked = fmt.Sprintf("put %s=%.20q", p.Key, p.Value)
	if p.Lease != 0 {
		asked += fmt.Sprintf(" lease %v", p.Lease)
	}
	if p.Result != nil {
		told = fmt.Sprintf("revision %d", p.Result.Revision)
		if p.Result.Prev != nil {
			told += ", before it " + p.Result.Prev.String()
		}
	}
	return asked, told
}

func (d *Delete) text() (asked, told string) {
	asked = "delete " + keys(d.Key, d.End)
	if d.Result != nil {
		told = fmt.Sprintf("%d deleted, revision %d", d.Result.Deleted, d.Result.Revision)
	}
	return asked, told
}

func (t *Txn) text() (asked, told string) {
	var parts []string
	for _, c := range t.Compares {
		target := [...]string{"value", "version", "create", "mod", "lease"}[c.Target]
		if c.Target == CompareValue {
			parts = append(parts, fmt.Sprintf("%s of %q %c %.20q", target, c.Key, c.Sign, c.Value))
		} else {
			parts = append(parts, fmt.Sprintf("%s of %q %c %d", target, c.Key, c.Sign, c.Number))
		}
	}
	asked = "if " + strings.Join(parts, ", ") + " then " + branchText(t.Then) + " else " + branchText(t.Else)
	if t.Result != nil {
		told = fmt.Sprintf("%v, revision %d", t.Result.Succeeded, t.Result.Revision)
	}
	return asked, told
}

func branchText(ops []TxnOp) string {
	var parts []string
	for _, o := range ops {
		asked := ""
		switch {
		case o.Range != nil:
			asked, _ = o.Range.text()
		case o.Put != nil:
			asked, _ = o.Put.text()
		case o.Delete != nil:
			asked, _ = o.Delete.text()
		case o.Txn != nil:
			asked, _ = o.Txn.text()
		}
		parts = append(parts, asked)
	}
	return "{" + strings.Join(parts, "; ") + "}"
}

// String is the watcher in one line.
func (w *Watcher) String() string {
	return fmt.Sprintf("watcher %d of %s from %d", w.ID, keys(w.Key, w.End), w.Start)
}
