package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

func (f *family) memberReplaceCommand() *cobra.Command {
	r := &replacement{pause: 500 * time.Millisecond}
	cmd := &cobra.Command{
		Use:   "replace <id or name of the old member> --name=NAME --peer-urls=URL[,URL]",
		Short: "Swap a member that is gone for a new one",
		Long: "Swap a member that is gone for a new one: the new member is added as a learner, which does not vote; when it runs and has\n" +
			"caught up, it is given the vote and the old member is removed, both in one step. At no moment are there fewer living\n" +
			"members with a vote than before, nor less than a majority.\n\n" +
			"The command says how to start the new member and waits for it. It may be stopped and run again at any moment: it goes on\n" +
			"where the cluster stands, and says so when there is nothing left to do.",
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArguments("member replace needs the id or the name of the member that is gone")
			}
			r.old = args[0]
			if r.name == "" || len(r.urls) == 0 {
				return badArguments("member replace needs --name and --peer-urls of the new member")
			}
			slices.Sort(r.urls)
			connector, err := f.connector(cmd)
			if err != nil {
				return err
			}
			r.out, r.connector = cmd.OutOrStdout(), connector
			return r.run(cmd.Context())
		}),
	}
	cmd.Flags().StringVar(&r.name, "name", "", "`name` of the new member")
	cmd.Flags().StringSliceVar(&r.urls, "peer-urls", nil, "peer `URLs` of the new member, with commas between them")
	cmd.Flags().DurationVar(&r.wait, "wait", 0, "how long to wait for the new member to run and catch up (0 means until it has)")
	return cmd
}

// replacement is the swap of a member. Everything it knows comes from the cluster each time, so it can be begun again
// at any moment.
type replacement struct {
	old, name string
	urls      []string      // of the new member, in order
	wait      time.Duration // for the new member; 0 means for ever
	pause     time.Duration // between two looks

	connector *connector
	out       io.Writer
	told      string // what was said last, so that it is said once
}

// stage is where the cluster stands.
type stage struct {
	members  []*etcdserverpb.Member
	old, new *etcdserverpb.Member // nil if the cluster has none
}

// run goes from stage to stage until the old member is gone and the new one votes.
func (r *replacement) run(ctx context.Context) error {
	client, err := r.connector.open(r.connector.spec.Endpoints...)
	if err != nil {
		return err
	}
	defer client.Close()
	if r.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.wait)
		defer cancel()
	}
	for known := false; ; {
		s, err := r.look(ctx, client)
		if err != nil && known {
			err = r.patiently(err) // the cluster has answered before
		} else if err == nil {
			known = true
		}
		if err != nil {
			return r.failed(ctx, err)
		}
		done := false
		if s.members != nil {
			if done, err = r.step(ctx, client, s); err != nil {
				return r.failed(ctx, err)
			}
		}
		if done {
			return nil
		}
		timer := time.NewTimer(r.pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return r.failed(ctx, ctx.Err())
		}
	}
}

// failed words the end of a swap that is not complete.
func (r *replacement) failed(ctx context.Context, err error) error {
	if r.wait > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return failed(exitFailed, fmt.Errorf("the new member was not ready within %v; nothing is lost: run the command again when it runs", r.wait))
	}
	if _, ok := errors.AsType[*failure](err); ok {
		return err
	}
	return &failure{code: exitFailed, err: err, hint: r.connector.hint(err, r.connector.spec.Endpoints, r.connector.timeout)}
}

// look asks a majority of the cluster who its members are.
func (r *replacement) look(ctx context.Context, client *clientv3.Client) (s stage, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.connector.timeout)
	defer cancel()
	response, err := client.MemberList(ctx)
	if err != nil {
		return s, err
	}
	s.members = response.Members
	id, notHex := strconv.ParseUint(r.old, 16, 64)
	for _, m := range s.members {
		urls := slices.Sorted(slices.Values(m.PeerURLs))
		switch {
		case slices.Equal(urls, r.urls):
			s.new = m
		case notHex == nil && m.ID == id:
			s.old = m
		}
	}
	if s.old != nil {
		return s, nil
	}
	for _, m := range s.members {
		if m.Name != r.old || m == s.new {
			continue
		}
		if s.old != nil {
			return s, failed(exitFailed, fmt.Errorf("two members have the name %q: give the id of the one that is to go (holdfast member list)", r.old))
		}
		s.old = m
	}
	return s, nil
}

