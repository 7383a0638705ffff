package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/auth"
)

// Tokens is how callers prove who they are once they have shown a password: what the setting auth-token says. The zero
// value stands for simple tokens with etcd's TTL.
type Tokens struct {
	simple bool
	ttl    time.Duration
	jwt    *jwtKeys
}

// defaultTokenTTL is that of simple tokens and of JSON web tokens, as in etcd.
const defaultTokenTTL = 5 * time.Minute

// ParseTokens reads the setting auth-token: "simple", "" for no tokens at all, or "jwt" with options. ttl is that of
// simple tokens. read reads the files of keys. The errors are sentences for the operator.
func ParseTokens(setting string, ttl time.Duration, read func(name string) ([]byte, error)) (Tokens, error) {
	kind, rest, _ := strings.Cut(setting, ",")
	options := map[string]string{}
	if rest != "" {
		for option := range strings.SplitSeq(rest, ",") {
			name, value, ok := strings.Cut(option, "=")
			if _, twice := options[name]; !ok || twice || strings.Contains(value, "=") {
				return Tokens{}, fmt.Errorf("--auth-token: %q is not an option of the form name=value that stands there once", option)
			}
			options[name] = value
		}
	}
	switch kind {
	case "simple":
		if ttl <= 0 {
			ttl = defaultTokenTTL
		}
		return Tokens{simple: true, ttl: ttl}, nil
	case "":
		return Tokens{ttl: defaultTokenTTL}, nil
	case "jwt":
		keys, err := parseJWT(options, read)
		if err != nil {
			return Tokens{}, fmt.Errorf("--auth-token: %w", err)
		}
		return Tokens{jwt: keys, ttl: keys.ttl}, nil
	}
	return Tokens{}, fmt.Errorf("--auth-token: %q is neither simple nor jwt", kind)
}

// jwtKeys signs and verifies JSON web tokens.
type jwtKeys struct {
	method  jwt.SigningMethod
	private any // nil if tokens are only verified
	public  any
	ttl     time.Duration

	mu struct {
		sync.RWMutex
		verified map[[sha256.Size]byte]verifiedToken
	}
}

// verifiedToken is what a token says whose signature was found right; verifying it again would find the same.
type verifiedToken struct {
	id      auth.Identity
	expires time.Time // zero for never
}

// maxVerified bounds how many tokens are remembered.
const maxVerified = 1 << 14

var (
	errNoKey       = errors.New("a key is missing: name the file with priv-key=, or with pub-key= to verify tokens only")
	errKeyMismatch = errors.New("the private and the public key do not belong together")
)

func parseJWT(options map[string]string, read func(string) ([]byte, error)) (*jwtKeys, error) {
	k := &jwtKeys{ttl: defaultTokenTTL}
	k.mu.verified = make(map[[sha256.Size]byte]verifiedToken)
	if v := options["ttl"]; v != "" {
		ttl, err := time.ParseDuration(v)
		if err != nil || ttl <= 0 {
			return nil, fmt.Errorf("ttl=%s is not a duration such as 5m", v)
		}
		k.ttl = ttl
	}
	if k.method = jwt.GetSigningMethod(options["sign-method"]); k.method == nil || k.method == jwt.SigningMethodNone {
		return nil, fmt.Errorf("sign-method=%s is not a method such as RS256, PS256, ES256, EdDSA or HS256", options["sign-method"])
	}
	var files [2][]byte
	for i, name := range [2]string{"priv-key", "pub-key"} {
		if path := options[name]; path != "" {
			b, err := read(path)
			if err != nil {
				return nil, fmt.Errorf("read the key %s=: %w", name, err)
			}
			files[i] = b
		}
	}
	if err := k.parseKeys(files[0], files[1]); err != nil {
		return nil, err
	}
	return k, nil
}

