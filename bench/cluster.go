package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// membersGroup is the beginning of the names of the rows of three members, and the name of all of them.
const membersGroup = "members"

// clusterSize is how many members the clusters have.
const clusterSize = 3

// A cluster is the running members of a system.
type cluster struct {
	members []*server
}

// startCluster starts three members on empty directories and waits until each answers.
func (t *trial) startCluster(ctx context.Context) (*cluster, error) {
	c := &cluster{}
	var entries []string
	for i := range clusterSize {
		v, err := locate(t.system, fmt.Sprintf("%s-%d", t.data(), i), fmt.Sprintf("m%d", i))
		if err != nil {
			return nil, err
		}
		if err := os.RemoveAll(v.dir); err != nil {
			return nil, err
		}
		c.members = append(c.members, v)
		entries = append(entries, v.entry())
	}
	for _, v := range c.members {
		v.cluster, v.state = strings.Join(entries, ","), "new"
		if err := v.exec(); err != nil {
			c.kill()
			return nil, err
		}
	}
	for _, v := range c.members {
		if _, err := v.answers(ctx, nil); err != nil {
			c.kill()
			return nil, err
		}
	}
	return c, nil
}

// kill ends all members that run, and removes their data: the next row needs the room.
func (c *cluster) kill() {
	for _, v := range c.members {
		if v.process != nil {
			_ = v.stop(syscall.SIGKILL)
		}
		_ = os.RemoveAll(v.dir)
	}
}

// leaderFirst finds who leads and puts it before the others.
func (c *cluster) leaderFirst(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		for i, v := range c.members {
			if s, err := v.status(ctx); err == nil && s.Leader == s.Header.MemberId {
				c.members[0], c.members[i] = c.members[i], c.members[0]
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody leads: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// status asks a member where it stands.
func (v *server) status(ctx context.Context) (*pb.StatusResponse, error) {
	conn, err := v.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
}

// level waits until every member has applied what the first has now.
func (c *cluster) level(ctx context.Context) error {
	first, err := c.members[0].status(ctx)
	if err != nil {
		return err
	}
	for _, v := range c.members[1:] {
		if err := v.reaches(ctx, first.RaftAppliedIndex); err != nil {
			return err
		}
	}
	return nil
}

// reaches waits until a member has applied the entry of an index.
func (v *server) reaches(ctx context.Context, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		s, err := v.status(ctx)
		if err == nil && s.RaftAppliedIndex >= index {
			return nil
		}
		select {
		case <-v.ended:
			return fmt.Errorf("%s ended while it was to catch up (%w):\n%s", v.system.name, v.exit, v.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%s does not come to entry %d: %w\n%s", v.system.name, index, errors.Join(err, ctx.Err()), v.lastWords())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *cluster) pids() []int {
	var pids []int
	for _, v := range c.members {
		pids = append(pids, v.pid())
	}
	return pids
}

// replace removes a follower, wipes it, and adds it again as a new member at new addresses, which is started. It returns the moment before
// that start.
func (c *cluster) replace(ctx context.Context, i int, dir string) (began time.Time, err error) {
	old := c.members[i]
	conn, err := c.members[0].dial()
	if err != nil {
		return began, err
	}
	defer conn.Close()
	api := pb.NewClusterClient(conn)
	list, err := api.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil {
		return began, err
	}
	at := slices.IndexFunc(list.Members, func(m *pb.Member) bool { return m.Name == old.name })
	if at < 0 {
		return began, fmt.Errorf("there is no member %s", old.name)
	}
	if err := old.stop(syscall.SIGTERM); err != nil {
		return began, err
	}
	if _, err := api.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: list.Members[at].ID}); err != nil {
		return began, fmt.Errorf("remove a member: %w", err)
	}
	if err := os.RemoveAll(old.dir); err != nil {
		return began, err
	}
	v, err := locate(old.system, filepath.Join(dir, old.system.name+"-again"), old.name)
	if err != nil {
		return began, err
	}
	if err := os.RemoveAll(v.dir); err != nil {
		return began, err
	}
	// Both refuse while the others have not been connected for five seconds.
	for {
		_, err = api.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://" + v.peer}})
		if status.Code(err) != codes.Unavailable {
			break
		}
		select {
		case <-ctx.Done():
			return began, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	if err != nil {
		return began, fmt.Errorf("add a member: %w", err)
	}
	c.members[i] = v
	var entries []string
	for _, m := range c.members {
		entries = append(entries, m.entry())
	}
	v.cluster, v.state = strings.Join(entries, ","), "existing"
	began = time.Now()
	return began, v.exec()
}
