package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/client/pkg/v3/srv"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/status"
)

// connector makes clients as the settings of one command say.
type connector struct {
	spec    clientv3.ConfigSpec
	timeout time.Duration // for one request
	log     *lastError    // nil when the client logs for itself
}

// connector reads the environment, checks the settings and asks for a password if it must. It sends nothing,
// except that --discovery-srv asks DNS.
func (f *family) connector(cmd *cobra.Command) (*connector, error) {
	if err := applyEnvironment(cmd); err != nil {
		return nil, err
	}
	g := f.globals
	stderr := cmd.ErrOrStderr()
	c := &connector{timeout: g.commandTimeout}
	switch {
	case g.debug:
		showSettings(cmd, stderr)
		grpclog.SetLoggerV2(grpclog.NewLoggerV2WithVerbosity(stderr, stderr, stderr, 4))
	case os.Getenv("ETCD_CLIENT_DEBUG") == "":
		c.log = &lastError{}
	}
	for _, file := range []struct{ name, value string }{{"cert", g.cert}, {"key", g.key}, {"cacert", g.cacert}} {
		if file.value == "" && cmd.Flags().Changed(file.name) {
			return nil, badArguments("empty string is passed to --%s option", file.name)
		}
	}
	endpoints, err := g.discover(stderr)
	if err != nil {
		return nil, failed(exitFailed, err)
	}
	auth, err := g.auth(cmd.InOrStdin(), stderr)
	if err != nil {
		return nil, failed(exitFailed, err)
	}
	c.spec = clientv3.ConfigSpec{
		Endpoints:          endpoints,
		DialTimeout:        g.dialTimeout,
		KeepAliveTime:      g.keepaliveTime,
		KeepAliveTimeout:   g.keepaliveTimeout,
		MaxCallSendMsgSize: g.maxRequestBytes,
		MaxCallRecvMsgSize: g.maxRecvBytes,
		Secure: &clientv3.SecureConfig{
			Cert:               g.cert,
			Key:                g.key,
			Cacert:             g.cacert,
			InsecureTransport:  g.insecureTransport,
			InsecureSkipVerify: g.insecureSkipTLS,
		},
		Auth: auth,
	}
	if !g.insecureDiscovery {
		c.spec.Secure.ServerName = g.discoverySRV
	}
	return c, nil
}

// open makes a client of the given endpoints. It waits for a member only to log in.
func (c *connector) open(endpoints ...string) (*clientv3.Client, error) {
	spec := c.spec
	spec.Endpoints = endpoints
	cfg, err := clientv3.NewClientConfig(&spec, nil)
	if err != nil {
		return nil, failed(exitBadArguments, err)
	}
	if c.log != nil {
		cfg.Logger = c.log.logger()
	}
	client, err := clientv3.New(*cfg)
	if err != nil {
		return nil, &failure{code: exitNoConnection, err: err, hint: c.hint(err, endpoints, c.spec.DialTimeout)}
	}
	return client, nil
}

// with runs do on a client of all endpoints, with a context that ends when the time for one request is up, and
// gives its error the code and the hint.
func (c *connector) with(do func(ctx context.Context, client *clientv3.Client) error) error {
	client, err := c.open(c.spec.Endpoints...)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	err = do(ctx, client)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*failure](err); ok {
		return err
	}
	return &failure{code: exitFailed, err: err, hint: c.hint(err, c.spec.Endpoints, c.timeout)}
}

// hint says what to do about err when nobody answered. A refusal explains itself and has none.
func (c *connector) hint(err error, endpoints []string, waited time.Duration) string {
	code := status.Code(err)
	if !errors.Is(err, context.DeadlineExceeded) && code != codes.DeadlineExceeded && code != codes.Unavailable {
		return ""
	}
	var cause string
	if c.log != nil && c.log.text() != "" {
		cause = ": " + c.log.text()
	}
	return fmt.Sprintf("No answer from %s within %v%s. Check that a member serves clients there, name others with --endpoints, or wait longer with --command-timeout.",
		strings.Join(endpoints, ", "), waited, cause)
}

// discover returns the endpoints: those that DNS names if a domain is given, else those of the flag.
func (g *globals) discover(stderr io.Writer) ([]string, error) {
	var endpoints []string
	if g.discoverySRV != "" {
		found, err := srv.GetClient("etcd-client", g.discoverySRV, g.discoverySRVName)
		if err != nil {
			return nil, err
		}
		for _, endpoint := range found.Endpoints {
			if !g.insecureDiscovery && strings.HasPrefix(endpoint, "http://") {
				fmt.Fprintf(stderr, "ignoring discovered insecure endpoint %q\n", endpoint)
				continue
			}
			endpoints = append(endpoints, endpoint)
		}
	}
	if len(endpoints) > 0 {
		return endpoints, nil
	}
	for _, endpoint := range g.endpoints {
		endpoints = append(endpoints, strings.TrimSpace(endpoint))
	}
	return endpoints, nil
}

// auth returns whom to log in as, or nil for nobody. A token takes precedence over a user.
func (g *globals) auth(stdin io.Reader, stderr io.Writer) (*clientv3.AuthConfig, error) {
	switch {
	case g.token != "":
		return &clientv3.AuthConfig{Token: g.token}, nil
	case g.user == "":
		return nil, nil
	case g.password != "":
		return &clientv3.AuthConfig{Username: g.user, Password: g.password}, nil
	}
	name, password, given := strings.Cut(g.user, ":")
	if !given {
		var err error
		if password, err = askPassword(stdin, stderr); err != nil {
			return nil, err
		}
	}
	return &clientv3.AuthConfig{Username: name, Password: password}, nil
}

// showSettings prints the settings as the variables that would set them. Secrets are not shown.
func showSettings(cmd *cobra.Command, stderr io.Writer) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[settingAnnotation] == nil {
			return
		}
		value := f.Value.String()
		switch f.Name {
		case "password", "auth-jwt-token":
			if value != "" {
				value = "(hidden)"
			}
		case "user":
			if name, _, given := strings.Cut(value, ":"); given {
				value = name + ":(hidden)"
			}
		}
		fmt.Fprintf(stderr, "%s=%v\n", envName(envPrefixes[0], f.Name), value)
	})
}
