package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The formats of --write-out.
const (
	formatSimple   = "simple"
	formatFields   = "fields"
	formatJSON     = "json"
	formatProtobuf = "protobuf"
	formatTable    = "table"
)

var formats = []string{formatFields, formatJSON, formatProtobuf, formatSimple, formatTable}

// kvPrinter shows the replies about keys.
type kvPrinter interface {
	Get(*clientv3.GetResponse) error
	Put(*clientv3.PutResponse) error
	Del(*clientv3.DeleteResponse) error
	Txn(*clientv3.TxnResponse) error
}

// endpointPrinter shows what single members said, in the order in which they were asked.
type endpointPrinter interface {
	EndpointHealth([]endpointHealth) error
	EndpointStatus([]endpointStatus) error
	EndpointHashKV([]endpointHash) error
}

// printerOf returns the printer of the chosen format for the family of replies P, or refuses a format that does
// not exist or cannot show them.
func printerOf[P any](g *globals, cmd *cobra.Command) (P, error) {
	var none P
	out := cmd.OutOrStdout()
	if err := checkFormat(g.writeOut); err != nil {
		return none, err
	}
	var printer any
	switch g.writeOut {
	case formatSimple:
		printer = &simplePrinter{out: out, problems: cmd.ErrOrStderr(), hex: g.hex}
	case formatFields:
		printer = &fieldsPrinter{out: out, hex: g.hex}
	case formatJSON:
		printer = &jsonPrinter{out: out, hex: g.hex}
	case formatProtobuf:
		printer = &protobufPrinter{out: out}
	case formatTable:
		printer = &tablePrinter{out: out}
	}
	p, ok := printer.(P)
	if !ok {
		return none, failed(exitBadFeature, fmt.Errorf("%s not supported as output format", g.writeOut))
	}
	return p, nil
}

func checkFormat(name string) error {
	if !slices.Contains(formats, name) {
		return failed(exitBadFeature, errors.New("unsupported output format"))
	}
	return nil
}

// sink writes lines to w and remembers the first error, so that a printer checks once, at its end.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) printf(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}
