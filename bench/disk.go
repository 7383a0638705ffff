package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A probe measures fdatasync of 4 KiB into a file that is preallocated and written, as a log segment is.
type probe struct {
	file *os.File
	at   int64
	took []time.Duration
}

const (
	probeBytes = 4 << 20
	blockBytes = 4 << 10
)

func newProbe(dir string) (*probe, error) {
	f, err := os.OpenFile(filepath.Join(dir, "fdatasync"), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(noise[:blockBytes]); err != nil {
		return nil, err
	}
	for at := int64(0); at < probeBytes; at += int64(len(noise)) {
		if _, err := f.WriteAt(noise, at); err != nil {
			return nil, err
		}
	}
	return &probe{file: f}, f.Sync()
}

// sync writes one block and syncs it.
func (p *probe) sync() error {
	began := time.Now()
	if _, err := p.file.WriteAt(noise[:blockBytes], p.at); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(p.file.Fd())); err != nil {
		return fmt.Errorf("fdatasync: %w", err)
	}
	p.took = append(p.took, time.Since(began))
	p.at = (p.at + blockBytes) % probeBytes
	return nil
}

func (p *probe) close() error { return p.file.Close() }
