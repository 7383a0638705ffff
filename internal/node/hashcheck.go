package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// Members compare what they hold by the hash of their keys at a revision (mvcc.HashKV), as etcd does. It finds what the
// running digest cannot: what a store has lost after it was written.

// CallHash is the method of a peer call that asks for a hash.
const CallHash = "hashkv"

// A question is version 1 and the revision (8 bytes); an answer is version 1, the hash (4), the compacted revision (8), the
// revision that was hashed (8). Each ends with the CRC-32C (4) of all before it. Numbers are big endian.
const (
	hashVersion     = 1
	hashQuestionLen = 1 + 8 + 4
	hashAnswerLen   = 1 + 4 + 8 + 8 + 4
)

var errHashMessage = errors.New("not a question about a hash, or not an answer to one")

var hashTable = crc32.MakeTable(crc32.Castagnoli)

func sealHash(b []byte) []byte { return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, hashTable)) }

func unsealHash(b []byte, length int) error {
	if len(b) != length || b[0] != hashVersion || crc32.Checksum(b[:length-4], hashTable) != binary.BigEndian.Uint32(b[length-4:]) {
		return errHashMessage
	}
	return nil
}

// keyHash is the hash of what a member holds.
type keyHash struct {
	hash      uint32
	compacted kind.Revision
	revision  kind.Revision
}

func appendHashQuestion(rev kind.Revision) []byte {
	return sealHash(binary.BigEndian.AppendUint64([]byte{hashVersion}, uint64(rev)))
}

func appendHashAnswer(h keyHash) []byte {
	b := binary.BigEndian.AppendUint32([]byte{hashVersion}, h.hash)
	b = binary.BigEndian.AppendUint64(b, uint64(h.compacted))
	return sealHash(binary.BigEndian.AppendUint64(b, uint64(h.revision)))
}

func decodeHashAnswer(b []byte) (keyHash, error) {
	if err := unsealHash(b, hashAnswerLen); err != nil {
		return keyHash{}, err
	}
	return keyHash{binary.BigEndian.Uint32(b[1:]), kind.Revision(binary.BigEndian.Uint64(b[5:])), kind.Revision(binary.BigEndian.Uint64(b[13:]))}, nil
}

func decodeHashQuestion(b []byte) (kind.Revision, error) {
	if err := unsealHash(b, hashQuestionLen); err != nil {
		return 0, err
	}
	return kind.Revision(binary.BigEndian.Uint64(b[1:])), nil
}

// answerHash answers another member's question.
func (n *Node) answerHash(ctx context.Context, question []byte) ([]byte, error) {
	rev, err := decodeHashQuestion(question)
	if err != nil {
		return nil, err
	}
	h, err := n.hash(ctx, rev)
	if err != nil {
		return nil, err
	}
	return appendHashAnswer(h), nil
}

func (n *Node) hash(ctx context.Context, rev kind.Revision) (h keyHash, err error) {
	h.hash, h.compacted, h.revision, err = n.KV().HashKV(ctx, rev)
	return h, err
}

// Comparison is what members hold at a revision.
type Comparison struct {
	Revision kind.Revision
	Agreed   []kind.MemberID // who has what the majority of the voters has, by id
	Differ   []kind.MemberID // who has something else, by id
	Silent   []kind.MemberID // who has not answered, or not at the same compacted revision, by id
	// Decided says that a majority of the voters has the same. Without it Agreed is empty, and Differ holds all who have
	// answered if they do not all have the same.
	Decided bool
}

