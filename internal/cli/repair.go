package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

func (f *family) memberRepairCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Fetch the state of a member in quarantine anew from the others",
		Long: "Fetch the state of a member in quarantine anew from the others: of one whose state differs from the majority's, or whose store is\n" +
			"damaged, which the alarm CORRUPT and the member's log say. Give its own client URL as --endpoints; members that are well are\n" +
			"left alone. Its digest and the hash of its keys are compared with the majority's before it serves again.\n\n" +
			"The others go on serving meanwhile. The command may be stopped and run again at any moment.",
	}
	cmd.Flags().DurationVar(&wait, "wait", time.Hour, "how long it may take")
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return badArguments("member repair takes no arguments; give the endpoint of the member as --endpoints")
		}
		connector, err := f.connector(cmd)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), wait)
		defer cancel()
		repaired := 0
		var failures error
		for _, endpoint := range connector.spec.Endpoints {
			r, err := repair(ctx, connector, endpoint)
			switch {
			case err != nil:
				failures = errors.Join(failures, fmt.Errorf("%s: %w", endpoint, err))
			case r == nil:
				fmt.Fprintf(cmd.OutOrStdout(), "%s: this member is not in quarantine; there is nothing to repair.\n", endpoint)
			default:
				repaired++
				fmt.Fprintf(cmd.OutOrStdout(), "%s: repaired in %v. It was in quarantine because %s. Its digest agrees with the majority's after entry %d, its keys at revision %d.\n",
					endpoint, r.took.Round(time.Millisecond), r.cause, r.index, r.revision)
			}
		}
		switch {
		case failures != nil:
			return failed(exitFailed, failures)
		case repaired == 0:
			return failed(exitFailed, errors.New("no member was repaired"))
		}
		return nil
	})
	return cmd
}

// repaired is the answer of Cluster.Repair.
type repaired struct {
	cause           string
	index, revision uint64
	took            time.Duration
}

// repair repairs the member at one endpoint. It returns nil without an error if there was nothing to repair.
func repair(ctx context.Context, connector *connector, endpoint string) (*repaired, error) {
	client, err := connector.open(endpoint)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	answer, err := invokeRaw(ctx, client, "/holdfast.v1.Cluster/Repair", rawMessage{})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil, errors.New("this member cannot be repaired so: it is etcd's, or of an earlier Holdfast; use member replace")
	case status.Code(err) == codes.FailedPrecondition && status.Convert(err).Message() == nothingToRepair:
		return nil, nil
	case err != nil:
		return nil, errors.New(status.Convert(err).Message())
	}
	return decodeRepaired(answer)
}

// nothingToRepair is what a member says that is well.
const nothingToRepair = "this member is not in quarantine: there is nothing to repair"

func decodeRepaired(b []byte) (*repaired, error) {
	r := &repaired{}
	broken := errors.New("the member has answered with what this version does not understand")
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, broken
		}
		b = b[n:]
		switch {
		case number == 2 && kind == protowire.BytesType:
			var text []byte
			if text, n = protowire.ConsumeBytes(b); n >= 0 {
				r.cause = string(text)
			}
		case number >= 3 && number <= 5 && kind == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			switch number {
			case 3:
				r.index = v
			case 4:
				r.revision = v
			default:
				r.took = time.Duration(v)
			}
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return nil, broken
		}
		b = b[n:]
	}
	return r, nil
}
