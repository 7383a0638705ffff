package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// doorman answers every read with whom it takes the caller for: the token, and the name in the certificate.
type doorman struct {
	pb.UnimplementedKVServer
	pb.UnimplementedAuthServer
}

func (doorman) Authenticate(_ context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	if r.Name != "ada" || r.Password != "pass:word" {
		return nil, rpctypes.ErrGRPCAuthFailed
	}
	return &pb.AuthenticateResponse{Header: &pb.ResponseHeader{}, Token: "token of ada"}, nil
}

func (doorman) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	who := strings.Join(metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameGRPC), ",")
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			for _, c := range info.State.PeerCertificates {
				who += " with the certificate of " + c.Subject.CommonName
			}
		}
	}
	return &pb.RangeResponse{Header: &pb.ResponseHeader{}, Kvs: []*mvccpb.KeyValue{{Key: r.Key, Value: []byte(who)}}, Count: 1}, nil
}

// startDoorman serves with a certificate that files hold for the client's use, too.
func startDoorman(t *testing.T) (endpoint, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "grace"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, content := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequestClientCert,
	})))
	pb.RegisterKVServer(server, doorman{})
	pb.RegisterAuthServer(server, doorman{})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return "https://" + l.Addr().String(), certFile, keyFile
}

// TestIdentity: the flags of TLS and login reach the server, and what it will not accept has etcdctl's codes.
func TestIdentity(t *testing.T) {
	endpoint, cert, key := startDoorman(t)
	for _, c := range []struct {
		name string
		args []string
		who  string
		code int
	}{
		{"trusted authority", []string{"--cacert", cert}, "", 0},
		{"no check", []string{"--insecure-skip-tls-verify"}, "", 0},
		{"unknown authority", nil, "", exitFailed},
		{"client certificate", []string{"--cacert", cert, "--cert", cert, "--key", key}, " with the certificate of grace", 0},
		{"certificate without key", []string{"--cacert", cert, "--cert", cert}, "", exitBadArguments},
		{"user with password", []string{"--cacert", cert, "--user", "ada:pass:word"}, "token of ada", 0},
		{"user and password", []string{"--cacert", cert, "--user", "ada", "--password", "pass:word"}, "token of ada", 0},
		{"wrong password", []string{"--cacert", cert, "--user", "ada:nonsense"}, "", exitNoConnection},
		{"token", []string{"--cacert", cert, "--auth-jwt-token", "abc"}, "abc", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"--endpoints", endpoint, "--command-timeout", "500ms", "get", "me", "--print-value-only"}, c.args...)
			got := client("", args...)
			if got.code != c.code {
				t.Fatalf("code %d, want %d; said %q", got.code, c.code, got.stderr)
			}
			if c.code == 0 && got.stdout != c.who+"\n" {
				t.Errorf("the server took it for %q, want %q", got.stdout, c.who)
			}
		})
	}
}