// CompareHashes asks all members what they hold at a revision, 0 for the latest of this member, and compares. It reads all
// keys, on every member.
func (n *Node) CompareHashes(ctx context.Context, rev kind.Revision) (Comparison, error) {
	own, err := n.hash(ctx, rev)
	if err != nil {
		return Comparison{}, fmt.Errorf("hash the keys: %w", err)
	}
	answers := map[kind.MemberID]keyHash{n.Identity.Member: own}
	members := n.Replica.Machine().Members()
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, m := range members {
		if m.ID == n.Identity.Member {
			continue
		}
		group.Go(func() {
			b, err := n.Transport.Call(ctx, m.ID, CallHash, appendHashQuestion(own.revision))
			var h keyHash
			if err == nil {
				h, err = decodeHashAnswer(b)
			}
			if err != nil {
				n.Logger.Debug("a member has not answered with the hash of its keys", zap.Stringer("member", m.ID), zap.Error(err))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers[m.ID] = h
		})
	}
	group.Wait()
	cs := n.Replica.Machine().ConfState()
	var ids []kind.MemberID
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return compareHashes(own, answers, ids, memberIDs(cs.GetVoters()), memberIDs(cs.GetVotersOutgoing())), ctx.Err()
}

// compareHashes decides by the majority of the voters, in a joint configuration of both halves. Only answers about the
// same revisions as own are compared.
func compareHashes(own keyHash, answers map[kind.MemberID]keyHash, members, voters, outgoing []kind.MemberID) Comparison {
	c := Comparison{Revision: own.revision}
	has := func(list []kind.MemberID, hash uint32) bool {
		count := 0
		for _, id := range list {
			if h, ok := answers[id]; ok && h == (keyHash{hash, own.compacted, own.revision}) {
				count++
			}
		}
		return count > len(list)/2
	}
	var majority uint32
	different := false
	for _, h := range answers {
		if h.compacted != own.compacted || h.revision != own.revision {
			continue
		}
		different = different || h.hash != own.hash
		if has(voters, h.hash) && (len(outgoing) == 0 || has(outgoing, h.hash)) {
			majority, c.Decided = h.hash, true
		}
	}
	for _, id := range members {
		switch h, ok := answers[id]; {
		case !ok || h.compacted != own.compacted || h.revision != own.revision:
			c.Silent = append(c.Silent, id)
		case c.Decided && h.hash == majority:
			c.Agreed = append(c.Agreed, id)
		case c.Decided || different:
			c.Differ = append(c.Differ, id)
		}
	}
	slices.Sort(c.Agreed)
	slices.Sort(c.Differ)
	slices.Sort(c.Silent)
	return c
}

// Accuse raises the alarm CORRUPT against those who differ by a comparison: each by its id, or all of them, as member 0,
// if no majority agrees, as etcd does.
func (n *Node) Accuse(ctx context.Context, c Comparison) error {
	accused := c.Differ
	if !c.Decided && len(accused) > 0 {
		accused = []kind.MemberID{0}
	}
	for _, id := range accused {
		n.Metrics.differing.Inc()
		n.Logger.Error("a member whose state differs from the majority's", zap.Stringer("member", id), zap.Int64("revision", int64(c.Revision)))
		if _, err := n.Propose(ctx, corruptAlarm(command.AlarmRaise, id)); err != nil {
			return fmt.Errorf("raise the alarm CORRUPT against member %v: %w", id, err)
		}
	}
	return nil
}

// InitialCheck compares this member's keys with the others' before it serves. It puts the member into quarantine if a
// majority has something else, and returns an error if those who answer differ and there is no majority among them. Where
// too few answer nothing is said: the running digest goes on comparing.
func (n *Node) InitialCheck(ctx context.Context) error {
	if n.alone() || n.Corrupt() {
		return nil
	}
	c, err := n.CompareHashes(ctx, 0)
	switch {
	case err != nil:
		return err
	case slices.Contains(c.Differ, n.Identity.Member) && c.Decided:
		n.hold(fmt.Sprintf("at revision %d its keys have another hash than those of the majority", c.Revision))
	case len(c.Differ) > 0 && !c.Decided:
		return fmt.Errorf("at revision %d the keys of members %v have different hashes, and no majority agrees; start the other members, or this one "+
			"without --feature-gates=InitialCorruptCheck=true", c.Revision, c.Differ)
	case len(c.Silent) > 0:
		n.Logger.Warn("not all members have said what they hold at the revision of this one", zap.Stringers("silent", c.Silent))
	}
	return nil
}

// suspicious compares the keys with the other members' after the scrubber has found that the store does not fit together:
// if all have the same, it is not the disk of this one.
func (n *Node) suspicious(problems int) {
	if n.alone() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-n.stop:
			cancel()
		case <-n.failed:
			cancel()
		case <-ctx.Done():
		}
	}()
	c, err := n.CompareHashes(ctx, 0)
	if err == nil && c.Decided && slices.Contains(c.Differ, n.Identity.Member) {
		n.hold(fmt.Sprintf("%d records of its store do not fit together, and at revision %d its keys have another hash than those of the majority", problems, c.Revision))
	}
}

// CompactedRevision is how far this member has compacted.
func (n *Node) CompactedRevision() kind.Revision { return n.applied.Load().Compacted }

// CurrentRevision is the revision that this member's keys are at.
func (n *Node) CurrentRevision() kind.Revision { return n.KV().Revision() }