// step does what comes next. done says that nothing does.
func (r *replacement) step(ctx context.Context, client *clientv3.Client, s stage) (done bool, err error) {
	if err := r.refuse(ctx, s); err != nil {
		return false, err
	}
	switch {
	case s.new == nil:
		return false, r.patiently(r.add(ctx, client, s))
	case !s.new.IsLearner && s.old == nil:
		r.say("Member %s (%x) votes, and %s is gone: the swap is complete.", cmpName(s.new.Name, r.name), s.new.ID, r.old)
		return true, nil
	case !s.new.IsLearner:
		// Somebody else has promoted it.
		r.say("Member %x votes already; removing %s (%x).", s.new.ID, r.old, s.old.ID)
		return false, r.patiently(r.change(ctx, client, removeStep(s.old.ID)))
	case s.old == nil:
		r.say("%s is gone already; waiting for the new member (%x) to catch up.", r.old, s.new.ID)
		return false, r.patiently(r.change(ctx, client, promoteStep(s.new.ID)))
	case s.new.Name == "":
		r.instruct(s)
		return false, nil
	}
	r.say("Member %s (%x) runs; it gets the vote of %s (%x) when it has caught up.", s.new.Name, s.new.ID, r.old, s.old.ID)
	return false, r.patiently(r.change(ctx, client, promoteStep(s.new.ID), removeStep(s.old.ID)))
}

func cmpName(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// refuse says why the swap cannot be made, if it cannot.
func (r *replacement) refuse(ctx context.Context, s stage) error {
	if s.old == nil && s.new == nil {
		return failed(exitFailed, fmt.Errorf("the cluster has no member with the id or the name %q, and none with the peer URLs %s; its members are: %s",
			r.old, strings.Join(r.urls, ","), describeMembers(s.members)))
	}
	for _, m := range s.members {
		if m == s.new || m == s.old && s.new == nil {
			continue
		}
		if m.Name == r.name && m != s.old {
			return failed(exitFailed, fmt.Errorf("member %x has the name %q already: give the new member another --name", m.ID, r.name))
		}
		for _, u := range m.PeerURLs {
			if slices.Contains(r.urls, u) {
				return failed(exitFailed, fmt.Errorf("member %s (%x) is reached at %s: give the new member its own --peer-urls", m.Name, m.ID, u))
			}
		}
	}
	if s.old != nil && s.new == nil && slices.ContainsFunc(s.old.PeerURLs, func(u string) bool { return slices.Contains(r.urls, u) }) {
		return failed(exitFailed, fmt.Errorf("the old member is reached at one of %s too: while both are in the cluster, each needs its own; "+
			"give the new member another port, or another name for the machine", strings.Join(r.urls, ",")))
	}
	if s.old == nil || s.old.IsLearner {
		return nil
	}
	return r.mustKeepMajority(ctx, s)
}

// mustKeepMajority refuses if those who are to stay are no majority that lives: the cluster would depend on the member
// that is to go.
func (r *replacement) mustKeepMajority(ctx context.Context, s stage) error {
	voters, alive := 0, 0
	var silent []string
	for _, m := range s.members {
		if m.IsLearner {
			continue
		}
		voters++
		if m == s.old || m == s.new {
			continue
		}
		if r.lives(ctx, m) {
			alive++
		} else {
			silent = append(silent, fmt.Sprintf("%s (%x)", cmpName(m.Name, "unnamed"), m.ID))
		}
	}
	if s.new != nil && !s.new.IsLearner {
		alive++ // it votes, and was in sync when it was promoted
	}
	if need := voters/2 + 1; alive < need && voters > 1 {
		return failed(exitFailed, fmt.Errorf("of the %d members with a vote, %d must live without the one that is to go, but only %d do (no answer from %s at "+
			"their client URLs): bring one of them back first", voters, need, alive, strings.Join(silent, ", ")))
	}
	if voters == 1 && s.new != nil {
		// A cluster of one that lives is swapped while it lives: there is no other majority.
		if !r.lives(ctx, s.old) {
			return failed(exitFailed, fmt.Errorf("the cluster has one member, %s, and it does not answer", r.old))
		}
	}
	return nil
}

// lives asks a member at its client URLs whether it has a leader.
func (r *replacement) lives(ctx context.Context, m *etcdserverpb.Member) bool {
	for _, endpoint := range m.ClientURLs {
		client, err := r.connector.open(endpoint)
		if err != nil {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, min(r.connector.timeout, 2*time.Second))
		response, err := client.Status(bounded, endpoint)
		cancel()
		client.Close()
		if err == nil && response.Leader != 0 {
			return true
		}
	}
	return false
}

// add adds the new member as a learner.
func (r *replacement) add(ctx context.Context, client *clientv3.Client, s stage) error {
	ctx, cancel := context.WithTimeout(ctx, r.connector.timeout)
	defer cancel()
	response, err := client.MemberAddAsLearner(ctx, r.urls)
	switch {
	case errors.Is(err, rpctypes.ErrTooManyLearners):
		return failed(exitFailed, fmt.Errorf("the cluster has as many learners as it may: promote or remove one first, or raise --max-learners on the members (%w)", err))
	case errors.Is(err, rpctypes.ErrPeerURLExist):
		return nil // an earlier attempt came through; the next look shows it
	case err != nil:
		return err
	}
	r.say("Added member %x as a learner in the place of %s (%x).", response.Member.ID, r.old, s.old.ID)
	return nil
}

// instruct says how to start the new member.
func (r *replacement) instruct(s stage) {
	var list []string
	for _, m := range s.members {
		name := m.Name
		switch {
		case m == s.new:
			name = r.name
		case name == "":
			name = fmt.Sprintf("%x", m.ID)
		}
		for _, u := range m.PeerURLs {
			list = append(list, name+"="+u)
		}
	}
	urls := strings.Join(r.urls, ",")
	r.say("Waiting for the new member. Start it with an empty data directory, and with its own --listen-client-urls and --advertise-client-urls:\n\n"+
		"  holdfast serve --name=%s --initial-cluster-state=existing \\\n    --initial-cluster=%s \\\n    --initial-advertise-peer-urls=%s --listen-peer-urls=%s\n",
		r.name, strings.Join(list, ","), urls, urls)
}

// say writes a line, unless it is the one that was written last.
func (r *replacement) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if line != r.told {
		r.told = line
		fmt.Fprintln(r.out, line)
	}
}

