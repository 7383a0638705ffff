package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"holdfast/internal/kind"
)

// preface is what both sides of a connection say first. Its first byte begins neither a TLS handshake nor an HTTP
// request.
const preface = "\x89HFPEER\n"

// The versions of the protocol that this member speaks.
const (
	protocolMin = 1
	protocolMax = 1
)

const (
	helloHeaderBytes = len(preface) + 2 + 4 // preface, length, checksum
	maxHelloBytes    = 8 * kib
	maxVersionBytes  = 64
	maxURLs          = 16
	maxURLBytes      = 400
)

// hello opens a connection.
type hello struct {
	min, max uint16 // versions of the protocol
	class    Class
	cluster  kind.ClusterID
	from, to kind.MemberID
	versions Hello
	urls     []string // where the one who calls can be called
}

// status is the answer to a hello.
type status uint8

const (
	statusWelcome status = iota
	statusRemoved
	statusWrongCluster
	statusWrongMember
	statusVersion
	statusBusy
)

// welcome answers a hello.
type welcome struct {
	status   status
	protocol uint16 // that is spoken from now on
	min, max uint16
	cluster  kind.ClusterID
	member   kind.MemberID
	versions Hello
}

func (h hello) encode() []byte {
	b := make([]byte, helloHeaderBytes, 256)
	b = binary.BigEndian.AppendUint16(b, h.min)
	b = binary.BigEndian.AppendUint16(b, h.max)
	b = append(b, byte(h.class))
	b = binary.BigEndian.AppendUint64(b, uint64(h.cluster))
	b = binary.BigEndian.AppendUint64(b, uint64(h.from))
	b = binary.BigEndian.AppendUint64(b, uint64(h.to))
	b = h.versions.append(b)
	urls := h.urls[:min(len(h.urls), maxURLs)]
	at := len(b)
	b = append(b, 0)
	for _, u := range urls {
		if len(u) <= maxURLBytes {
			b[at]++
			b = binary.BigEndian.AppendUint16(b, uint16(len(u)))
			b = append(b, u...)
		}
	}
	return seal(b)
}

func (w welcome) encode() []byte {
	b := make([]byte, helloHeaderBytes, 128)
	b = append(b, byte(w.status))
	b = binary.BigEndian.AppendUint16(b, w.protocol)
	b = binary.BigEndian.AppendUint16(b, w.min)
	b = binary.BigEndian.AppendUint16(b, w.max)
	b = binary.BigEndian.AppendUint64(b, uint64(w.cluster))
	b = binary.BigEndian.AppendUint64(b, uint64(w.member))
	return seal(w.versions.append(b))
}

func (h Hello) append(b []byte) []byte {
	version := h.Version[:min(len(h.Version), maxVersionBytes)]
	b = binary.BigEndian.AppendUint32(b, h.MachineMin)
	b = binary.BigEndian.AppendUint32(b, h.MachineMax)
	b = append(b, byte(len(version)))
	return append(b, version...)
}

// seal fills in what stands before the body of a hello.
func seal(b []byte) []byte {
	copy(b, preface)
	binary.BigEndian.PutUint16(b[len(preface):], uint16(len(b)-helloHeaderBytes))
	sum := crc32.Update(crc32.Checksum(b[:len(preface)+2], castagnoli), castagnoli, b[helloHeaderBytes:])
	binary.BigEndian.PutUint32(b[len(preface)+2:], sum)
	return b
}

// errNotAPeer means that what was said is not the peer protocol.
var errNotAPeer = errors.New("it does not speak the peer protocol")

