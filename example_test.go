package holdfast_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast"
)

// A member inside a program: it is started, written to and read from with etcd's client, and closed.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "holdfast-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	c := holdfast.DefaultConfig()
	c.DataDir = filepath.Join(dir, "data")
	c.ListenClientURLs = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}} // a port that is free
	c.ListenPeerURLs = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	member, err := holdfast.Start(ctx, c, holdfast.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer member.Close()

	client, err := clientv3.New(clientv3.Config{Endpoints: member.ClientEndpoints()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Put(ctx, "greeting", "hello"); err != nil {
		log.Fatal(err)
	}
	answer, err := client.Get(ctx, "greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, at revision %d\n", answer.Kvs[0].Value, answer.Header.Revision)
	// Output: hello, at revision 2
}

// Three members in one program are a cluster that survives the loss of one. They wait for each other, so they are started at
// the same time.
func Example_cluster() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "holdfast-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// Members have to know each other's addresses before they start.
	names := []string{"a", "b", "c"}
	var hosts, list []string
	for _, name := range names {
		host, err := freeHost()
		if err != nil {
			log.Fatal(err)
		}
		hosts, list = append(hosts, host), append(list, name+"=http://"+host)
	}
	members := make([]*holdfast.Member, len(names))
	var starting sync.WaitGroup
	for i, name := range names {
		c, err := holdfast.ParseConfig("--name="+name, "--data-dir="+filepath.Join(dir, name),
			"--listen-client-urls=http://127.0.0.1:0", "--listen-peer-urls=http://"+hosts[i], "--initial-advertise-peer-urls=http://"+hosts[i],
			"--initial-cluster="+strings.Join(list, ","), "--initial-cluster-token=example")
		if err != nil {
			log.Fatal(err)
		}
		starting.Go(func() {
			var err error
			if members[i], err = holdfast.Start(ctx, c, holdfast.Options{}); err != nil {
				log.Fatal(err)
			}
		})
	}
	starting.Wait()
	for _, m := range members[1:] {
		defer m.Close()
	}

	client, err := clientv3.New(clientv3.Config{Endpoints: members[1].ClientEndpoints()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := members[0].Close(); err != nil { // the other two are a majority
		log.Fatal(err)
	}
	if _, err := client.Put(ctx, "greeting", "hello"); err != nil {
		log.Fatal(err)
	}
	answer, err := client.Get(ctx, "greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, without %s\n", answer.Kvs[0].Value, names[0])
	// Output: hello, without a
}

// freeHost is an address of this machine that nobody listens on.
func freeHost() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
