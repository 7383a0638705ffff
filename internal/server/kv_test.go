package server

import (
	"holdfast/internal/mvcc"
	"testing"
)

func openKV(t testing.TB) *mvcc.Store { s, _ := mvcc.Open(nil, mvcc.Options{}); return s }
