package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/metadata"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/node"
)

// flush logs the uses of tokens that the member has seen.
func (n *appliedNode) flush(t *testing.T) {
	n.log.Lock()
	used := n.log.used
	n.log.used = nil
	n.log.Unlock()
	if len(used) > 0 {
		if _, err := n.apply(node.TokenTouch(used)); err != nil {
			t.Fatal(err)
		}
	}
}

// replayed returns the users and tokens that another member has after the same entries.
func (n *appliedNode) replayed(t *testing.T) *auth.Store {
	m := openMachine(t)
	p := m.Begin(machine.Local{})
	for i, data := range n.log.entries {
		if err := p.Apply(machine.Entry{Position: kind.Position{Index: kind.Index(i + 2), Term: 1}, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	if m.State() != n.machine.State() {
		t.Fatalf("another member stands at %+v, this one at %+v", m.State(), n.machine.State())
	}
	return m.Auth()
}

// A simple token lives its TTL after its last use: what the member has seen counts at once, what it has logged counts
// for everybody.
func TestSimpleTokenLivesAfterItsLastUse(t *testing.T) {
	const ttl = uint64(300 * time.Second)
	w := newWorld(t, Options{}, permission(authpb.Permission_READ, "a", ""))
	use := func() error {
		_, err := w.kv.Range(w.as("alice"), &pb.RangeRequest{Key: []byte("a")})
		return err
	}
	id := tokenID(w.of["alice"])
	for range 40 {
		w.node.pass(ttl / 5)
		if err := use(); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(w.node.log.used); got != 1 {
		t.Fatalf("%d uses are to be logged, want one until it has been", got)
	}
	w.node.flush(t)
	// The record is not more than a quarter of the TTL behind.
	for range 40 {
		w.node.pass(ttl / 10)
		if err := use(); err != nil {
			t.Fatal(err)
		}
		w.node.flush(t)
		now, _ := w.node.ClusterTime()
		if token := w.node.replayed(t).Token(id); token == nil || !token.Alive(now+ttl*3/4) {
			t.Fatal("a restart forgets more than a quarter of the TTL")
		}
	}
	w.node.pass(ttl + 1)
	w.denied("an idle token", use(), "invalid auth token")
	w.denied("and again", use(), "invalid auth token")
	// Its record goes a TTL later; those of the others, who were not there, are gone.
	if w.node.Auth().Tokens() != 1 {
		t.Fatalf("%d tokens", w.node.Auth().Tokens())
	}
	w.node.pass(ttl)
	now, _ := w.node.ClusterTime()
	if !w.node.Auth().Due(now) {
		t.Error("nobody is due")
	}
	if _, err := w.node.apply(node.TokenTouch(nil)); err != nil {
		t.Fatal(err)
	}
	if n := w.node.Auth().Tokens(); n != 0 || w.node.Auth().Due(now) {
		t.Errorf("%d tokens are still known", n)
	}
}

// Deleting the user, changing its password and disabling authentication end its tokens at once; nobody else's.
func TestTokensEndWithTheirReason(t *testing.T) {
	w := newWorld(t, Options{}, permission(authpb.Permission_READWRITE, "a", ""))
	status := func(name string) error {
		_, err := pb.NewMaintenanceClient(w.conn).Status(w.as(name), &pb.StatusRequest{})
		return err
	}
	w.allowed("status", status("alice"))
	_, err := w.auth.UserChangePassword(w.as("root"), &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "2"})
	w.allowed("change", err)
	w.denied("after a new password", status("alice"), "invalid auth token")
	w.allowed("another's", status("bob"))
	w.login("alice", "2")
	w.allowed("a new token", status("alice"))
	_, err = w.auth.UserDelete(w.as("root"), &pb.AuthUserDeleteRequest{Name: "alice"})
	w.allowed("delete", err)
	w.denied("after the user", status("alice"), "invalid auth token")
	_, err = w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "alice", Password: "3"})
	w.allowed("add", err)
	w.denied("another alice", status("alice"), "invalid auth token")
	_, err = w.auth.AuthDisable(w.as("root"), &pb.AuthDisableRequest{})
	w.allowed("disable", err)
	for _, name := range []string{"root", "alice", "bob", ""} {
		w.allowed("stale tokens do no harm", status(name))
	}
	_, err = w.auth.AuthEnable(w.as(""), &pb.AuthEnableRequest{})
	w.allowed("enable", err)
	for _, name := range []string{"root", "bob"} {
		w.denied("after it was disabled", status(name), "invalid auth token")
	}
}

// Changes of users and roles do not move the revision of keys, and commands that meet them are authorised anew: their
// callers see no error as long as they are allowed.
func TestChangesUnderWay(t *testing.T) {
	w := newWorld(t, Options{}, permission(authpb.Permission_READWRITE, "a", "b"))
	change := func(c command.AuthChange) {
		root := w.node.Auth().Snapshot()
		r, err := w.node.apply(command.Command{Kind: command.KindAuth, User: "root", AuthRevision: root.Stamp(), Payload: command.AppendAuthChange(nil, &c)})
		if err := errors.Join(err, r.Err); err != nil {
			t.Fatal(err)
		}
	}
	between := func(changes ...command.AuthChange) {
		w.node.before = func(c *command.Command) {
			if c.Kind == command.KindAuth || len(changes) == 0 {
				return
			}
			change(changes[0])
			changes = changes[1:]
		}
	}
	put := func() error {
		_, err := w.kv.Put(w.as("alice"), &pb.PutRequest{Key: []byte("a")})
		return err
	}
	role := func(op command.AuthOp) command.AuthChange {
		return command.AuthChange{Op: op, User: "alice", Role: "r"}
	}
	revision := w.node.machine.State().Revision
	between(command.AuthChange{Op: command.UserAdd, User: "x"}, command.AuthChange{Op: command.UserAdd, User: "y"})
	w.allowed("a change of somebody else", put())
	if got := w.node.machine.State().Revision; got != revision+1 {
		t.Errorf("one put and two changes move the revision from %d to %d", revision, got)
	}
	// Taken away before the command is applied.
	between(role(command.UserRevokeRole))
	w.denied("a right that was taken away meanwhile", put(), "permission denied")
	if got := w.node.machine.State().Revision; got != revision+1 {
		t.Errorf("a refused put moves the revision to %d", got)
	}
	// Taken away and given back: the second attempt succeeds.
	change(role(command.UserGrantRole))
	between(role(command.UserRevokeRole))
	once := w.node.before
	proposals := 0
	w.node.before = func(c *command.Command) {
		proposals++
		once(c)
		if proposals == 1 {
			r, err := w.node.apply(*c)
			if err != nil || !errors.Is(r.Err, machine.ErrAuthChanged) {
				t.Errorf("a command that is not allowed any more: %v, %v", r.Err, err)
			}
		}
	}
	w.denied("taken away", put(), "permission denied")
	change(role(command.UserGrantRole))
	w.node.before = nil
	w.allowed("given back", put())
	// The token of an earlier life of the name does not count.
	w.node.before = func(c *command.Command) {
		w.node.before = nil
		change(command.AuthChange{Op: command.UserDelete, User: "alice"})
		change(command.AuthChange{Op: command.UserAdd, User: "alice"})
		change(role(command.UserGrantRole))
	}
	w.denied("another user of that name", put(), "invalid auth token")
	// Enabled meanwhile.
	change(command.AuthChange{Op: command.AuthDisable})
	w.node.before = func(*command.Command) {
		w.node.before = nil
		change(command.AuthChange{Op: command.AuthEnable})
	}
	w.denied("enabled meanwhile", put(), "invalid auth token")
}

// Many changes at once all succeed, as do the puts between them.
func TestConcurrentChanges(t *testing.T) {
	w := newWorld(t, Options{}, permission(authpb.Permission_READWRITE, "a", "b"))
	before := w.node.Auth().Snapshot().Revision()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				_, err := w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: fmt.Sprintf("u%d-%d", i, j), Options: &authpb.UserAddOptions{NoPassword: true}})
				w.allowed("add", err)
				_, err = w.kv.Put(w.as("alice"), &pb.PutRequest{Key: []byte("a")})
				w.allowed("put", err)
				_, err = w.kv.Range(w.as("alice"), &pb.RangeRequest{Key: []byte("a")})
				w.allowed("get", err)
			}
		})
	}
	wg.Wait()
	if after := w.node.Auth().Snapshot().Revision(); after != before+80 {
		t.Errorf("80 changes move the auth revision from %d to %d", before, after)
	}
}

