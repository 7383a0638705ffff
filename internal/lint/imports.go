package lint

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// row says what one room may import of the others, and why not more.
type row struct {
	below  string // names of rooms, with blanks between them
	reason string
}

// everywhere are the rooms that every other may import: they import nothing themselves.
var everywhere = []string{"kind", "invariant"}

// rooms is the table of arrows: a package may know what is below it, nothing beside it or above. Later rooms (lease,
// watch, chore, gateway, sim) get their row when they are built.
var rooms = map[string]row{
	"kind":      {"", "it holds numbers and decides nothing"},
	"invariant": {"", "every room may check, so it may know none"},

	"config":  {"", "it is a table; what the settings mean is known above"},
	"tlsconf": {"", "it makes TLS settings of files; who listens with them is known above"},
	"datadir": {"", "it knows where log and store lie, not what is in them"},
	"wal":     {"", "it keeps entries whose meaning it does not know"},
	"store":   {"", "it opens the engine and orders its keys; what they mean is known above"},
	"command": {"", "it says what is asked, not what is done about it"},
	"batch":   {"store", "it is one pending change of the store, and knows no command"},

	"discovery": {"config", "it finds the first members, and starts none"},
	"transport": {"", "it carries messages between members; what they mean is known above"},
	"snapshot":  {"member store", "it moves records from one store into another; what they mean is not its business"},

	"member":  {"batch command store", "what the machine is made of does not know its neighbours"},
	"digest":  {"", "it compares numbers that members report; where they come from is known above"},
	"mvcc":    {"batch command store", "what the machine is made of does not know its neighbours"},
	"auth":    {"command store", "what the machine is made of does not know its neighbours"},
	"lease":   {"batch store", "what the machine is made of does not know its neighbours"},
	"machine": {"auth batch command lease member mvcc store", "it joins its parts in plain sight, and knows neither log nor raft"},
	"replica": {"auth batch command machine member mvcc store wal", "it is one member as an object: no network, no API"},
	"watch":   {"command mvcc store", "it hands out what the store has changed; it does not know how clients are told"},
	"node":    {"auth batch command datadir digest lease machine member mvcc replica snapshot store transport wal watch", "it runs a replica; it does not know who asks"},
	"chore":   {"auth command lease machine member node", "it does a leader's duties through the node, like any other proposer"},
	"server":  {"auth command lease machine member mvcc node store watch", "it speaks the API and asks the node; files are not its business"},

	"gateway": {"", "it turns JSON into calls; whose calls they are and what they do is the server's"},

	"etcdfile": {"auth command lease member mvcc store", "it reads and writes etcd's files; where they come from and go to is known above"},
	"restore":  {"command config datadir etcdfile machine member mvcc store wal", "it makes a data directory, and starts nothing"},

	"inspect":   {"auth batch command config datadir lease machine member mvcc store wal", "it looks into the files of a stopped member, and starts nothing"},
	"doctor":    {"auth cli datadir lease machine mvcc store wal", "it asks a cluster as any client does, or reads files; it starts nothing"},
	"offline":   {"cli config datadir etcdfile mvcc restore store", "it works on files; nothing listens and nothing runs"},
	"tcpproxy":  {"cli", "it passes bytes on between clients and members, and knows neither"},
	"grpcproxy": {"cli tcpproxy tlsconf", "it is a client of the members and a server of clients; it shares nothing with a member"},
	"cli":       {"", "it is a client like any other: it knows only the API"},

	"assembly": {"batch chore command config datadir machine member mvcc node replica store wal watch",
		"it puts together what is below the server, and knows neither who serves clients nor the command line"},
	"holdfast": {"assembly auth batch command config datadir discovery etcdfile gateway machine member mvcc node replica server store tlsconf transport wal watch",
		"it is the composition root; it does not know the command line"},
	"cmd/holdfast": {"cli grpcproxy tcpproxy config datadir doctor holdfast inspect offline server", "main only picks the program and wires the real world"},

	"sim": {"assembly command config member node server sim/check store transport",
		"it runs members as the root package does, on a world of its own; nothing of the product knows it"},
	"sim/check": {"", "it judges what was observed, and knows neither the world nor how a member is made"},

	"servertest": {"", "it drives the built binary from outside"},
	"chaos":      {"", "it drives clusters of the built binary from outside; all of it is tests"},
	"lint":       {"", "it reads text"},
}

const modulePath = "holdfast"

var arrows = Rule{
	Name:   "arrows",
	Reason: "A package may know what is below it, nothing beside it or above, so that each can be understood and changed alone.",
	Check: func(t Tree) (found []Finding) {
		for f := range t.goFiles {
			from := f.room()
			// Tests may reach for what they need; the examples are programs of a user.
			if from == "" || f.isTest() || strings.HasPrefix(from, "examples/") {
				continue
			}
			allowed, known := rooms[from]
			if !known {
				found = append(found, f.finding(f.syntax.Package, "the room %s has no row in internal/lint/imports.go: add it there and to ARCHITECTURE.md", from))
				continue
			}
			for spec, imported := range f.imports {
				to, ours := roomOf(imported)
				if ours && !slices.Contains(everywhere, to) && !slices.Contains(strings.Fields(allowed.below), to) {
					found = append(found, f.finding(spec.Pos(), "%s must not import %s: %s", from, to, allowed.reason))
				}
			}
		}
		return found
	},
}

// imports yields the imports of f with their paths.
func (f File) imports(yield func(*ast.ImportSpec, string) bool) {
	for _, spec := range f.syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err == nil && !yield(spec, imported) {
			return
		}
	}
}

