package cli

import "github.com/spf13/cobra"

// The groups in which help lists the commands, as etcdctl does.
var groups = []struct {
	id, title string
	commands  []string
}{
	{"kv", "Keys and values:", []string{"get", "put", "del", "txn", "compaction", "lease", "watch"}},
	{"cluster", "The cluster:", []string{"alarm", "defrag", "downgrade", "endpoint", "member", "move-leader", "snapshot"}},
	{"concurrency", "Concurrency:", []string{"lock", "elect"}},
	{"auth", "Users and permissions:", []string{"auth", "user", "role"}},
	{"utility", "Utilities:", []string{"check", "completion", "make-mirror", "options", "version"}},
}

// group puts the commands of root into their groups.
func group(root *cobra.Command) {
	of := map[string]string{}
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, name := range g.commands {
			of[name] = g.id
		}
	}
	for _, c := range root.Commands() {
		c.GroupID = of[c.Name()]
	}
	root.SetHelpCommandGroupID("utility")
}