// parseKeys reads the two keys, either of which may be missing: without the private one tokens are only verified.
func (k *jwtKeys) parseKeys(private, public []byte) (err error) {
	var parsed crypto.PublicKey
	switch k.method.(type) {
	case *jwt.SigningMethodHMAC:
		if len(private) == 0 {
			return errNoKey
		}
		k.private, k.public = private, private
		return nil
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		err = parsePair(k, private, public, &parsed, jwt.ParseRSAPrivateKeyFromPEM, jwt.ParseRSAPublicKeyFromPEM)
	case *jwt.SigningMethodECDSA:
		err = parsePair(k, private, public, &parsed, jwt.ParseECPrivateKeyFromPEM, jwt.ParseECPublicKeyFromPEM)
	case *jwt.SigningMethodEd25519:
		err = parsePair(k, private, public, &parsed, jwt.ParseEdPrivateKeyFromPEM, jwt.ParseEdPublicKeyFromPEM)
	default:
		return fmt.Errorf("the method %s is not supported", k.method.Alg())
	}
	if err != nil {
		return err
	}
	if signer, ok := k.private.(crypto.Signer); ok {
		k.public = signer.Public()
		if equal, ok := parsed.(interface{ Equal(crypto.PublicKey) bool }); ok && !equal.Equal(k.public) {
			return errKeyMismatch
		}
		return nil
	}
	if parsed == nil {
		return errNoKey
	}
	k.public = parsed
	return nil
}

// parsePair parses those of the two keys that are there.
func parsePair[Private crypto.PrivateKey, Public crypto.PublicKey](k *jwtKeys, private, public []byte, parsed *crypto.PublicKey,
	parsePrivate func([]byte) (Private, error), parsePublic func([]byte) (Public, error)) error {
	if len(private) > 0 {
		key, err := parsePrivate(private)
		if err != nil {
			return fmt.Errorf("the private key cannot be read: %w", err)
		}
		k.private = key
	}
	if len(public) > 0 {
		key, err := parsePublic(public)
		if err != nil {
			return fmt.Errorf("the public key cannot be read: %w", err)
		}
		*parsed = key
	}
	return nil
}

var (
	_ crypto.Signer = (*rsa.PrivateKey)(nil)
	_ crypto.Signer = (*ecdsa.PrivateKey)(nil)
	_ crypto.Signer = ed25519.PrivateKey(nil)
)

// errVerifyOnly is why a member that has the public key alone gives nobody a token.
var errVerifyOnly = errors.New("this member can only verify tokens; give its --auth-token a priv-key, or ask whoever signs them")

// sign makes a token, with etcd's claims.
func (k *jwtKeys) sign(user string, revision uint64, now time.Time) (string, error) {
	if k.private == nil {
		return "", errVerifyOnly
	}
	token, err := jwt.NewWithClaims(k.method, jwt.MapClaims{
		"username": user,
		"revision": revision,
		"exp":      now.Add(k.ttl).Unix(),
	}).SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return token, nil
}

// holder returns who holds a token that is signed and has not expired.
func (k *jwtKeys) holder(token string, now time.Time) (auth.Identity, bool) {
	sum := sha256.Sum256([]byte(token))
	k.mu.RLock()
	v, known := k.mu.verified[sum]
	k.mu.RUnlock()
	if !known {
		var ok bool
		if v, ok = k.verify(token, now); !ok {
			return auth.Identity{}, false
		}
		k.mu.Lock()
		if len(k.mu.verified) >= maxVerified {
			clear(k.mu.verified)
		}
		k.mu.verified[sum] = v
		k.mu.Unlock()
	}
	if !v.expires.IsZero() && !now.Before(v.expires) {
		return auth.Identity{}, false
	}
	return v.id, true
}

func (k *jwtKeys) verify(token string, now time.Time) (v verifiedToken, ok bool) {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{k.method.Alg()}), jwt.WithTimeFunc(func() time.Time { return now }))
	claims := jwt.MapClaims{}
	if _, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return k.public, nil }); err != nil {
		return verifiedToken{}, false
	}
	name, named := claims["username"].(string)
	revision, numbered := claims["revision"].(float64)
	if !named || !numbered || revision < 0 {
		return verifiedToken{}, false
	}
	v.id = auth.Identity{Name: name, Revision: uint64(revision)}
	if expires, err := claims.GetExpirationTime(); err == nil && expires != nil {
		v.expires = expires.Time
	}
	return v, true
}
