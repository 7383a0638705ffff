package server

import (
	"testing"
	"holdfast/internal/mvcc"
)

func openKV(t testing.TB) *mvcc.Store { s, _ := mvcc.Open(nil, mvcc.Options{}); return s }
