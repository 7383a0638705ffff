// Command lab is a small story about a registry of logged-in users, kept in a Holdfast (or etcd) cluster: see
// README.md. lab.py beside it tells the same story in Python, and prints the same.
//
//	go run ./examples/lab [--endpoint 127.0.0.1:2379] [--cacert FILE] [--cert FILE --key FILE] [--user NAME --password PASSWORD]
//
// Each task does one thing to the registry, prints what it sees and checks it. The program ends with 0 if
// everything was as told, and with 1 and a sentence if not.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// timeout is how long the lab waits for one answer.
const timeout = 5 * time.Second

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run tells the story and returns the code to exit with.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	failed := func(err error) int {
		fmt.Fprintf(stderr, "The request to the member at %s failed: %v. If none runs there, start one with \"holdfast\", or name another with --endpoint.\n", o.endpoint, err)
		return 1
	}
	etcd, err := o.connect()
	if err != nil {
		return failed(err)
	}
	defer etcd.Close()
	l := &lab{etcd: etcd, connect: o.connect, users: readUsers(), out: stdout}
	for i, t := range tasks {
		fmt.Fprintf(stdout, "%d. %s\n", i+1, t.title)
		err := t.do(l)
		if told, ok := errors.AsType[*notAsTold](err); ok {
			fmt.Fprintf(stderr, "Not as told: %v.\n", told)
			return 1
		}
		if err != nil {
			return failed(err)
		}
	}
	fmt.Fprintln(stdout, "Everything was as told.")
	return 0
}

// lab is what every task works with.
type lab struct {
	etcd    *clientv3.Client
	connect func() (*clientv3.Client, error) // gives another client
	users   []user                           // in the order in which they log in
	out     io.Writer
}

// user is one line of the registry.
type user struct{ name, host string }

//go:embed users.txt
var userList string

func readUsers() []user {
	var users []user
	for line := range strings.Lines(userList) {
		name, host, _ := strings.Cut(strings.TrimSpace(line), " ")
		users = append(users, user{name, host})
	}
	return users
}

func (l *lab) printf(format string, args ...any) { fmt.Fprintf(l.out, "  "+format+"\n", args...) }

func (l *lab) show(users []user) {
	for _, u := range users {
		l.printf("%s is logged in at %s", u.name, u.host)
	}
}

// notAsTold is the error of a check: what was seen is not what README.md promises.
type notAsTold struct {
	what           string
	seen, expected any
}

func (n *notAsTold) Error() string {
	return fmt.Sprintf("%s: saw %v, expected %v", n.what, n.seen, n.expected)
}

func check[T any](what string, seen, expected T) error {
	if reflect.DeepEqual(seen, expected) {
		return nil
	}
	return &notAsTold{what, seen, expected}
}

// checks returns the first error among those of several checks.
func checks(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// inTime is the context of one request.
func inTime() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), timeout)
}
