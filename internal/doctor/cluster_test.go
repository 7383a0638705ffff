package doctor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast/internal/servertest"
)

func TestNothingIsWrong(t *testing.T) {
	m := single(t)
	if _, err := connect(t, m.client).Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if found := examine(t, func(l *Limits) { l.FreeBytes = 0 }, m.client); len(found) > 0 {
		t.Errorf("a member that is well has these findings: %+v", found)
	}
}

func TestNobodyAnswers(t *testing.T) {
	one, other := servertest.FreeAddress(t), servertest.FreeAddress(t)
	found := examine(t, nil, one, other)
	expect(t, found, "no-endpoint-answers", "None of the endpoints answers: "+one+", "+other+".")
	expect(t, found, "member-silent", "The member at "+one+" does not answer: dial tcp "+one+": connect: connection refused.")
	if Code(found) != 2 {
		t.Errorf("the code is %d", Code(found))
	}
}

func TestTwoMembersAndThenOne(t *testing.T) {
	members := together(t, 2)
	a, b := members[0], members[1]
	found := examine(t, nil, a.client)
	expect(t, found, "even-voters", "The cluster has 2 voting members; it survives the loss of no more members than 1 would.")
	expect(t, found, "peer-localhost", "The member m2 has the peer URL "+b.peer+", which only members on the same machine reach.")
	expect(t, found, "advertised-localhost", "The member m1 advertises "+a.client+" to clients, which leads each machine to itself.")
	absent(t, found, "no-quorum", "no-leader", "member-silent", "hash-differs", "clocks-apart", "leader-changes", "not-ready")
	if Code(found) != 1 {
		t.Errorf("the code is %d", Code(found))
	}

	client := connect(t, a.client, b.client)
	list, err := client.MemberList(within(t))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]uint64{}
	for _, m := range list.Members {
		ids[m.Name] = m.ID
	}
	eventually(t, "slow-peer", fmt.Sprintf("The round trip from %s to member %x takes 102µs or longer one time in a hundred.", a.client, ids["m2"]), func() []Finding {
		found = examine(t, func(l *Limits) { l.RoundTrip, l.ElectionFactor, l.Observations = 1, 1e9, 1 }, a.client)
		// What a round trip takes depends on the machine, so that it is the bucket of the histogram.
		for i, f := range found {
			if before, _, ok := strings.Cut(f.Sentence, "takes "); ok && f.ID == "slow-peer" {
				found[i].Sentence = before + "takes 102µs or longer one time in a hundred."
			}
			if before, _, ok := strings.Cut(f.Sentence, "takes "); ok && f.ID == "election-too-short" {
				found[i].Sentence = before + "takes 102µs: leaders will be given up without need."
			}
		}
		return found
	})
	expect(t, found, "election-too-short", "The election timeout of "+a.client+" is 500ms, but a round trip to a peer takes 102µs: leaders will be given up without need.")

	leader := func() (m *member, other uint64) {
		s, err := connect(t, a.client).Status(within(t), a.client)
		if err != nil {
			t.Fatal(err)
		}
		if s.Leader == ids["m1"] {
			return a, ids["m2"]
		}
		return b, ids["m1"]
	}
	for range 6 {
		m, other := leader()
		if _, err := connect(t, m.client).MoveLeader(within(t), other); err != nil {
			t.Logf("move the leader: %v", err) // it may have moved by itself; what counts is the metric
		}
	}
	cut := func() []Finding {
		found := examine(t, nil, a.client)
		for i, f := range found {
			if f.ID == "leader-changes" && strings.HasSuffix(f.Sentence, "as "+a.client+" has seen.") {
				found[i].Sentence = "changed"
			}
		}
		return found
	}
	eventually(t, "leader-changes", "changed", cut)

	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	found = eventually(t, "no-leader", "The member at "+a.client+" knows of no leader.", func() []Finding { return examine(t, nil, a.client) })
	expect(t, found, "no-quorum", "Only 1 of 2 voting members answer, and 2 are needed: nothing can be written, and only serializable reads are answered.")
	expect(t, found, "member-silent", "The member at "+b.client+" does not answer: dial tcp "+hostOf(t, b.client)+": connect: connection refused.")
	if found[0].Severity != Error || found[0].ID != "no-quorum" {
		t.Errorf("the worst is not first: %+v", found[0])
	}
}

