package main

import (
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdCommand makes the bench program an etcd server: its arguments are the data directory, the client URL, the peer URL, its name, the
// initial cluster and the state of that, as the flags of etcd have them.
const etcdCommand = "serve-etcd"

// etcdQuota is the one setting that is not etcd's default, which a million keys with their history would exceed.
const etcdQuota = 8 << 30

func serveEtcd(args []string) int {
	if len(args) != 6 {
		fmt.Fprintf(os.Stderr, "%s takes a data directory, a client URL, a peer URL, a name, the initial cluster and its state\n", etcdCommand)
		return 2
	}
	c := embed.NewConfig()
	client, err := url.Parse(args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	peer, err := url.Parse(args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	c.Dir, c.Name, c.InitialCluster, c.ClusterState = args[0], args[3], args[4], args[5]
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	c.QuotaBackendBytes = etcdQuota
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	e, err := embed.StartEtcd(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer e.Close()
	select {
	case <-signals:
		return 0
	case err := <-e.Err():
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
}
