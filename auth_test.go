package holdfast_test

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"holdfast"
)

// authWorld is a member with the users root and alice, who may read and write a key, and a token of alice's.
type authWorld struct {
	t      testing.TB
	member *holdfast.Member
	conn   *grpc.ClientConn
	token  string
}

// serveUsers starts the member again, or for the first time.
func (w *authWorld) serveUsers(c holdfast.Config, o holdfast.Options) {
	w.t.Helper()
	w.member = start(w.t, c, o)
	conn, err := grpc.NewClient(w.member.ClientEndpoints()[0][len("http://"):], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	w.conn = conn
}

func (w *authWorld) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

// makeUsers makes the users and enables authentication.
func (w *authWorld) makeUsers() {
	w.t.Helper()
	ctx, auth := w.context(), pb.NewAuthClient(w.conn)
	must := func(_ any, err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	must(auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "root", Password: "root"}))
	must(auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}))
	must(auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "alice", Password: "alice"}))
	must(auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "r"}))
	must(auth.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "r",
		Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("key")}}))
	must(auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "alice", Role: "r"}))
	must(auth.AuthEnable(ctx, &pb.AuthEnableRequest{}))
	w.login()
}

func (w *authWorld) login() {
	w.t.Helper()
	r, err := pb.NewAuthClient(w.conn).Authenticate(w.context(), &pb.AuthenticateRequest{Name: "alice", Password: "alice"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.token = r.Token
}

// use reads the key with alice's token.
func (w *authWorld) use() error {
	ctx := metadata.AppendToOutgoingContext(w.context(), "token", w.token)
	_, err := pb.NewKVClient(w.conn).Range(ctx, &pb.RangeRequest{Key: []byte("key")})
	return err
}

// A simple token with a TTL of two seconds lives as long as it is used every half second, also over restarts, clean
// ones and power cuts, and is no token any more after three idle seconds.
func TestTokenLivesAfterItsLastUse(t *testing.T) {
	if testing.Short() {
		t.Skip("takes twenty seconds")
	}
	t.Parallel()
	const ttl, pause = 2 * time.Second, 500 * time.Millisecond
	fs := vfs.NewCrashableMem()
	c := settings()
	c.AuthTokenTTL, c.BcryptCost = int64(ttl/time.Second), 4
	w := &authWorld{t: t}
	w.serveUsers(c, inMemory(fs))
	w.makeUsers()
	began, restarts := time.Now(), 0
	for i := 1; time.Since(began) < 10*time.Second; i++ {
		before := time.Now()
		<-time.After(pause) // what is tested is that time passes
		if time.Since(before) > ttl/2 {
			t.Skip("this machine has stood still for longer than the test allows")
		}
		if err := w.use(); err != nil {
			t.Fatalf("use %d, %v after the start: %v", i, time.Since(began), err)
		}
		switch i {
		case 6:
			if err := w.member.Close(); err != nil {
				t.Fatal(err)
			}
			w.serveUsers(c, inMemory(fs))
			restarts++
		case 12:
			crashed := fs.CrashClone(vfs.CrashCloneCfg{})
			if err := w.member.Close(); err != nil {
				t.Fatal(err)
			}
			fs = crashed
			w.serveUsers(c, inMemory(fs))
			restarts++
		}
	}
	if restarts != 2 {
		t.Errorf("%d restarts", restarts)
	}
	<-time.After(3 * time.Second)
	if err := w.use(); status.Convert(err).Message() != "etcdserver: invalid auth token" {
		t.Errorf("after three idle seconds the token answers %v", err)
	}
	w.login()
	if err := w.use(); err != nil {
		t.Error(err)
	}
}

// Users, roles, permissions and tokens are there again after a power cut, from the log alone.
func TestUsersSurvivePowerCut(t *testing.T) {
	fs := vfs.NewCrashableMem()
	c := settings()
	c.BcryptCost = 4
	w := &authWorld{t: t}
	w.serveUsers(c, inMemory(fs))
	w.makeUsers()
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	w.serveUsers(c, inMemory(crashed))
	if err := w.use(); err != nil {
		t.Errorf("the token after a power cut: %v", err)
	}
	w.login()
	ctx := metadata.AppendToOutgoingContext(w.context(), "token", w.token)
	_, err := pb.NewKVClient(w.conn).Range(ctx, &pb.RangeRequest{Key: []byte("other")})
	if status.Convert(err).Message() != "etcdserver: permission denied" {
		t.Errorf("another key: %v", err)
	}
	r, err := pb.NewAuthClient(w.conn).AuthStatus(w.context(), &pb.AuthStatusRequest{})
	if err != nil || !r.Enabled || r.AuthRevision != 7 || r.Header.Revision != 1 {
		t.Errorf("status %v, %v", r, err)
	}
}
