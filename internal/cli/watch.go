package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The refusals of a watch's arguments, in etcdctl's words.
var (
	errWatchArgs      = errors.New("bad number of arguments")
	errWatchConflict  = errors.New("bad number of arguments (found conflicting environment key)")
	errWatchEnds      = errors.New("`range_end` and `--prefix` are mutually exclusive")
	errWatchSeparator = errors.New("bad number of arguments (found separator --, but no commands)")
)

// watchFlags is the flags of watch, which a line of an interactive watch knows too.
type watchFlags struct {
	rev            int64
	prefix         bool
	prevKV         bool
	progressNotify bool
}

func (w *watchFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&w.prefix, "prefix", false, "watch all keys that begin with the given one")
	fs.Int64Var(&w.rev, "rev", 0, "show what has happened from this revision on (0 means from now on)")
	fs.BoolVar(&w.prevKV, "prev-kv", false, "show what a key held before it was changed or deleted")
	fs.BoolVar(&w.progressNotify, "progress-notify", false, "show now and then up to which revision everything has been shown")
}

func (f *family) watchCommand() *cobra.Command {
	flags := &watchFlags{}
	var interactive bool
	cmd := &cobra.Command{
		Use:   "watch [key or prefix] [range_end] [-- command arguments...]",
		Short: "Show what happens to a key, or to the keys from it up to but without [range_end]",
		Long: `Show what happens to a key, or to the keys from it up to but without [range_end], until the command is stopped.

A command after -- is run once for each event, with ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and
ETCD_WATCH_VALUE in its environment; the last three are quoted. The key and the end may also come from the variables
ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END.

With --interactive each line of standard input is a watch of its own, written like the arguments of this command and
beginning with the word watch; a line with the word progress asks up to which revision everything has been shown.`,
	}
	flags.register(cmd.Flags())
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "read watches from standard input")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		key, end, err := watchEnvironment()
		if err != nil {
			return err
		}
		w := &watcher{cmd: cmd, envKey: key, envEnd: end}
		var what *watchOrder
		if !interactive {
			if what, err = w.order(flags, args, cmd.ArgsLenAtDash()); err != nil {
				return failed(exitBadArguments, err)
			}
		}
		c, err := f.connector(cmd)
		if err != nil {
			return err
		}
		if w.printer, err = printerOf[watchPrinter](f.globals, cmd); err != nil {
			return err
		}
		if w.client, err = c.open(c.spec.Endpoints...); err != nil {
			return err
		}
		defer w.client.Close()
		if interactive {
			return w.interact()
		}
		if err := w.show(w.start(what), what.command); err != nil {
			return err
		}
		return failed(exitInterrupted, errors.New("watch is canceled by the server"))
	})
	return cmd
}

// watchEnvironment returns the key and the end that the environment has; empty for none.
func watchEnvironment() (key, end string, err error) {
	name := func(s string) string {
		for _, prefix := range envPrefixes {
			if v := os.Getenv(prefix + s); v != "" {
				return v
			}
		}
		return ""
	}
	key, end = name("WATCH_KEY"), name("WATCH_RANGE_END")
	if key == "" && end != "" {
		return "", "", badArguments("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=%q", end)
	}
	return key, end, nil
}

// watcher is one run of the command.
type watcher struct {
	cmd            *cobra.Command
	client         *clientv3.Client
	printer        watchPrinter
	envKey, envEnd string

	mu sync.Mutex // the watches of an interactive run print in turns
}

// watchOrder is one watch as it was asked for.
type watchOrder struct {
	key     string
	options []clientv3.OpOption
	command []string
}

// order reads the arguments of a watch. dash is how many stand before the two dashes, or -1 without them.
func (w *watcher) order(flags *watchFlags, args []string, dash int) (*watchOrder, error) {
	what := &watchOrder{}
	if dash >= 0 {
		args, what.command = args[:dash], args[dash:]
		if len(what.command) == 0 {
			return nil, errWatchSeparator
		}
	}
	if w.envKey != "" {
		if len(args) > 0 {
			return nil, errWatchConflict
		}
		if args = []string{w.envKey}; w.envEnd != "" {
			args = append(args, w.envEnd)
		}
	}
	what.options = []clientv3.OpOption{clientv3.WithRev(flags.rev)}
	switch {
	case len(args) == 0 || len(args) > 2:
		return nil, errWatchArgs
	case len(args) == 2 && flags.prefix:
		return nil, errWatchEnds
	case len(args) == 2:
		what.options = append(what.options, clientv3.WithRange(args[1]))
	case flags.prefix:
		what.options = append(what.options, clientv3.WithPrefix())
	}
	what.key = args[0]
	if flags.prevKV {
		what.options = append(what.options, clientv3.WithPrevKV())
	}
	if flags.progressNotify {
		what.options = append(what.options, clientv3.WithProgressNotify())
	}
	return what, nil
}

