package main

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// rawCodec sends and receives messages as the bytes they are, so that the generator takes little of the processor from the server.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal reuses what v points to.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b := v.(*[]byte)
	*b = (*b)[:0]
	for _, d := range data {
		*b = append(*b, d.ReadOnlyData()...)
	}
	return nil
}

// A watchAnswer is what counts of an etcdserverpb.WatchResponse.
type watchAnswer struct {
	created, canceled bool
	events            int
	last              []byte // the value of the last event, within the message
}

// The numbers of the fields that are looked at.
const (
	watchCreated  = 3
	watchCanceled = 4
	watchEvents   = 11
	eventKV       = 2
	kvValue       = 5
)

var errNotProto = errors.New("an answer is not a protocol buffer")

// parseWatchAnswer looks through a message without decoding it.
func parseWatchAnswer(b []byte) (a watchAnswer, err error) {
	var event []byte
	err = fields(b, func(number protowire.Number, value uint64, content []byte) {
		switch number {
		case watchCreated:
			a.created = value != 0
		case watchCanceled:
			a.canceled = value != 0
		case watchEvents:
			a.events++
			event = content
		}
	})
	if err == nil && event != nil {
		a.last, err = valueOf(event)
	}
	return a, err
}

// valueOf returns the value of an event's key.
func valueOf(event []byte) (value []byte, err error) {
	var kv []byte
	if err := fields(event, func(number protowire.Number, _ uint64, content []byte) {
		if number == eventKV {
			kv = content
		}
	}); err != nil {
		return nil, err
	}
	err = fields(kv, func(number protowire.Number, _ uint64, content []byte) {
		if number == kvValue {
			value = content
		}
	})
	return value, err
}

// fields calls back with each field of a message: a number, or contents.
func fields(b []byte, call func(number protowire.Number, value uint64, content []byte)) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errNotProto
		}
		b = b[n:]
		var value uint64
		var content []byte
		switch kind {
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(b)
		default:
			return fmt.Errorf("%w: kind %d", errNotProto, kind)
		}
		if n < 0 {
			return errNotProto
		}
		call(number, value, content)
		b = b[n:]
	}
	return nil
}
