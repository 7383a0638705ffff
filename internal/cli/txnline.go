package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// parseCompare reads one condition of a transaction: target("key") operator "value", where key and value are
// quoted as in Go. What follows the value is ignored.
func parseCompare(line string) (clientv3.Cmp, error) {
	none := clientv3.Cmp{}
	malformed := func(why string) (clientv3.Cmp, error) {
		return none, fmt.Errorf("malformed comparison: %s (%s)", line, why)
	}
	target, rest, ok := strings.Cut(line, "(")
	if !ok {
		return malformed(`expected target("key") operator "value"`)
	}
	key, rest, err := cutQuoted(rest)
	if err != nil {
		return malformed("the key must be quoted")
	}
	rest, ok = strings.CutPrefix(rest, ")")
	if !ok {
		return malformed("expected ) after the key")
	}
	rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
	end := strings.IndexFunc(rest, unicode.IsSpace)
	if end < 0 {
		return malformed("expected an operator, a space and a quoted value after the key")
	}
	op, rest := rest[:end], rest[end:]
	switch op {
	case "=", "!=", "<", ">":
	default:
		return malformed("the operator must be =, !=, < or >")
	}
	value, _, err := cutQuoted(rest)
	if err != nil {
		return malformed("the value must be quoted")
	}
	base := 10
	var fact clientv3.Cmp
	switch target {
	case "val", "value":
		return clientv3.Compare(clientv3.Value(key), op, value), nil
	case "ver", "version":
		fact = clientv3.Version(key)
	case "c", "create":
		fact = clientv3.CreateRevision(key)
	case "m", "mod":
		fact = clientv3.ModRevision(key)
	case "lease":
		fact, base = clientv3.LeaseValue(key), 16
	default:
		return malformed("unknown target " + target)
	}
	number, err := strconv.ParseInt(value, base, 64)
	if err != nil {
		return none, fmt.Errorf("invalid txn compare request: %s (%w)", line, err)
	}
	return clientv3.Compare(fact, op, number), nil
}

// cutQuoted takes a Go string literal off the front of s, and the spaces before it.
func cutQuoted(s string) (value, rest string, err error) {
	s = strings.TrimLeftFunc(s, unicode.IsSpace)
	if s == "" || (s[0] != '"' && s[0] != '`') {
		return "", s, strconv.ErrSyntax
	}
	literal, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", s, err
	}
	value, err = strconv.Unquote(literal)
	return value, s[len(literal):], err
}

// parseRequest reads one request of a transaction, and tells whether it deserves a second thought: see
// delFlags.warn. Its command may be shortened, as on the command line of etcdctl.
func parseRequest(line string, stderr io.Writer) (op clientv3.Op, warned bool, err error) {
	invalid := func(why error) (clientv3.Op, bool, error) {
		return clientv3.Op{}, false, fmt.Errorf("invalid txn request: %s (%w)", line, why)
	}
	words, err := splitWords(line)
	if err != nil {
		return invalid(err)
	}
	if len(words) < 2 {
		return invalid(errors.New("expected get, put or del with a key"))
	}
	flags := pflag.NewFlagSet("request", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var get getFlags
	var put putFlags
	var del delFlags
	var build func(args []string) (clientv3.Op, error)
	switch name := words[0]; {
	case strings.HasPrefix("get", name):
		get.register(flags)
		build = func(args []string) (clientv3.Op, error) {
			key, opts, err := get.options(args)
			if err != nil {
				return clientv3.Op{}, err
			}
			return clientv3.OpGet(key, opts...), nil
		}
	case strings.HasPrefix("put", name):
		put.register(flags)
		build = func(args []string) (clientv3.Op, error) {
			// Standard input holds the transaction, so it cannot hold a value as well.
			key, value, opts, err := put.options(args, strings.NewReader(""))
			if err != nil {
				return clientv3.Op{}, err
			}
			return clientv3.OpPut(key, value, opts...), nil
		}
	case strings.HasPrefix("del", name):
		del.register(flags)
		build = func(args []string) (clientv3.Op, error) {
			key, opts, err := del.options(args)
			if err != nil {
				return clientv3.Op{}, err
			}
			warned = del.warn(args, stderr)
			return clientv3.OpDelete(key, opts...), nil
		}
	default:
		return invalid(fmt.Errorf("unknown request %q; the requests are get, put and del", name))
	}
	if err := flags.Parse(words[1:]); err != nil {
		return invalid(err)
	}
	op, err = build(flags.Args())
	return op, warned, err
}

// splitWords cuts a line into words. A word that begins with a quote ends with the same quote: between single
// quotes everything stands for itself, between double quotes escapes are as in Go. A quote within a bare word
// is an ordinary character.
func splitWords(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeftFunc(line, unicode.IsSpace)
		if line == "" {
			return words, nil
		}
		switch line[0] {
		case '\'':
			word, rest, ok := strings.Cut(line[1:], "'")
			if !ok {
				return nil, errors.New("a quote is opened and not closed")
			}
			words, line = append(words, word), rest
		case '"':
			word, rest, err := cutQuoted(line)
			if err != nil {
				return nil, errors.New("a quote is opened and not closed, or holds an unknown escape")
			}
			words, line = append(words, word), rest
		default:
			end := strings.IndexFunc(line, unicode.IsSpace)
			if end < 0 {
				end = len(line)
			}
			words, line = append(words, line[:end]), line[end:]
		}
	}
}
