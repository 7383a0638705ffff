package tcpproxy

import (
	"errors"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"holdfast/internal/cli"
)

// Command returns the command gateway, with its start below it.
func Command() *cobra.Command {
	c := &cobra.Command{Use: "gateway", Short: "Pass TCP connections on to the members of a cluster"}
	c.AddCommand(startCommand())
	return c
}

func startCommand() *cobra.Command {
	var d Discovery
	var listen string
	var pause time.Duration
	c := &cobra.Command{
		Use:   "start",
		Short: "Start the gateway",
		Long: "Listens for clients and passes each connection on to one of the endpoints, byte by byte. TLS stays between the client and " +
			"the member, whose certificate must bear the name by which the client knows the gateway.",
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.BadArguments("gateway start takes no arguments, and got %q", args)
			}
			if pause <= 0 {
				return cli.BadArguments("--retry-delay is %v, but must be above 0", pause)
			}
			logger, err := zap.NewProduction()
			if err != nil {
				return err
			}
			defer func() { _ = logger.Sync() }()
			endpoints, records, err := d.Find(logger)
			if err != nil {
				return err
			}
			targets, err := Targets(endpoints, records)
			if err != nil {
				return err
			}
			if err := checkNoLoop(listen, targets); err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			logger.Info("ready to proxy client requests", zap.Stringer("address", l.Addr()), zap.Strings("endpoints", endpoints))
			if err := New(targets, pause, logger).Serve(ctx, l); err != nil {
				return errors.Join(errors.New("the gateway stopped"), err)
			}
			return nil
		}),
	}
	f := c.Flags()
	f.StringVar(&listen, "listen-addr", "127.0.0.1:23790", "where clients connect, as `host:port`")
	f.StringSliceVar(&d.Given, "endpoints", []string{"127.0.0.1:2379"}, "members to pass connections on to, separated by commas")
	f.StringVar(&d.Domain, "discovery-srv", "", "DNS `domain` whose SRV records name the members")
	f.StringVar(&d.Service, "discovery-srv-name", "", "`suffix` of the service name in the SRV records")
	f.BoolVar(&d.Insecure, "insecure-discovery", false, "take the members that DNS names without checking their certificates")
	f.DurationVar(&pause, "retry-delay", time.Minute, "how long a member that cannot be reached is left alone")
	f.StringVar(&d.CAFile, "trusted-ca-file", "", "`file` of the authorities that vouch for the members that DNS names (PEM)")
	return c
}
