package command

import "errors"

// The refusals of a request before anything is read or proposed, with the bare texts; whoever speaks to clients
// adds codes and prefixes. They are values: compare with errors.Is.
var (
	// ErrEmptyKey: a request, an operation or a compare names no key.
	ErrEmptyKey = errors.New("key is not provided")
	// ErrKeyNotFound: an operation of a transaction that says nothing, and a put that wants to keep the value
	// or the lease of a key that does not exist.
	ErrKeyNotFound = errors.New("key not found")
	// ErrValueProvided: a put that wants to keep the value brings one.
	ErrValueProvided = errors.New("value is provided")
	// ErrLeaseProvided: a put that wants to keep the lease brings one.
	ErrLeaseProvided = errors.New("lease is provided")
	// ErrTooManyOps: a transaction is larger than the member allows.
	ErrTooManyOps = errors.New("too many operations in txn request")
	// ErrDuplicateKey: one branch of a transaction writes a key twice.
	ErrDuplicateKey = errors.New("duplicate key given in txn request")
	// ErrInvalidSortOption: a sort order or target that no version of the API knows.
	ErrInvalidSortOption = errors.New("invalid sort option")
	// ErrStreamSort: a stream delivers in key order only.
	ErrStreamSort = errors.New("RangeStream does not support custom sort orders")
	// ErrStreamFilters: a stream cannot filter by revision.
	ErrStreamFilters = errors.New("RangeStream does not support revision filters")
)

// The failures of decoding; both mean that the bytes are not what they are said to be.
var (
	// ErrWire: bytes that are no protobuf message. Decoding of requests fails with it and with nothing else.
	ErrWire = errors.New("not a well-formed protobuf message")
	// ErrEntry: bytes that are no entry of a version that this program knows. A member that meets them in its
	// log stops (I5).
	ErrEntry = errors.New("not an entry that this version of Holdfast understands")
)