// patiently takes a refusal that passes by waiting for none: the learner has not caught up, or another change is
// under way.
func (r *replacement) patiently(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrMemberLearnerNotReady):
		r.say("The new member runs and is catching up.")
		return nil
	case errors.Is(err, rpctypes.ErrUnhealthy):
		r.say("The leader waits until enough members have been connected for some seconds.")
		return nil
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		r.say("The cluster does not answer at the moment (%v); trying again.", err)
		return nil
	}
	return err
}

// memberStep is a step of holdfast.v1.Cluster/Change.
type memberStep struct {
	op, id uint64
}

func promoteStep(id uint64) memberStep { return memberStep{3, id} }
func removeStep(id uint64) memberStep  { return memberStep{4, id} }

// change has all steps done at once. The method is Holdfast's own, so its messages are written by hand.
func (r *replacement) change(ctx context.Context, client *clientv3.Client, steps ...memberStep) error {
	ctx, cancel := context.WithTimeout(ctx, r.connector.timeout)
	defer cancel()
	var request rawMessage
	for _, s := range steps {
		step := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), s.op)
		step = protowire.AppendVarint(protowire.AppendTag(step, 2, protowire.VarintType), s.id)
		request = protowire.AppendBytes(protowire.AppendTag(request, 1, protowire.BytesType), step)
	}
	_, err := invokeRaw(ctx, client, "/holdfast.v1.Cluster/Change", request) // what has become of it the cluster shows
	if status.Code(err) == codes.Unimplemented {
		return failed(exitFailed, errors.New("the cluster cannot change several members at once: it is etcd's, or of an earlier Holdfast; use member add --learner, "+
			"member promote and member remove one after the other"))
	}
	return rpctypes.Error(err)
}

func describeMembers(members []*etcdserverpb.Member) string {
	var list []string
	for _, m := range members {
		list = append(list, fmt.Sprintf("%s (%x)", cmpName(m.Name, "unnamed"), m.ID))
	}
	return strings.Join(list, ", ")
}
