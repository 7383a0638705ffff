package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"google.golang.org/grpc/metadata"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// authenticatedPuts compares puts of a user with plain ones on the same server: plain, authenticated, and plain again, all overwriting.
// The ratio is within each system.
func authenticatedPuts(ctx context.Context, t *trial) ([]figure, error) {
	keys := max(1, t.scale.Operations/2)
	v, err := t.filled(ctx, keys)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	conn, err := v.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	auth := pb.NewAuthClient(conn)
	each := func(ctx context.Context) (time.Duration, error) {
		order := rand.New(rand.NewPCG(6, 7)).Perm(t.scale.Operations)
		before, err := settle(ctx, v.pid(), t.scale.Settle)
		if err != nil {
			return 0, err
		}
		overwrites := load{100, t.scale.Operations, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
			_, err := kv.Put(ctx, &pb.PutRequest{Key: keyOf(order[n] % keys), Value: value(r)})
			return err
		}}
		if _, err := overwrites.run(ctx, v); err != nil {
			return 0, fmt.Errorf("%w\n%s", err, v.lastWords())
		}
		after, err := settle(ctx, v.pid(), t.scale.Settle)
		return after - before, err
	}
	// The first pass finds a server that has just been filled, and is not counted.
	if _, err := each(ctx); err != nil {
		return nil, err
	}
	plain, err := each(ctx)
	if err != nil {
		return nil, err
	}
	if err := enableAuth(ctx, auth); err != nil {
		return nil, err
	}
	user, err := as(ctx, auth, "user")
	if err != nil {
		return nil, err
	}
	authenticated, err := each(user)
	if err != nil {
		return nil, err
	}
	root, err := as(ctx, auth, "root")
	if err != nil {
		return nil, err
	}
	if _, err := auth.AuthDisable(root, &pb.AuthDisableRequest{}); err != nil {
		return nil, err
	}
	again, err := each(ctx)
	if err != nil {
		return nil, err
	}
	n := float64(t.scale.Operations)
	plain = (plain + again) / 2
	return []figure{
		{"cpu/op", "µs", microseconds(authenticated) / n},
		{"cpu/op of plain puts", "µs", microseconds(plain) / n},
		{"cpu against plain", "x", float64(authenticated) / float64(max(plain, time.Microsecond))},
	}, v.stop(syscall.SIGTERM)
}

// enableAuth makes root and a user, whose role reaches the keys of the bench, and switches authentication on. Names are passwords.
func enableAuth(ctx context.Context, auth pb.AuthClient) error {
	for _, step := range []func() error{
		func() error { _, err := auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "root"}); return err },
		func() error {
			_, err := auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "root", Password: "root"})
			return err
		},
		func() error {
			_, err := auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
			return err
		},
		func() error { _, err := auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "bench"}); return err },
		func() error {
			// From "/" up to "b", so that the key which a load asks for first is within.
			_, err := auth.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "bench",
				Perm: &authpb.Permission{PermType: authpb.READWRITE, Key: []byte("/"), RangeEnd: []byte("b")}})
			return err
		},
		func() error {
			_, err := auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "user", Password: "user"})
			return err
		},
		func() error {
			_, err := auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "user", Role: "bench"})
			return err
		},
		func() error { _, err := auth.AuthEnable(ctx, &pb.AuthEnableRequest{}); return err },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("enable authentication: %w", err)
		}
	}
	return nil
}

// as returns the context of a user's requests.
func as(ctx context.Context, auth pb.AuthClient, name string) (context.Context, error) {
	a, err := auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: name})
	if err != nil {
		return nil, fmt.Errorf("authenticate %s: %w", name, err)
	}
	return metadata.AppendToOutgoingContext(ctx, "token", a.Token), nil
}