// A hash that a client brings is taken if it is one; a password wins.
func TestHashedPassword(t *testing.T) {
	w := newWorld(t, Options{})
	hash, err := bcrypt.GenerateFromPassword([]byte("brought"), 4)
	if err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString(hash)
	_, err = w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "carol", HashedPassword: encoded})
	w.allowed("add", err)
	w.login("carol", "brought")
	_, err = w.auth.UserChangePassword(w.as("root"), &pb.AuthUserChangePasswordRequest{Name: "bob", HashedPassword: encoded})
	w.allowed("change", err)
	w.login("bob", "brought")
	_, err = w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "dave", Password: "own", HashedPassword: encoded})
	w.allowed("add", err)
	w.login("dave", "own")
	for _, bad := range []string{"no base64", base64.StdEncoding.EncodeToString([]byte("no hash")), base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(hash), "$04$", "$31$", 1)))} {
		if _, err := w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "eve", HashedPassword: bad}); err == nil {
			t.Errorf("the hash %q is taken", bad)
		}
	}
	if _, err := w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "eve", Password: strings.Repeat("x", 73)}); err == nil || !strings.Contains(err.Error(), "72 bytes") {
		t.Errorf("a password that bcrypt would cut: %v", err)
	}
}

// Passwords wait in a bounded queue, of which a caller may leave.
func TestPasswordQueue(t *testing.T) {
	p := newPasswords(4)
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, maxPasswordsWaiting+10)
	for range cap(errs) {
		go func() { errs <- p.run(ctx, func() { t.Error("it runs") }) }()
	}
	for range cap(errs) - maxPasswordsWaiting {
		if err := <-errs; !errors.Is(err, node.ErrTooManyRequests) {
			t.Fatal(err)
		}
	}
	cancel()
	for range maxPasswordsWaiting {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	<-p.slots
	if err := p.run(context.Background(), func() {}); err != nil || p.waiting.Load() != 0 {
		t.Errorf("%v, %d wait", err, p.waiting.Load())
	}
}

