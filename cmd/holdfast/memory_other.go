//go:build !linux

package main

import "errors"

// lockMemory refuses: locking what is used later exists on Linux alone.
func lockMemory() error {
	return errors.New("this operating system cannot lock memory when it is first used; leave the flag out")
}
