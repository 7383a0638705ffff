package assembly

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/member"
)

// publishAgain is how long to wait before what a member has to say of itself is tried again.
const publishAgain = 200 * time.Millisecond

// Published is closed when the cluster knows the member's name and client URLs. A member without a majority may never
// come to that.
func (m *Member) Published() <-chan struct{} { return m.published }

// publish lets the cluster know the member's name and client URLs, as the settings of this start have them. It tries
// until it has succeeded or ctx ends. What the cluster knows already is not said again.
func (m *Member) publish(ctx context.Context) {
	me := command.MemberPublish{ID: m.dir.Identity().Member, Name: m.config.Name, ClientURLs: texts(m.config.AdvertiseClientURLs)}
	complained := ""
	for {
		err := m.publishOnce(ctx, me)
		switch {
		case err == nil:
			close(m.published)
			return
		case ctx.Err() != nil, errors.Is(err, member.ErrIDRemoved):
			return // stopping, or about to be
		case err.Error() != complained:
			complained = err.Error()
			m.o.Logger.Warn("could not publish the name and the client URLs of this member; it is tried again", zap.Error(err))
		}
		timer := m.node.Clock.NewTimer(publishAgain)
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (m *Member) publishOnce(ctx context.Context, me command.MemberPublish) error {
	members, err := m.node.Members(ctx, true)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(members, func(m member.Member) bool { return m.ID == me.ID }); i >= 0 {
		if members[i].Name == me.Name && slices.Equal(members[i].ClientURLs, me.ClientURLs) {
			return nil
		}
	}
	reply, err := m.node.Propose(ctx, command.Command{Kind: command.KindMemberPublish, AuthRevision: command.ByMember, Payload: command.AppendMemberPublish(nil, &me)})
	if err != nil {
		return err
	}
	if reply.Err != nil {
		return reply.Err
	}
	m.o.Logger.Info("published the name and the client URLs of this member", zap.String("name", me.Name), zap.Strings("client-urls", me.ClientURLs),
		zap.Stringer("member", kind.MemberID(me.ID)))
	return nil
}
