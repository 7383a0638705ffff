package auth

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/command"
	"holdfast/internal/store"
)

// Writer is where a change goes: the batch and the running digest. A deletion has no value.
type Writer interface {
	// SetAuth sets a record.
	SetAuth(key, value []byte)
	// DeleteAuth deletes one.
	DeleteAuth(key []byte)
}

// Store is the users, roles and tokens of one member. The machine is its one writer; Snapshot, Token and the methods
// that say so may be called from any goroutine.
type Store struct {
	published atomic.Pointer[Snapshot]
	next      *Snapshot // of the batch under way; nil while it has changed nothing
	w         Writer
	tokens    tokens
}

// Open reads everything from the store. The error is ErrRecord or a failure of the store.
func Open(r pebble.Reader) (_ *Store, err error) {
	it, err := r.NewIter(store.FamilyOptions(store.FamilyAuth))
	if err != nil {
		return nil, store.WrapRead("read the users and roles", err)
	}
	defer func() { err = errors.Join(err, store.WrapRead("read the users and roles", it.Close())) }()
	s, snapshot := &Store{}, newSnapshot()
	for valid := it.First(); valid; valid = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, store.WrapRead("read the users and roles", err)
		}
		if err := s.load(snapshot, it.Key(), value); err != nil {
			return nil, fmt.Errorf("%w: its key is %x", err, it.Key())
		}
	}
	for _, u := range snapshot.users {
		snapshot.resolve(u)
	}
	s.published.Store(snapshot)
	return s, nil
}

func (s *Store) load(snapshot *Snapshot, key, value []byte) (err error) {
	if len(key) < 3 || key[len(key)-1] != 0 {
		return ErrRecord
	}
	name := string(key[2 : len(key)-1])
	switch key[1] {
	case 'e':
		snapshot.enabled, snapshot.revision, err = decodeState(value)
		if name != "" {
			err = ErrRecord
		}
	case 'u':
		snapshot.users[name], err = decodeUser(name, value)
	case 'r':
		snapshot.roles[name], err = decodeRole(name, value)
	case 't':
		user, ttl, end, err := decodeToken(value)
		var id command.TokenID
		if err != nil || copy(id[:], name) != len(id) || len(name) != len(id) {
			return ErrRecord
		}
		s.tokens.add(id, user, ttl, end)
	default:
		err = ErrRecord
	}
	return err
}

// Snapshot returns the users, roles and permissions as of the last Publish. Any goroutine may call it.
func (s *Store) Snapshot() *Snapshot { return s.published.Load() }

// Token returns the token, nil if it is not known. Any goroutine may call it.
func (s *Store) Token(id command.TokenID) *Token { return s.tokens.find(id) }

// Tokens returns how many tokens are known. Any goroutine may call it. While there are any, cluster time has to be
// logged.
func (s *Store) Tokens() int { return int(s.tokens.count.Load()) }

// Due reports whether there are tokens to forget at a cluster time: a command.TokenTouch does it. Any goroutine may
// call it.
func (s *Store) Due(now uint64) bool {
	next := s.tokens.next.Load()
	return next != 0 && next <= now
}

// Begin starts a batch, whose changes go to w.
func (s *Store) Begin(w Writer) { s.next, s.w = nil, w }

// Current returns the users, roles and permissions with what the batch has changed so far. It is for the writer.
func (s *Store) Current() *Snapshot {
	if s.next != nil {
		return s.next
	}
	return s.published.Load()
}

// Publish lets everybody see what the batch has changed. The batch is in the store.
func (s *Store) Publish() {
	if s.next != nil {
		s.published.Store(s.next)
		s.next = nil
	}
}

// editable returns the snapshot that the batch may change.
func (s *Store) editable() *Snapshot {
	if s.next == nil {
		s.next = s.published.Load().clone()
	}
	return s.next
}

// sweepTokens is how many tokens one command forgets at most.
const sweepTokens = 1024

// Grant makes a token known at a cluster time. ErrAuthFailed and ErrNotEnabled refuse it, and ErrOldRevision if the
// password that stamp saw is not the user's any more.
func (s *Store) Grant(g *command.TokenGrant, stamp, now uint64) error {
	current := s.Current()
	if !current.enabled {
		return ErrNotEnabled
	}
	u := current.users[g.User]
	switch {
	case u == nil || u.NoPassword:
		return ErrAuthFailed
	case u.Since > stamp:
		return ErrOldRevision
	}
	s.sweep(now)
	if s.tokens.find(g.Token) != nil {
		return ErrAuthFailed // Nobody draws the same 192 bits twice.
	}
	end := saturate(now, g.TTL)
	s.tokens.add(g.Token, g.User, g.TTL, end)
	s.w.SetAuth(tokenKey(g.Token), encodeToken(g.User, g.TTL, end))
	return nil
}

// Touch notes the last uses of tokens at a cluster time, and forgets those whose time is long over.
func (s *Store) Touch(t *command.TokenTouch, now uint64) {
	for _, use := range t.Uses {
		token := s.tokens.find(use.Token)
		if token == nil {
			continue
		}
		token.told.Store(false)
		if end := saturate(min(use.Used, now), token.TTL); end > token.end.Load() {
			token.end.Store(end)
			s.w.SetAuth(tokenKey(use.Token), encodeToken(token.User, token.TTL, end))
		}
	}
	s.sweep(now)
}

func (s *Store) sweep(now uint64) {
	for range sweepTokens {
		token := s.tokens.forgotten(now)
		if token == nil {
			return
		}
		s.forget(token)
	}
}

func (s *Store) forget(token *Token) {
	s.tokens.remove(token)
	s.w.DeleteAuth(tokenKey(token.ID))
}

// forgetUser ends all tokens of a user, in an order that is the same on every member.
func (s *Store) forgetUser(name string) {
	for _, id := range inOrder(s.tokens.byUser[name]) {
		s.forget(s.tokens.find(id))
	}
}
