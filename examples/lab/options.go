package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// options say which member the lab speaks to, and as whom.
type options struct {
	endpoint       string
	cacert         string // file
	cert, key      string // files
	user, password string
}

// parse reads the options. What is wrong with them has been written to stderr when it returns an error.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.endpoint, "endpoint", cmp.Or(os.Getenv("ETCD_ENDPOINT"), "127.0.0.1:2379"), "a member of the cluster, as `host:port`")
	flags.StringVar(&o.cacert, "cacert", "", "`file` with the certificates of those who sign for members; the lab then speaks TLS")
	flags.StringVar(&o.cert, "cert", "", "`file` with the lab's own certificate")
	flags.StringVar(&o.key, "key", "", "`file` with its key")
	flags.StringVar(&o.user, "user", "", "who asks, by `name`")
	flags.StringVar(&o.password, "password", "", "the `password` of the user")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	refuse := func(words string) error {
		fmt.Fprintln(stderr, words)
		return errors.New(words)
	}
	if (o.cert == "") != (o.key == "") || o.cert != "" && o.cacert == "" {
		return o, refuse("--cert and --key go together, and need --cacert")
	}
	if (o.user == "") != (o.password == "") || o.user != "" && o.cacert == "" {
		return o, refuse("--user and --password go together, and need --cacert")
	}
	return o, nil
}

// connect returns a new client; the caller closes it.
func (o options) connect() (*clientv3.Client, error) {
	config := clientv3.Config{Endpoints: []string{o.endpoint}, DialTimeout: timeout, Username: o.user, Password: o.password, Logger: zap.NewNop()}
	if o.cacert != "" {
		signers, err := os.ReadFile(o.cacert)
		if err != nil {
			return nil, err
		}
		config.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		if !config.TLS.RootCAs.AppendCertsFromPEM(signers) {
			return nil, fmt.Errorf("there is no certificate in %s", o.cacert)
		}
	}
	if o.cert != "" {
		own, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, err
		}
		config.TLS.Certificates = []tls.Certificate{own}
	}
	return clientv3.New(config)
}
