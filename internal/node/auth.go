package node

import (
	"sync"

	"holdfast/internal/auth"
	"holdfast/internal/command"
)

// What servers and duties need of a node about users and tokens.

// Auth is the users, roles and tokens, for readers.
func (n *Node) Auth() *auth.Store { return n.Replica.Machine().Auth() }

// tokenUses are the tokens whose last use the log should learn of. Each is in it once: auth.Token.Use says when.
type tokenUses struct {
	mu struct {
		sync.Mutex
		used []*auth.Token
	}
	some chan struct{}
}

func (t *tokenUses) init() { t.some = make(chan struct{}, 1) }

// TokenUsed notes that the log should learn of the last use of a token, for which auth.Token.Use has returned true.
func (n *Node) TokenUsed(token *auth.Token) {
	n.tokens.mu.Lock()
	n.tokens.mu.used = append(n.tokens.mu.used, token)
	n.tokens.mu.Unlock()
	select {
	case n.tokens.some <- struct{}{}:
	default:
	}
}

// TokensUsed receives when TokenUses has something to return.
func (n *Node) TokensUsed() <-chan struct{} { return n.tokens.some }

// TokenUses takes up to most of the tokens out of whose last use the log should learn. Who cannot log it calls
// auth.Token.Missed.
func (n *Node) TokenUses(most int) []*auth.Token {
	n.tokens.mu.Lock()
	defer n.tokens.mu.Unlock()
	all := n.tokens.mu.used
	if len(all) <= most {
		n.tokens.mu.used = nil
		return all
	}
	taken := append([]*auth.Token(nil), all[:most]...)
	n.tokens.mu.used = append(all[:0], all[most:]...)
	clear(all[len(n.tokens.mu.used):])
	return taken
}

// TokenTouch is the command with which a member has the uses of tokens logged.
func TokenTouch(used []*auth.Token) command.Command {
	touch := command.TokenTouch{Uses: make([]command.TokenUse, 0, len(used))}
	for _, token := range used {
		touch.Uses = append(touch.Uses, command.TokenUse{Token: token.ID, Used: token.Used()})
	}
	return command.Command{Kind: command.KindTokenTouch, AuthRevision: command.ByMember, Payload: command.AppendTokenTouch(nil, &touch)}
}
