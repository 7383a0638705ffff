package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// globals is the settings that every command which speaks to a cluster knows.
type globals struct {
	endpoints []string

	writeOut string
	hex      bool

	dialTimeout      time.Duration
	commandTimeout   time.Duration
	keepaliveTime    time.Duration
	keepaliveTimeout time.Duration
	maxRequestBytes  int
	maxRecvBytes     int

	insecureTransport bool
	insecureDiscovery bool
	insecureSkipTLS   bool
	cert, key, cacert string

	user, password string
	token          string

	discoverySRV     string
	discoverySRVName string

	debug bool
}

// settingAnnotation marks a flag whose value may also come from the environment.
const settingAnnotation = "holdfast-setting"

// clientAnnotation marks the flags of globals, which the help shows apart from a command's own.
const clientAnnotation = "holdfast-client"

func (g *globals) register(fs *pflag.FlagSet) {
	own := pflag.NewFlagSet("client", pflag.ContinueOnError)
	own.StringSliceVar(&g.endpoints, "endpoints", []string{"127.0.0.1:2379"}, "members to speak to, as `host:port` or URL, separated by commas")
	own.BoolVar(&g.debug, "debug", false, "log on standard error what the client does")

	own.StringVarP(&g.writeOut, "write-out", "w", "simple", "`format` of the answer: "+strings.Join(formats, ", "))
	own.BoolVar(&g.hex, "hex", false, "show keys and values (simple), identifiers and leases (fields) as hexadecimal numbers")

	own.DurationVar(&g.dialTimeout, "dial-timeout", 2*time.Second, "how long to wait for a connection and the login")
	own.DurationVar(&g.commandTimeout, "command-timeout", 5*time.Second, "how long to wait for the answer to one request")
	own.DurationVar(&g.keepaliveTime, "keepalive-time", 2*time.Second, "pause between two probes of an idle connection")
	own.DurationVar(&g.keepaliveTimeout, "keepalive-timeout", 6*time.Second, "how long to wait for the answer to a probe")
	own.IntVar(&g.maxRequestBytes, "max-request-bytes", 0, "largest request to send, in bytes (0 means 2 MiB)")
	own.IntVar(&g.maxRecvBytes, "max-recv-bytes", 0, "largest answer to accept, in bytes (0 means 2 GiB less one byte)")

	own.BoolVar(&g.insecureTransport, "insecure-transport", true, "speak without TLS unless an endpoint or a certificate asks for it")
	own.BoolVar(&g.insecureDiscovery, "insecure-discovery", true, "accept SRV records that name endpoints without TLS")
	own.BoolVar(&g.insecureSkipTLS, "insecure-skip-tls-verify", false, "do not check the server's certificate (for tests only)")
	own.StringVar(&g.cert, "cert", "", "`file` of the client's certificate (PEM)")
	own.StringVar(&g.key, "key", "", "`file` of the client's private key (PEM)")
	own.StringVar(&g.cacert, "cacert", "", "`file` of the authorities that vouch for the servers (PEM)")
	own.StringVar(&g.token, "auth-jwt-token", "", "JSON web `token` to be known by, instead of a user and password")
	own.StringVar(&g.user, "user", "", "user to log in as, as `name[:password]`; without a password it is asked for")
	own.StringVar(&g.password, "password", "", "password of the user; then --user holds the name alone")
	own.StringVarP(&g.discoverySRV, "discovery-srv", "d", "", "DNS `domain` whose SRV records name the endpoints")
	own.StringVar(&g.discoverySRVName, "discovery-srv-name", "", "`suffix` of the service name in the SRV records")

	own.VisitAll(func(f *pflag.Flag) {
		f.Annotations = map[string][]string{settingAnnotation: {"true"}, clientAnnotation: {"true"}}
	})
	fs.AddFlagSet(own)
}

// completeGlobals tells the shell the values of those client flags of c that have few.
func completeGlobals(c *cobra.Command) {
	completeWith(c, "write-out", formats...)
}

// completeWith tells the shell the values of a flag. The flag must exist.
func completeWith(c *cobra.Command, flag string, values ...string) {
	fixed := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := c.RegisterFlagCompletionFunc(flag, fixed); err != nil {
		panic(err) // Only a flag that does not exist, or is registered twice, comes here.
	}
}
