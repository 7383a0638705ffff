package server

import (
	"crypto/rand"
	"crypto/sha256"
	"time"

	"holdfast/internal/auth"
	"holdfast/internal/command"
)

// tokenLetters is how many letters a simple token has: 192 bits and a little.
const tokenLetters = 34

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// newToken draws a simple token. It is a word without meaning; the store knows its SHA-256 alone.
func newToken() string {
	token := make([]byte, 0, tokenLetters)
	for len(token) < tokenLetters {
		var random [64]byte
		_, _ = rand.Read(random[:]) // never fails; see its documentation
		for _, b := range random {
			// 208 is the largest multiple of 52 in a byte: each letter is as likely as any other.
			if b < 208 && len(token) < tokenLetters {
				token = append(token, letters[b%52])
			}
		}
	}
	return string(token)
}

// tokenID is what a simple token is known by.
func tokenID(token string) command.TokenID {
	var buffer [128]byte
	return sha256.Sum256(append(buffer[:0], token...))
}

// holder returns who holds a token.
func (s *Server) holder(token string, users *auth.Snapshot) (auth.Identity, bool) {
	switch {
	case s.o.Tokens.jwt != nil:
		return s.o.Tokens.jwt.holder(token, time.Now())
	case s.o.Tokens.simple:
		known := s.node.Auth().Token(tokenID(token))
		if known == nil {
			return auth.Identity{}, false
		}
		now, _ := s.node.ClusterTime()
		if !known.Alive(now) {
			return auth.Identity{}, false
		}
		if known.Use(now) {
			s.node.TokenUsed(known)
		}
		return auth.Identity{Name: known.User, Revision: users.Revision()}, true
	}
	return auth.Identity{}, false
}