// start sends the request for a watch.
func (w *watcher) start(what *watchOrder) clientv3.WatchChan {
	return w.client.Watch(clientv3.WithRequireLeader(context.Background()), what.key, what.options...)
}

// show prints what a watch is told until it ends, and runs the command for each event.
func (w *watcher) show(answers clientv3.WatchChan, command []string) error {
	for r := range answers {
		if err := w.one(&r, command); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) one(r *clientv3.WatchResponse, command []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	stdout, stderr := w.cmd.OutOrStdout(), w.cmd.ErrOrStderr()
	if r.Canceled {
		fmt.Fprintf(stderr, "watch was canceled (%v)\n", r.Err())
	}
	if r.IsProgressNotify() {
		if _, err := fmt.Fprintf(stdout, "progress notify: %d\n", r.Header.GetRevision()); err != nil {
			return err
		}
	}
	if err := w.printer.Watch(r); err != nil {
		return err
	}
	if len(command) == 0 {
		return nil
	}
	for _, e := range r.Events {
		run := exec.CommandContext(w.client.Ctx(), command[0], command[1:]...)
		run.Env = append(os.Environ(),
			fmt.Sprintf("ETCD_WATCH_REVISION=%d", r.Header.GetRevision()),
			fmt.Sprintf("ETCD_WATCH_EVENT_TYPE=%q", e.Type),
			fmt.Sprintf("ETCD_WATCH_KEY=%q", e.Kv.GetKey()),
			fmt.Sprintf("ETCD_WATCH_VALUE=%q", e.Kv.GetValue()))
		run.Stdout, run.Stderr = stdout, stderr
		if err := run.Run(); err != nil {
			fmt.Fprintf(stderr, "command %q error (%v)\n", command, err)
			return &failure{code: exitFailed, err: err, said: true}
		}
	}
	return nil
}

// interact reads lines and does what they say, until the input ends or a watch fails. etcdctl takes the end of the
// input for an error, and so do we.
func (w *watcher) interact() error {
	broken := make(chan error, 1)
	lines := make(chan string)
	ended := make(chan error, 1)
	go func() {
		in := bufio.NewReader(w.cmd.InOrStdin())
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				ended <- err
				return
			}
			lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	for {
		select {
		case line := <-lines:
			if err := w.line(line, broken); err != nil {
				return err
			}
		case err := <-broken:
			return err
		case err := <-ended:
			return failed(exitBadInput, fmt.Errorf("error reading watch request line: %w", err))
		}
	}
}

// line does what one line says. One that says nothing is told so, and the next may do better; one whose watch is
// written wrong ends the command.
func (w *watcher) line(line string, broken chan<- error) error {
	stderr := w.cmd.ErrOrStderr()
	words, err := splitWords(line)
	if err != nil {
		return failed(exitBadInput, err)
	}
	if len(words) == 0 {
		fmt.Fprintf(stderr, "Invalid command: %s (watch and progress supported)\n", line)
		return nil
	}
	switch words[0] {
	case "watch":
		if len(words) < 2 && w.envKey == "" {
			fmt.Fprintf(stderr, "Invalid command %s (command type or key is not provided)\n", line)
			return nil
		}
	case "progress":
		return failed(exitFailed, w.client.RequestProgress(clientv3.WithRequireLeader(context.Background())))
	default:
		fmt.Fprintf(stderr, "Invalid command %s (only support watch)\n", line)
		return nil
	}
	flags := &watchFlags{}
	fs := pflag.NewFlagSet("watch", pflag.ContinueOnError)
	fs.SetOutput(stderr)
	flags.register(fs)
	if err := fs.Parse(words[1:]); err != nil {
		return failed(exitBadArguments, err)
	}
	what, err := w.order(flags, fs.Args(), fs.ArgsLenAtDash())
	if errors.Is(err, errWatchEnds) {
		fmt.Fprintf(stderr, "Invalid command %s (%v)\n", line, err)
		return nil
	}
	if err != nil {
		return failed(exitBadArguments, err)
	}
	answers := w.start(what)
	go func() {
		if err := w.show(answers, what.command); err != nil {
			select {
			case broken <- err:
			default:
			}
		}
	}()
	return nil
}
