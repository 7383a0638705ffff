package tlsconf

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// revoked is the serial numbers of the certificates that a revocation list names. As in etcd, a number counts
// whoever issued the list and the certificate: an operator who lists a number means it.
type revoked map[string]struct{}

const crlBlock = "X509 CRL"

// parseRevoked reads one revocation list in DER, or one or several in PEM.
func parseRevoked(content []byte) (revoked, error) {
	var lists [][]byte
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == crlBlock {
			lists = append(lists, block.Bytes)
		}
	}
	if len(lists) == 0 {
		if bytes.Contains(content, []byte("-----BEGIN")) {
			return nil, errors.New("it holds no " + crlBlock)
		}
		lists = [][]byte{content}
	}
	r := revoked{}
	for _, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, err
		}
		for _, entry := range list.RevokedCertificateEntries {
			r[string(entry.SerialNumber.Bytes())] = struct{}{}
		}
	}
	return r, nil
}

func (r revoked) has(c *x509.Certificate) bool {
	_, ok := r[string(c.SerialNumber.Bytes())]
	return ok
}

// check refuses a side of whose certificates one is revoked: one that it showed, or one in every chain that leads
// from its own to an authority.
func (r revoked) check(of side, shown []*x509.Certificate, chains [][]*x509.Certificate) error {
	if len(r) == 0 {
		return nil
	}
	if i := slices.IndexFunc(shown, r.has); i >= 0 {
		return fmt.Errorf("the %s's certificate (%s) is revoked", of, describe(shown[i]))
	}
	if len(chains) == 0 {
		return nil
	}
	for _, chain := range chains {
		if !slices.ContainsFunc(chain, r.has) {
			return nil
		}
	}
	return fmt.Errorf("an authority above the %s's certificate (%s) is revoked", of, describe(shown[0]))
}