// roomOf returns the room of an import path of this module.
func roomOf(imported string) (room string, ours bool) {
	if imported == modulePath {
		return "holdfast", true
	}
	inside, ours := strings.CutPrefix(imported, modulePath+"/")
	return strings.TrimPrefix(inside, "internal/"), ours
}

// The rooms from replica down are plain objects: the same entries must give the same state on every member (I5, M1).
var plainRooms = []string{"replica", "digest", "machine", "mvcc", "auth", "lease", "member", "batch", "store", "command"}

// worldly are the packages that plain rooms must not import, each with what to do instead.
var worldly = []struct{ prefix, instead string }{
	{"time", "entries carry time"},
	{"os", "files come as a vfs.FS, everything else from above"},
	{"net", "messages are work that is handed out"},
	{"math/rand", "random numbers are drawn before a command is proposed"},
	{"crypto/rand", "random numbers are drawn before a command is proposed"},
	{"sync", "one caller at a time"},
	{"google.golang.org/grpc", "nothing below server knows gRPC"},
	{"go.uber.org/zap", "what is worth logging is returned"},
}

// worldlyExceptions allow single imports, by room and path.
var worldlyExceptions = map[string]string{
	"mvcc sync":           "readers run beside the applier: they share the row cache, the budget of answers and the count of views",
	"mvcc sync/atomic":    "the published revision is read by readers beside the applier",
	"lease sync":          "readers run beside the applier: they share the table of leases",
	"auth sync/atomic":    "the published users and tokens are read by servers beside the applier",
	"machine sync/atomic": "what a status request shows of the members is read beside the applier",
	"replica sync/atomic": "an adopted snapshot replaces the machine beside its readers",
	"store sync/atomic":   "readers run beside the applier, and a replaced store is closed when the last has gone",
	"store sync":          "the engine calls its logger and its event listener from goroutines of its own",
	"digest time":         "the caller passes in how late it is; only the type is used",
	"replica time":        "the length of a sync is measured by a clock that the caller passes in; only the type is used",
}

var forbiddenImports = Rule{
	Name:   "forbidden-imports",
	Reason: "From replica down there is no clock, no randomness, no network and no lock: the same entries give the same state on every member (I5).",
	Check: func(t Tree) (found []Finding) {
		used := map[string]bool{}
		seen := map[string]bool{}
		for f := range t.goFiles {
			from := f.room()
			seen[from] = true
			if f.isTest() || !slices.Contains(plainRooms, from) {
				continue
			}
			for spec, imported := range f.imports {
				for _, w := range worldly {
					if imported != w.prefix && !strings.HasPrefix(imported, w.prefix+"/") {
						continue
					}
					if key := from + " " + imported; worldlyExceptions[key] != "" {
						used[key] = true
						continue
					}
					found = append(found, f.finding(spec.Pos(), "%s: no %q: %s", from, imported, w.instead))
				}
			}
		}
		for key := range worldlyExceptions {
			if room, _, _ := strings.Cut(key, " "); seen[room] && !used[key] {
				found = append(found, Finding{"internal/lint/imports.go", 0, "the exception " + strconv.Quote(key) + " is no longer needed: remove it"})
			}
		}
		return found
	},
}

// clockCalls are the functions of package time that read or wait for the clock.
var clockCalls = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

var noClock = Rule{
	Name:   "no-clock",
	Reason: "A machine that asks what time it is will one day answer differently on two members; time is passed in or travels in entries.",
	Check: func(t Tree) (found []Finding) {
		for f := range t.goFiles {
			if f.isTest() || !slices.Contains(plainRooms, f.room()) {
				continue
			}
			f.eachSelector("time", func(pos token.Pos, name string) {
				if slices.Contains(clockCalls, name) {
					found = append(found, f.finding(pos, "%s: no time.%s: entries carry time", f.room(), name))
				}
			})
		}
		return found
	},
}

// eachSelector calls do for every pkg.Name in f.
func (f File) eachSelector(pkg string, do func(pos token.Pos, name string)) {
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
				do(s.Pos(), s.Sel.Name)
			}
		}
		return true
	})
}

// goroutinesAllowed are the files of those rooms that start one all the same, each with its reason.
var goroutinesAllowed = map[string]string{
	"internal/store/alarm.go": "Pebble's Open never returns if the flush within it has failed for good; it is left behind then",
}

var noGoroutines = Rule{
	Name:   "no-goroutines",
	Reason: "From replica down nothing starts a goroutine: whoever calls decides what runs beside what, and a simulator can replay it.",
	Check: func(t Tree) (found []Finding) {
		for f := range t.goFiles {
			if f.isTest() || !slices.Contains(plainRooms, f.room()) || goroutinesAllowed[f.Path] != "" {
				continue
			}
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				if g, ok := n.(*ast.GoStmt); ok {
					found = append(found, f.finding(g.Pos(), "%s: no goroutine: hand the work out instead", f.room()))
				}
				return true
			})
		}
		return found
	},
}

// The modules of etcd that the product does without. Built from pieces, so that this line is not a finding.
var etcdServer = []string{"go.etcd.io/etcd/" + "server", "go.etcd.io/etcd/" + "etcdctl", "go.etcd.io/etcd/" + "etcdutl"}

var noEtcdServer = Rule{
	Name:   "no-etcd-server",
	Reason: "We are the server: only the nested modules that compare us with etcd may embed it.",
	Check: func(t Tree) (found []Finding) {
		for _, f := range t.files {
			if f.room() == "" || !f.isGo() && f.Path != "go.mod" {
				continue
			}
			f.eachLine(func(n int, line string) {
				for _, module := range etcdServer {
					if strings.Contains(line, module) {
						found = append(found, Finding{f.Path, n, "it names " + module})
					}
				}
			})
		}
		return found
	},
}
