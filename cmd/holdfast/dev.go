package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"holdfast"
	"holdfast/internal/config"
)

// devCluster is a whole cluster on this machine, for trying things out.
type devCluster struct {
	members   int
	processes bool
	dir       string
	basePort  int
	more      []string // flags that every member gets
	out       io.Writer

	list []*devMember
}

// devMember is one of its members.
type devMember struct {
	name, client, peer string
	args               []string

	here    *holdfast.Member // in this process
	command *exec.Cmd        // or in its own
	ended   chan struct{}    // closed when it has ended, with or without being asked to
	err     error            // why; set before
}

// maxDevMembers is how many members a cluster for trying things out may have.
const maxDevMembers = 9

func devCommand() *cobra.Command {
	d := &devCluster{}
	c := &cobra.Command{
		Use:   "dev [flags] [-- flags of serve]",
		Short: "Run a whole cluster on this machine, for trying things out",
		Long: "Run a whole cluster on this machine, for trying things out. Ctrl-C ends it and removes what it has written, unless --dir is\n" +
			"given. All members run in one process, or each in its own, so that it can be killed. What stands after -- goes to every\n" +
			"member.",
		Example: "  holdfast dev --members=3\n  holdfast dev --members=5 --processes --dir=cluster -- --log-level=info",
		RunE: func(cmd *cobra.Command, args []string) error {
			d.more, d.out = args, cmd.OutOrStdout()
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return d.run(ctx, stop)
		},
	}
	c.Flags().IntVar(&d.members, "members", 3, "how many members")
	c.Flags().BoolVar(&d.processes, "processes", false, "give each member a process of its own")
	c.Flags().StringVar(&d.dir, "dir", "", "`directory` for the data, which then stays; without it a temporary one is used and removed")
	c.Flags().IntVar(&d.basePort, "base-port", 2379, "client port of the first member; the next has one that is 10 higher, and members talk at the port after it. 0 picks free ones")
	return c
}

// run starts the cluster and ends it when ctx ends or no member is left.
func (d *devCluster) run(ctx context.Context, stop func()) (err error) {
	if d.members < 1 || d.members > maxDevMembers {
		return d.fail("--members is %d, but must be from 1 to %d", d.members, maxDevMembers)
	}
	syscall.Umask(0o077)
	if d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "holdfast-dev-"); err != nil {
			return d.fail("make a temporary directory: %v", err)
		}
		defer os.RemoveAll(d.dir)
		defer d.end() // before what is in use is removed
	} else {
		defer d.end()
	}
	if err := d.plan(); err != nil {
		return d.fail("%v", err)
	}
	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return d.fail("could not start the cluster: %v", err)
	}
	d.greet()
	if d.wait(ctx) {
		return d.fail("no member is left")
	}
	stop() // a second signal ends the process at once
	fmt.Fprintln(d.out, "Ending the cluster.")
	return nil
}

func (d *devCluster) fail(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	fmt.Fprintf(os.Stderr, "holdfast dev: %v\n", err)
	return err
}

// plan gives each member its name, its addresses and its flags.
func (d *devCluster) plan() error {
	var initial []string
	for i := range d.members {
		m := &devMember{name: fmt.Sprintf("m%d", i+1), ended: make(chan struct{})}
		var err error
		if m.client, err = d.address(10 * i); err != nil {
			return err
		}
		if m.peer, err = d.address(10*i + 1); err != nil {
			return err
		}
		initial = append(initial, m.name+"=http://"+m.peer)
		d.list = append(d.list, m)
	}
	for _, m := range d.list {
		m.args = append([]string{
			"--name=" + m.name, "--data-dir=" + filepath.Join(d.dir, m.name+".holdfast"),
			"--listen-client-urls=http://" + m.client, "--advertise-client-urls=http://" + m.client,
			"--listen-peer-urls=http://" + m.peer, "--initial-advertise-peer-urls=http://" + m.peer,
			"--initial-cluster=" + strings.Join(initial, ","), "--initial-cluster-token=holdfast-dev", "--log-level=warn",
		}, d.more...)
	}
	return nil
}

