package cli

import (
	"fmt"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// memberListPrinter shows the members.
type memberListPrinter interface {
	MemberList(*clientv3.MemberListResponse) error
}

// memberPrinter shows the replies to changes of the membership. name and urls are what was asked for.
type memberPrinter interface {
	MemberAdd(name, urls string, r *clientv3.MemberAddResponse) error
	MemberRemove(id uint64, r *clientv3.MemberRemoveResponse) error
	MemberUpdate(id uint64, r *clientv3.MemberUpdateResponse) error
	MemberPromote(id uint64, r *clientv3.MemberPromoteResponse) error
}

// alarmPrinter shows alarms.
type alarmPrinter interface {
	Alarm(*clientv3.AlarmResponse) error
}

// leaderPrinter shows that leadership has moved.
type leaderPrinter interface {
	MoveLeader(leader, target uint64, r *clientv3.MoveLeaderResponse) error
}

func memberRows(r *clientv3.MemberListResponse) (header []string, rows [][]string) {
	header = []string{"ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"}
	for _, m := range r.Members {
		state := "started"
		if m.GetName() == "" {
			state = "unstarted"
		}
		rows = append(rows, []string{
			strconv.FormatUint(m.GetID(), 16),
			state,
			m.GetName(),
			strings.Join(m.GetPeerURLs(), ","),
			strings.Join(m.GetClientURLs(), ","),
			strconv.FormatBool(m.GetIsLearner()),
		})
	}
	return header, rows
}

func (p *tablePrinter) MemberList(r *clientv3.MemberListResponse) error { return p.draw(memberRows(r)) }

func (p *simplePrinter) MemberList(r *clientv3.MemberListResponse) error {
	return p.rows(memberRows(r))
}

// MemberAdd shows the new member, and with which settings it is to be started.
func (p *simplePrinter) MemberAdd(name, urls string, r *clientv3.MemberAddResponse) error {
	s := &sink{w: p.out}
	as := " "
	if r.Member.GetIsLearner() {
		as = " as learner "
	}
	s.printf("Member %16x added%sto cluster %16x\n", r.Member.GetID(), as, r.Header.GetClusterId())
	var cluster []string
	for _, m := range r.Members {
		called := m.GetName()
		if m.GetID() == r.Member.GetID() {
			called = name
		}
		for _, url := range m.GetPeerURLs() {
			cluster = append(cluster, called+"="+url)
		}
	}
	s.printf("\nETCD_NAME=%q\n", name)
	s.printf("ETCD_INITIAL_CLUSTER=%q\n", strings.Join(cluster, ","))
	s.printf("ETCD_INITIAL_ADVERTISE_PEER_URLS=%q\n", urls)
	s.printf("ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n")
	return s.err
}

func (p *simplePrinter) MemberRemove(id uint64, r *clientv3.MemberRemoveResponse) error {
	return p.line("Member %16x removed from cluster %16x", id, r.Header.GetClusterId())
}

func (p *simplePrinter) MemberUpdate(id uint64, r *clientv3.MemberUpdateResponse) error {
	return p.line("Member %16x updated in cluster %16x", id, r.Header.GetClusterId())
}

func (p *simplePrinter) MemberPromote(id uint64, r *clientv3.MemberPromoteResponse) error {
	return p.line("Member %16x promoted in cluster %16x", id, r.Header.GetClusterId())
}

func (p *simplePrinter) Alarm(r *clientv3.AlarmResponse) error {
	s := &sink{w: p.out}
	for _, a := range r.Alarms {
		// As the protobuf library writes a message, which leaves out what is zero and does not fix its spaces; etcdctl has
		// one of its choices.
		var parts []string
		if a.GetMemberID() != 0 {
			parts = append(parts, "memberID:"+strconv.FormatUint(a.GetMemberID(), 10))
		}
		if a.GetAlarm() != pb.AlarmType_NONE {
			parts = append(parts, "alarm:"+a.GetAlarm().String())
		}
		s.printf("%s\n", strings.Join(parts, " "))
	}
	return s.err
}

func (p *simplePrinter) MoveLeader(leader, target uint64, _ *clientv3.MoveLeaderResponse) error {
	return p.line("Leadership transferred from %x to %x", leader, target)
}

func (p *fieldsPrinter) MemberList(r *clientv3.MemberListResponse) error {
	f := p.fields()
	f.header(r.Header)
	for _, m := range r.Members {
		f.id("ID", m.GetID())
		f.quoted("Name", m.GetName())
		for _, url := range m.GetPeerURLs() {
			f.quoted("PeerURL", url)
		}
		for _, url := range m.GetClientURLs() {
			f.quoted("ClientURL", url)
		}
		f.field("IsLearner", m.GetIsLearner())
		f.printf("\n")
	}
	return f.err
}

func (p *fieldsPrinter) Alarm(r *clientv3.AlarmResponse) error {
	f := p.fields()
	f.header(r.Header)
	for _, a := range r.Alarms {
		f.id("MemberID", a.GetMemberID())
		f.field("AlarmType", a.GetAlarm())
		f.printf("\n")
	}
	return f.err
}

// hexHeader and hexMember are what --hex makes of the ids in JSON: text in hexadecimal.
type hexHeader struct {
	ClusterID string `json:"cluster_id"`
	MemberID  string `json:"member_id"`
	Revision  int64  `json:"revision,omitempty"`
	RaftTerm  uint64 `json:"raft_term,omitempty"`
}

type hexMember struct {
	ID         string   `json:"ID"`
	Name       string   `json:"name,omitempty"`
	PeerURLs   []string `json:"peerURLs,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	IsLearner  bool     `json:"isLearner,omitempty"`
}

type hexMembers struct {
	Header  *hexHeader   `json:"header"`
	Member  *hexMember   `json:"member,omitempty"`
	Members []*hexMember `json:"members"`
}

func hexOf(m *pb.Member) *hexMember {
	if m == nil {
		return nil
	}
	return &hexMember{fmt.Sprintf("%x", m.GetID()), m.GetName(), m.GetPeerURLs(), m.GetClientURLs(), m.GetIsLearner()}
}

// members prints a reply that holds members.
func (p *jsonPrinter) members(reply any, h *pb.ResponseHeader, added *pb.Member, members []*pb.Member) error {
	if !p.hex {
		return p.print(reply)
	}
	out := hexMembers{
		Header: &hexHeader{fmt.Sprintf("%x", h.GetClusterId()), fmt.Sprintf("%x", h.GetMemberId()), h.GetRevision(), h.GetRaftTerm()},
		Member: hexOf(added), Members: make([]*hexMember, 0, len(members)),
	}
	for _, m := range members {
		out.Members = append(out.Members, hexOf(m))
	}
	return p.print(out)
}

func (p *jsonPrinter) MemberList(r *clientv3.MemberListResponse) error {
	return p.members(r, r.Header, nil, r.Members)
}
func (p *jsonPrinter) MemberAdd(_, _ string, r *clientv3.MemberAddResponse) error {
	return p.members(r, r.Header, r.Member, r.Members)
}
func (p *jsonPrinter) MemberRemove(_ uint64, r *clientv3.MemberRemoveResponse) error {
	return p.members(r, r.Header, nil, r.Members)
}
func (p *jsonPrinter) MemberUpdate(_ uint64, r *clientv3.MemberUpdateResponse) error {
	return p.members(r, r.Header, nil, r.Members)
}
func (p *jsonPrinter) MemberPromote(_ uint64, r *clientv3.MemberPromoteResponse) error {
	return p.members(r, r.Header, nil, r.Members)
}
func (p *jsonPrinter) Alarm(r *clientv3.AlarmResponse) error { return p.print((*pb.AlarmResponse)(r)) }
func (p *jsonPrinter) MoveLeader(_, _ uint64, r *clientv3.MoveLeaderResponse) error {
	return p.print((*pb.MoveLeaderResponse)(r))
}

func (p *protobufPrinter) MemberList(r *clientv3.MemberListResponse) error {
	return p.print((*pb.MemberListResponse)(r))
}
func (p *protobufPrinter) MemberAdd(_, _ string, r *clientv3.MemberAddResponse) error {
	return p.print((*pb.MemberAddResponse)(r))
}
func (p *protobufPrinter) MemberRemove(_ uint64, r *clientv3.MemberRemoveResponse) error {
	return p.print((*pb.MemberRemoveResponse)(r))
}
func (p *protobufPrinter) MemberUpdate(_ uint64, r *clientv3.MemberUpdateResponse) error {
	return p.print((*pb.MemberUpdateResponse)(r))
}
func (p *protobufPrinter) MemberPromote(_ uint64, r *clientv3.MemberPromoteResponse) error {
	return p.print((*pb.MemberPromoteResponse)(r))
}
func (p *protobufPrinter) Alarm(r *clientv3.AlarmResponse) error {
	return p.print((*pb.AlarmResponse)(r))
}
func (p *protobufPrinter) MoveLeader(_, _ uint64, r *clientv3.MoveLeaderResponse) error {
	return p.print((*pb.MoveLeaderResponse)(r))
}