// readSealed reads the body of a hello or of its answer.
func readSealed(r io.Reader) ([]byte, error) {
	var head [helloHeaderBytes]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return nil, err
	}
	if head[0] != preface[0] {
		return nil, errNotAPeer
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return nil, unexpected(err)
	}
	if string(head[:len(preface)]) != preface {
		return nil, errNotAPeer
	}
	length := int(binary.BigEndian.Uint16(head[len(preface):]))
	if length > maxHelloBytes {
		return nil, fmt.Errorf("%w: a hello of %d bytes", errFrame, length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, unexpected(err)
	}
	sum := crc32.Update(crc32.Checksum(head[:len(preface)+2], castagnoli), castagnoli, body)
	if sum != binary.BigEndian.Uint32(head[len(preface)+2:]) {
		return nil, fmt.Errorf("%w: the hello arrived changed: %w", errFrame, ErrCorrupt)
	}
	return body, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (d *decoder) fixed(n int) uint64 {
	var v uint64
	for _, c := range d.bytes(uint64(n)) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (d *decoder) versions() (h Hello) {
	h.MachineMin, h.MachineMax = uint32(d.fixed(4)), uint32(d.fixed(4))
	h.Version = string(d.bytes(uint64(d.octet())))
	return h
}

// decodeHello takes the body of a hello apart. What stands behind the fields that it knows is left to later versions.
func decodeHello(body []byte) (h hello, err error) {
	d := &decoder{rest: body}
	h.min, h.max = uint16(d.fixed(2)), uint16(d.fixed(2))
	h.class = Class(d.octet())
	h.cluster = kind.ClusterID(d.fixed(8))
	h.from, h.to = kind.MemberID(d.fixed(8)), kind.MemberID(d.fixed(8))
	h.versions = d.versions()
	for n := d.octet(); n > 0 && !d.bad; n-- {
		length := d.fixed(2)
		if length > maxURLBytes || len(h.urls) == maxURLs {
			d.bad = true
			break
		}
		h.urls = append(h.urls, string(d.bytes(length)))
	}
	if d.bad || len(h.versions.Version) > maxVersionBytes || h.from == 0 {
		return hello{}, fmt.Errorf("%w: a hello that is not understood", errFrame)
	}
	return h, nil
}

// decodeWelcome takes the body of an answer to a hello apart, in the same way.
func decodeWelcome(body []byte) (w welcome, err error) {
	d := &decoder{rest: body}
	w.status = status(d.octet())
	w.protocol = uint16(d.fixed(2))
	w.min, w.max = uint16(d.fixed(2)), uint16(d.fixed(2))
	w.cluster = kind.ClusterID(d.fixed(8))
	w.member = kind.MemberID(d.fixed(8))
	w.versions = d.versions()
	if d.bad || len(w.versions.Version) > maxVersionBytes {
		return welcome{}, fmt.Errorf("%w: an answer to a hello that is not understood", errFrame)
	}
	return w, nil
}

// refusal returns what the answer of the peer to, called at url by this member, has against a connection.
func (h hello) refusal(w welcome, url string) error {
	switch {
	case w.status == statusRemoved:
		return fmt.Errorf("member %v at %s says: %w (member %v of cluster %v)", w.member, url, ErrRemoved, h.from, h.cluster)
	case w.status == statusWrongCluster || w.cluster != h.cluster:
		return fmt.Errorf("%w: at %s is member %v of cluster %v, while this is member %v of cluster %v; check the peer URLs, "+
			"and that no data directory of another cluster is in use", ErrWrongCluster, url, w.member, w.cluster, h.from, h.cluster)
	case w.status == statusWrongMember || w.member != h.to:
		return fmt.Errorf("%w: at %s is member %v, where member %v was expected; check the peer URLs of both", ErrWrongMember, url, w.member, h.to)
	case w.status == statusVersion || w.status == statusWelcome && (w.protocol < h.min || w.protocol > h.max):
		return fmt.Errorf("%w: member %v at %s speaks %d to %d, this one %d to %d; upgrade one version at a time",
			ErrVersion, w.member, url, w.min, w.max, h.min, h.max)
	case w.status == statusWelcome:
		return nil
	}
	return fmt.Errorf("member %v at %s has no room for this one now", w.member, url)
}
