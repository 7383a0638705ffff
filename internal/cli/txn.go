package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *family) txnCommand() *cobra.Command {
	var interactive bool
	cmd := &cobra.Command{
		Use:   "txn",
		Short: "Carry out several requests as one transaction, under conditions",
		Long: `Carry out several requests as one transaction, under conditions.

Standard input holds three lists, one item a line, each list ended by an empty line: the conditions; the requests
to carry out if all conditions hold; the requests to carry out if not. Any of them may be empty.

A condition compares one fact about a key, with =, !=, < or >, to a quoted value:

  value("key") = "text"      create("key") > "7"      the revision that created it
  version("key") = "0"       mod("key") < "9"         the revision that last changed it
  lease("key") = "1a2b"      in hexadecimal, as put --lease takes it

(val, ver, c and m are short for value, version, create and mod.) A key that does not exist has version, create,
mod and lease 0. A request is a get, put or del with its flags, as on the command line; a word that holds spaces
stands in quotes: 'as it is', or "with \n and other escapes".`,
		Example: `  txn <<'END'
  version("seat") = "0"

  put seat Ada

  get seat

  END`,
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "ask for each list")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) != 0 {
			return badArguments("txn command does not accept argument")
		}
		c, err := f.connector(cmd)
		if err != nil {
			return err
		}
		p, err := printerOf[kvPrinter](f.globals, cmd)
		if err != nil {
			return err
		}
		prompts := io.Discard
		if interactive {
			prompts = cmd.OutOrStdout()
		}
		t, err := readTransaction(cmd.InOrStdin(), prompts, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		if t.warned {
			time.Sleep(rangeDelay)
		}
		return c.with(func(ctx context.Context, client *clientv3.Client) error {
			resp, err := client.Txn(ctx).If(t.compares...).Then(t.success...).Else(t.failure...).Commit()
			if err != nil {
				return err
			}
			return p.Txn(resp)
		})
	})
	return cmd
}

// transaction is what standard input asked for.
type transaction struct {
	compares []clientv3.Cmp
	success  []clientv3.Op
	failure  []clientv3.Op
	warned   bool // of a range that is to be deleted
}

// readTransaction reads the three lists from stdin and announces each on prompts.
func readTransaction(stdin io.Reader, prompts, stderr io.Writer) (*transaction, error) {
	var t transaction
	lines := bufio.NewReader(stdin)
	fmt.Fprintln(prompts, "compares:")
	err := readList(lines, func(line string) error {
		cmp, err := parseCompare(line)
		t.compares = append(t.compares, cmp)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, branch := range []struct {
		name string
		ops  *[]clientv3.Op
	}{{"success", &t.success}, {"failure", &t.failure}} {
		fmt.Fprintf(prompts, "%s requests (get, put, del):\n", branch.name)
		err := readList(lines, func(line string) error {
			op, warned, err := parseRequest(line, stderr)
			t.warned = t.warned || warned
			*branch.ops = append(*branch.ops, op)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return &t, nil
}

// readList hands each line to item, up to an empty one. An input that ends before that is refused, lest half of
// a transaction be carried out.
func readList(lines *bufio.Reader, item func(line string) error) error {
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return &failure{code: exitBadInput, err: err, hint: "The input ended within the transaction. Put an empty line after each of its three lists, the last one included."}
		}
		if line = strings.TrimSpace(line); line == "" {
			return nil
		}
		if err := item(line); err != nil {
			if _, ok := err.(*failure); ok {
				return err
			}
			return failed(exitBadInput, err)
		}
	}
}