// address is the one at an offset from the base port, or a free one.
func (d *devCluster) address(offset int) (string, error) {
	port := 0
	if d.basePort != 0 {
		port = d.basePort + offset
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return "", fmt.Errorf("port %d cannot be used: %w; give --base-port another value, or 0 for free ports", port, err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start starts all members at the same time and returns when all of them serve.
func (d *devCluster) start(ctx context.Context) error {
	errs := make([]error, len(d.list))
	var group sync.WaitGroup
	for i, m := range d.list {
		group.Go(func() {
			if d.processes {
				errs[i] = d.spawn(ctx, m)
			} else {
				errs[i] = m.startHere(ctx)
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", m.name, errs[i])
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// startHere starts a member in this process.
func (m *devMember) startHere(ctx context.Context) error {
	c, _, err := config.Parse("holdfast", m.args, nil, os.ReadFile)
	if err != nil {
		return err
	}
	logger, err := newLogger(&c, true)
	if err != nil {
		return err
	}
	if m.here, err = holdfast.Start(ctx, c, holdfast.Options{Logger: logger.With(zap.String("member", m.name))}); err != nil {
		return err
	}
	go func() {
		<-m.here.Done()
		m.err = m.here.Err()
		close(m.ended)
	}()
	return nil
}

// spawn starts a member in a process of its own and waits until it answers.
func (d *devCluster) spawn(ctx context.Context, m *devMember) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	m.command = exec.Command(program, append([]string{"serve"}, m.args...)...)
	m.command.SysProcAttr = ownGroup() // Ctrl-C goes to this process, which passes it on
	read, write := io.Pipe()
	m.command.Stdout, m.command.Stderr = write, write
	go m.prefix(read)
	if err := m.command.Start(); err != nil {
		m.command = nil
		return err
	}
	go func() {
		m.err = m.command.Wait()
		_ = write.Close()
		close(m.ended)
	}()
	for {
		response, err := http.Get("http://" + m.client + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-m.ended:
			return errors.New("it ended; what it said stands above")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// prefix passes on what a process says, each line with the member's name before it.
func (m *devMember) prefix(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fmt.Fprintf(os.Stderr, "%s | %s\n", m.name, lines.Text())
	}
	_, _ = io.Copy(io.Discard, r) // a line that is too long does not hold the process up
}

// greet says what there is and what to do with it.
func (d *devCluster) greet() {
	var endpoints []string
	for _, m := range d.list {
		endpoints = append(endpoints, m.client)
	}
	where := "in this process"
	if d.processes {
		where = "each in its own process"
	}
	fmt.Fprintf(d.out, "A cluster of %d members runs, %s, with its data in %s:\n\n", d.members, where, d.dir)
	for _, m := range d.list {
		fmt.Fprintf(d.out, "  %s  clients at http://%s, members at http://%s", m.name, m.client, m.peer)
		if m.command != nil {
			fmt.Fprintf(d.out, ", process %d", m.command.Process.Pid)
		}
		fmt.Fprintln(d.out)
	}
	all := strings.Join(endpoints, ",")
	fmt.Fprintf(d.out, "\nTry:\n\n  holdfast put --endpoints=%s greeting hello\n  holdfast endpoint status --endpoints=%s --write-out=table\n\nCtrl-C ends it.\n", all, all)
}

// wait waits until ctx ends, or no member is left. It says which member ends by itself; the others go on.
func (d *devCluster) wait(ctx context.Context) (none bool) {
	left := slices.Clone(d.list)
	gone := make(chan *devMember)
	for _, m := range left {
		go func() {
			<-m.ended
			select {
			case gone <- m:
			case <-ctx.Done():
			}
		}()
	}
	for len(left) > 0 {
		select {
		case <-ctx.Done():
			return false
		case m := <-gone:
			left = slices.DeleteFunc(left, func(o *devMember) bool { return o == m })
			fmt.Fprintf(d.out, "Member %s has ended (%v). To start it again:\n\n  holdfast serve %s\n\n", m.name, m.err, strings.Join(m.args, " "))
		}
	}
	return true
}

// end ends what runs, all at the same time, and waits for it.
func (d *devCluster) end() {
	var group sync.WaitGroup
	for _, m := range d.list {
		group.Go(func() {
			switch {
			case m.here != nil:
				_ = m.here.Close()
			case m.command != nil:
				_ = m.command.Process.Signal(syscall.SIGTERM)
				select {
				case <-m.ended:
				case <-time.After(10 * time.Second):
					_ = m.command.Process.Kill()
					<-m.ended
				}
			}
		})
	}
	group.Wait()
}