// A user who does not exist takes as long as one who does.
func TestUnknownUserTakesAsLong(t *testing.T) {
	p := newPasswords(9)
	hash, err := p.hash(context.Background(), "password")
	if err != nil {
		t.Fatal(err)
	}
	_ = p.nobody()
	fastest := func(u *auth.User, password string) time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			if err := p.verify(context.Background(), u, password); !errors.Is(err, auth.ErrAuthFailed) {
				t.Fatal(err)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	known := fastest(&auth.User{Hash: hash}, "wrong")
	// Without the work it would be a thousandth of the time; an eighth leaves room for a loaded machine.
	for name, u := range map[string]*auth.User{"unknown": nil, "without password": {NoPassword: true}, "with an empty hash": {}} {
		if took := fastest(u, "wrong"); took < known/8 {
			t.Errorf("a user %s takes %v, a known one %v", name, took, known)
		}
	}
	if took := fastest(&auth.User{Hash: hash}, ""); took < known/8 {
		t.Errorf("an empty password takes %v, a wrong one %v", took, known)
	}
}

// JSON web tokens say who holds them, until they expire or the user's password changes.
func TestJSONWebTokens(t *testing.T) {
	files := keyFiles(t)
	read := func(name string) ([]byte, error) {
		b, ok := files[name]
		if !ok {
			return nil, fmt.Errorf("no file %s", name)
		}
		return b, nil
	}
	for _, c := range []string{"RS256 rsa", "PS384 rsa", "ES256 ec", "EdDSA ed", "HS256 secret"} {
		method, key, _ := strings.Cut(c, " ")
		t.Run(method, func(t *testing.T) {
			setting := "jwt,sign-method=" + method + ",priv-key=" + key + ",ttl=1h"
			if method != "HS256" {
				setting += ",pub-key=" + key + ".pub"
			}
			tokens, err := ParseTokens(setting, time.Minute, read)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, Options{Tokens: tokens}, permission(authpb.Permission_READ, "a", ""))
			get := func() error {
				_, err := w.kv.Range(w.as("alice"), &pb.RangeRequest{Key: []byte("a")})
				return err
			}
			w.allowed("get", get())
			w.of["forged"] = w.of["alice"][:len(w.of["alice"])-4] + "AAAA"
			_, err = w.kv.Range(w.as("forged"), &pb.RangeRequest{Key: []byte("a")})
			w.denied("a forged token", err, "invalid auth token")
			// As in etcd, keys need a token that is as new as the users.
			_, err = w.auth.RoleAdd(w.as("root"), &pb.AuthRoleAddRequest{Name: "x"})
			w.allowed("add", err)
			w.denied("an old token", get(), "revision of auth store is old")
			w.login("alice", "alice")
			w.allowed("get", get())
			_, err = w.auth.RoleAdd(w.as("root"), &pb.AuthRoleAddRequest{Name: "y"})
			w.allowed("management needs no new token", err)
			_, err = w.auth.UserChangePassword(w.as("root"), &pb.AuthUserChangePasswordRequest{Name: "root", Password: "x"})
			w.allowed("change", err)
			_, err = w.auth.RoleAdd(w.as("root"), &pb.AuthRoleAddRequest{Name: "z"})
			w.denied("the token of an old password", err, "revision of auth store is old")
			if _, known := tokens.jwt.holder(w.of["alice"], time.Now().Add(time.Hour+time.Second)); known {
				t.Error("a token that has expired counts")
			}
			if w.node.Auth().Tokens() != 0 {
				t.Error("the store keeps JSON web tokens")
			}
			if method != "HS256" {
				verifier, err := ParseTokens("jwt,sign-method="+method+",pub-key="+key+".pub", 0, read)
				if err != nil {
					t.Fatal(err)
				}
				if id, known := verifier.jwt.holder(w.of["alice"], time.Now()); !known || id.Name != "alice" {
					t.Errorf("a member with the public key alone finds %v", id)
				}
				if _, err := verifier.jwt.sign("alice", 1, time.Now()); !errors.Is(err, errVerifyOnly) {
					t.Error(err)
				}
			}
		})
	}
	for setting, want := range map[string]string{
		"jwt":                                                 "sign-method",
		"jwt,sign-method=none":                                "sign-method",
		"jwt,sign-method=RS256":                               "a key is missing",
		"jwt,sign-method=HS256":                               "a key is missing",
		"jwt,sign-method=RS256,priv-key=no":                   "no file no",
		"jwt,sign-method=RS256,priv-key=ec":                   "cannot be read",
		"jwt,sign-method=RS256,pub-key=rsa":                   "cannot be read",
		"jwt,sign-method=ES256,priv-key=ec,pub-key=other.pub": "do not belong together",
		"jwt,ttl=x,sign-method=HS256,priv-key=secret":         "not a duration",
		"jwt,ttl=1m,ttl=2m":                                   "once",
		"jwt,ttl":                                             "name=value",
		"complex":                                             "neither simple nor jwt",
	} {
		if _, err := ParseTokens(setting, 0, read); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", setting, err, want)
		}
	}
}