func TestLearnerThatIsReady(t *testing.T) {
	a := single(t)
	b := prepare(t, "two")
	added, err := connect(t, a.client).MemberAddAsLearner(within(t), []string{b.peer})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.start(t, "--initial-cluster-state=existing", "--initial-cluster=one="+a.peer+",two="+b.peer); err != nil {
		t.Fatal(err)
	}
	sentence := "The learner at " + b.client + " has caught up and has run for long, and still has no vote."
	eventually(t, "learner-ready", sentence, func() []Finding {
		found := examine(t, func(l *Limits) { l.LearnerPatience = 1 }, a.client)
		for i, f := range found {
			if before, _, ok := strings.Cut(f.Sentence, "has run for "); ok {
				found[i].Sentence = before + "has run for long, and still has no vote."
				if want := fmt.Sprintf("Promote it: \"holdfast member promote %x\".", added.Member.ID); !strings.HasPrefix(f.Advice, want) {
					t.Errorf("the advice is %q, not %q", f.Advice, want)
				}
			}
		}
		return found
	})
	absent(t, examine(t, nil, a.client), "learner-ready", "even-voters", "not-ready")
}

func TestTwoClusters(t *testing.T) {
	a, b := single(t, "--initial-cluster-token=a"), single(t, "--initial-cluster-token=b")
	id := func(m *member) string {
		s, err := connect(t, m.client).Status(within(t), m.client)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", s.Header.ClusterId)
	}
	one, two := id(a)+" ("+a.client+")", id(b)+" ("+b.client+")"
	expect(t, examine(t, nil, a.client, b.client), "cluster-mismatch", "The endpoints belong to different clusters: "+min(one, two)+", "+max(one, two)+".")
}

func TestAlarms(t *testing.T) {
	m := single(t)
	client := connect(t, m.client)
	status, err := client.Status(within(t), m.client)
	if err != nil {
		t.Fatal(err)
	}
	raw := etcdserverpb.NewMaintenanceClient(client.ActiveConnection())
	raise := func(a etcdserverpb.AlarmType) {
		t.Helper()
		if _, err := raw.Alarm(within(t), &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: status.Header.MemberId, Alarm: a}); err != nil {
			t.Fatal(err)
		}
	}
	raise(etcdserverpb.AlarmType_NOSPACE)
	expect(t, examine(t, nil, m.client), "alarm-no-space", fmt.Sprintf("The alarm NOSPACE stands for member %x: writes that need space are refused.", status.Header.MemberId))
	raise(etcdserverpb.AlarmType_CORRUPT)
	found := eventually(t, "quarantined", "The member at "+m.client+" is in quarantine and refuses reads and writes.", func() []Finding { return examine(t, nil, m.client) })
	expect(t, found, "alarm-corrupt", fmt.Sprintf("The alarm CORRUPT stands for member %x: its state differs from the others', or is damaged.", status.Header.MemberId))
	expect(t, found, "not-ready", "The member at "+m.client+" is not ready: data_corruption failed: alarm activated: CORRUPT.")
}

