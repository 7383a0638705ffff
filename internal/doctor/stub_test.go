package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// stub is a member that says what a test wants it to: what no real one can be brought to say in a moment.
type stub struct {
	pb.UnimplementedMaintenanceServer
	pb.UnimplementedClusterServer
	pb.UnimplementedAuthServer
	pb.UnimplementedLeaseServer
	pb.UnimplementedKVServer

	url     string
	id      uint64
	status  pb.StatusResponse // but for the header
	hash    uint32
	open    bool   // authentication is disabled
	metrics string // empty: there are none
	ahead   time.Duration
}

func (s *stub) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 7, MemberId: s.id, Revision: 5, RaftTerm: s.status.RaftTerm}
}

func (s *stub) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{Header: s.header(), Version: s.status.Version, Leader: 1, RaftIndex: s.status.RaftIndex,
		RaftTerm: s.status.RaftTerm, RaftAppliedIndex: s.status.RaftAppliedIndex, IsLearner: s.status.IsLearner, DbSizeQuota: -1}, nil
}

func (s *stub) HashKV(context.Context, *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	return &pb.HashKVResponse{Header: s.header(), Hash: s.hash}, nil
}

func (s *stub) Alarm(context.Context, *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	return &pb.AlarmResponse{Header: s.header()}, nil
}

func (s *stub) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	return &pb.MemberListResponse{Header: s.header()}, nil
}

func (s *stub) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return &pb.AuthStatusResponse{Header: s.header(), Enabled: !s.open}, nil
}

func (s *stub) Authenticate(_ context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return &pb.AuthenticateResponse{Header: s.header(), Token: "t." + r.Name}, nil
}

func (s *stub) LeaseLeases(context.Context, *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	return &pb.LeaseLeasesResponse{Header: s.header()}, nil
}

func (s *stub) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	return &pb.RangeResponse{Header: s.header()}, nil
}

// serve starts the stub.
func (s *stub) serve(t testing.TB) *stub {
	t.Helper()
	g := grpc.NewServer()
	pb.RegisterMaintenanceServer(g, s)
	pb.RegisterClusterServer(g, s)
	pb.RegisterAuthServer(g, s)
	pb.RegisterLeaseServer(g, s)
	pb.RegisterKVServer(g, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))
		switch {
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
			g.ServeHTTP(w, r)
		case r.URL.Path == "/metrics" && s.metrics != "":
			_, _ = w.Write([]byte(s.metrics))
		default:
			http.NotFound(w, r)
		}
	}), Protocols: &http.Protocols{}}
	h.Protocols.SetHTTP1(true)
	h.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = h.Serve(l)
	}()
	t.Cleanup(func() {
		_ = h.Close()
		<-served
	})
	return s
}

// pair serves two members of one cluster that differ as change says.
func pair(t testing.TB, change func(a, b *stub)) (a, b *stub) {
	a, b = &stub{id: 1, open: true, metrics: "# none\n"}, &stub{id: 2, open: true, metrics: "# none\n"}
	for _, s := range []*stub{a, b} {
		s.status = pb.StatusResponse{Version: "3.7.0", RaftTerm: 3, RaftIndex: 50_000, RaftAppliedIndex: 50_000}
	}
	change(a, b)
	return a.serve(t), b.serve(t)
}

func TestMembersThatDiffer(t *testing.T) {
	for id, c := range map[string]struct {
		change func(a, b *stub)
		want   func(a, b *stub) string
	}{
		"terms-differ": {
			func(a, b *stub) { b.status.RaftTerm = 4 },
			func(a, b *stub) string {
				return fmt.Sprintf("The members are in different terms: 3 (%s), 4 (%s).", a.url, b.url)
			},
		},
		"versions-differ": {
			func(a, b *stub) { b.status.Version = "3.6.1" },
			func(a, b *stub) string {
				return fmt.Sprintf("The members run different versions: 3.6.1 (%s), 3.7.0 (%s).", b.url, a.url)
			},
		},
		"hash-differs": {
			func(a, b *stub) { a.hash, b.hash = 0x11, 0x22 },
			func(a, b *stub) string {
				return fmt.Sprintf("The members hold different keys at revision 5: 00000011 (%s), 00000022 (%s).", a.url, b.url)
			},
		},
		"clocks-apart": {
			func(a, b *stub) {
				a.metrics = "holdfast_peer_clock_offset_seconds{To=\"2\"} -7.5\n"
			},
			func(a, b *stub) string { return "The clocks of member 0000000000000001 and member 2 are 7.5s apart." },
		},
		"member-lagging": {
			func(a, b *stub) { b.status.RaftIndex, b.status.RaftAppliedIndex = 30_000, 30_000 },
			func(a, b *stub) string { return "The member at " + b.url + " is 20000 entries behind the others." },
		},
		"learner-behind": {
			func(a, b *stub) {
				b.status.RaftIndex, b.status.RaftAppliedIndex, b.status.IsLearner = 30_000, 30_000, true
			},
			func(a, b *stub) string {
				return "The learner at " + b.url + " is 20000 entries behind; it cannot be promoted yet."
			},
		},
		"apply-behind": {
			func(a, b *stub) { b.status.RaftAppliedIndex = 44_999 },
			func(a, b *stub) string {
				return "The member at " + b.url + " has 5001 committed entries that it has not applied yet."
			},
		},
		"proposals-pending": {
			func(a, b *stub) { b.metrics = "etcd_server_proposals_pending 1001\n" },
			func(a, b *stub) string { return "1001 writes wait at " + b.url + " to be decided." },
		},
		"slow-watchers": {
			func(a, b *stub) {
				b.metrics = "etcd_debugging_mvcc_slow_watcher_total 101\netcd_debugging_mvcc_pending_events_total 9\n"
			},
			func(a, b *stub) string { return "101 watchers of " + b.url + " lag behind, with 9 events waiting." },
		},
		"no-metrics": {
			func(a, b *stub) { b.metrics = "" },
			func(a, b *stub) string {
				return "The metrics of " + b.url + " cannot be read: the answer is 404 Not Found. Disk, network and queues were not looked at."
			},
		},
		"root-without-password": {
			func(a, b *stub) { a.open = false },
			func(a, b *stub) string { return "Anybody can log in as root: its password is empty." },
		},
	} {
		t.Run(id, func(t *testing.T) {
			a, b := pair(t, c.change)
			found := examine(t, nil, a.url, b.url)
			expect(t, found, id, c.want(a, b))
			if len(found) != 1 && id != "apply-behind" /* which is behind the others too */ {
				t.Errorf("%d conditions were found: %+v", len(found), found)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		a, b := pair(t, func(a, b *stub) {})
		if found := examine(t, nil, a.url, b.url); len(found) > 0 {
			t.Errorf("two members that are well have these findings: %+v", found)
		}
	})
}

// A date counts seconds and is cut, so that the distance is only about right.
func TestClocksByTheDate(t *testing.T) {
	a, b := pair(t, func(a, b *stub) { b.ahead = time.Hour + time.Minute })
	found := examine(t, nil, a.url, b.url)
	if len(found) != 1 || found[0].Sentence != "The clocks of "+b.url+" and this machine are 1.0 hours apart." {
		t.Errorf("found %+v", found)
	}
}