// keyFiles are keys by file name.
func keyFiles(t *testing.T) map[string][]byte {
	files := map[string][]byte{"secret": []byte("0123456789abcdef0123456789abcdef")}
	put := func(name string, private any, public any) {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if der, err = x509.MarshalPKIXPublicKey(public); err != nil {
			t.Fatal(err)
		}
		files[name+".pub"] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	put("rsa", r, r.Public())
	for _, name := range []string{"ec", "other"} {
		e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		put(name, e, e.Public())
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	put("ed", private, public)
	return files
}

// Without tokens nobody is let in by a password.
func TestNoTokens(t *testing.T) {
	tokens, err := ParseTokens("", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := New(newFakeNode(t), Options{Tokens: tokens})
	if _, known := s.holder("anything", nil); known {
		t.Error("a token counts")
	}
}

// What it costs to find out who is calling and whether a put is allowed.
func BenchmarkAuthorisePut(b *testing.B) {
	w := newWorld(b, Options{}, permission(authpb.Permission_READWRITE, "a", "b"))
	s := New(w.node, Options{})
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("token", w.of["alice"]))
	put := command.Put{Key: []byte("a1"), Value: make([]byte, 256)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := authorise(ctx, s, &put); err != nil {
			b.Fatal(err)
		}
	}
}