func TestContent(t *testing.T) {
	m := single(t, "--quota-backend-bytes=1000000", "--unsafe-no-fsync")
	client := connect(t, m.client)
	for i := range 12 {
		if _, err := client.Put(within(t), "k", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Put(within(t), "large", strings.Repeat("x", 900_000)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := client.Grant(within(t), 600); err != nil {
			t.Fatal(err)
		}
	}
	found := examine(t, func(l *Limits) {
		l.Revisions, l.Leases, l.FreeBytes, l.Observations, l.Sync, l.Apply = 10, 2, 1<<62, 1, 1, 1
	}, m.client)
	for i, f := range found { // what a disk takes and has is the machine's
		for _, c := range []struct{ id, before, after string }{{"slow-apply", "takes ", " or longer"}, {"slow-sync", "takes ", " or longer"}, {"little-disk-space", "Only ", " are free"}} {
			start, end := strings.Index(f.Sentence, c.before), strings.Index(f.Sentence, c.after)
			if f.ID == c.id && start >= 0 && end > start {
				found[i].Sentence = f.Sentence[:start+len(c.before)] + "#" + f.Sentence[end:]
			}
		}
	}
	expect(t, found, "oversized-value", `The value of the key "large" has 900 kB; many such values make every snapshot and every restart slow.`)
	expect(t, found, "many-leases", "There are 3 leases.")
	expect(t, found, "near-quota", "The member at "+m.client+" uses 90% of its quota: 900 kB of 1.0 MB.")
	expect(t, found, "no-compaction", "The history is never compacted: "+m.client+" keeps 15 revisions and has no policy.")
	expect(t, found, "syncs-off", "The member at "+m.client+" runs with --unsafe-no-fsync: a power cut loses acknowledged writes.")
	expect(t, found, "slow-apply", "The member at "+m.client+" applies slowly: one in a hundred batches takes # or longer.")
	expect(t, found, "little-disk-space", "Only # are free on the disk of "+m.client+".")
	absent(t, examine(t, func(l *Limits) { l.FreeBytes = 0 }, m.client), "many-leases", "no-compaction", "slow-apply", "little-disk-space")
}

func TestSlowDisk(t *testing.T) {
	m := single(t)
	found := examine(t, func(l *Limits) { l.Sync, l.Observations = 1, 1 }, m.client)
	for i, f := range found {
		if before, _, ok := strings.Cut(f.Sentence, "takes "); ok && f.ID == "slow-sync" {
			found[i].Sentence = before + "takes #"
		}
	}
	expect(t, found, "slow-sync", "The disk of "+m.client+" is slow: one in a hundred syncs of the log takes #")
}

func TestOpenToTheWorld(t *testing.T) {
	m := single(t, "--advertise-client-urls=http://holdfast.invalid:2379")
	found := examine(t, nil, m.client)
	expect(t, found, "no-authentication", "Whoever reaches http://holdfast.invalid:2379 may read and write everything: authentication is disabled and no certificate is asked for.")
	for i, f := range found {
		if before, _, ok := strings.Cut(f.Sentence, ": dial tcp"); ok && f.ID == "advertised-unreachable" {
			found[i].Sentence = before
		}
	}
	expect(t, found, "advertised-unreachable", "The member one advertises http://holdfast.invalid:2379, but nobody answers there")
	absent(t, found, "member-silent", "no-quorum")
}

func TestAuthentication(t *testing.T) {
	m := single(t)
	client := connect(t, m.client)
	raw := etcdserverpb.NewAuthClient(client.ActiveConnection())
	if _, err := raw.UserAdd(within(t), &etcdserverpb.AuthUserAddRequest{Name: "root"}); err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() error{
		func() error { _, err := client.UserAdd(within(t), "eve", "e"); return err },
		func() error { _, err := client.UserGrantRole(within(t), "root", "root"); return err },
		func() error { _, err := client.AuthEnable(within(t)); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	as := func(user, password string) []Finding {
		spec := clientv3.ConfigSpec{Endpoints: []string{m.client}, Secure: &clientv3.SecureConfig{InsecureTransport: true}}
		if user != "" {
			spec.Auth = &clientv3.AuthConfig{Username: user, Password: password}
		}
		return examineAs(t, spec, nil)
	}
	absent(t, as("eve", "e"), "root-without-password") // a member of Holdfast's lets nobody in with an empty password
	expect(t, as("", ""), "not-allowed", m.client+" does not tell this user how it is, so that was not looked at.")
	expect(t, as("eve", "wrong"), "login-failed", m.client+" does not accept the user and password: etcdserver: authentication failed, invalid user ID or password.")
	if _, err := raw.UserChangePassword(within(t), &etcdserverpb.AuthUserChangePasswordRequest{Name: "root", Password: "r"}); err == nil {
		t.Error("without a user the password was changed")
	}
}

func TestPeriod(t *testing.T) {
	for d, want := range map[time.Duration]string{
		72 * time.Hour: "3 days", 90 * time.Minute: "1.5 hours", 5 * time.Minute: "5 minutes", 42 * time.Second: "42 seconds",
		1500 * time.Millisecond: "1.5s", 12345 * time.Microsecond: "12ms", 1024 * time.Nanosecond: "1µs",
	} {
		if got := period(d); got != want {
			t.Errorf("%d ns is %q, not %q", d, got, want)
		}
	}
}
