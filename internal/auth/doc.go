// Package auth holds the users, roles, permissions and tokens of a cluster, and decides who may do what.
//
// Invariants:
//
//	A1  What is decided on is the very value that is executed: the requests of package command, after they were
//	    decoded and checked. There is one function for each of them and no other way to a permission.
//	A2  What is not listed is denied: a request of a type that Allow does not know, a permission type that it does
//	    not know, a user that does not exist.
//	A3  A transaction is allowed only if everything is that it could do, whichever branches it takes.
//	A4  A Snapshot never changes. Readers take no lock and wait for nobody.
//	A5  Neither a password nor a token is in any record, command or answer of this package: it knows hashes of
//	    passwords and the SHA-256 of tokens.
//	A6  Changes do not move the revision of keys; each that changes users, roles or permissions moves the auth
//	    revision by one, and so does disabling.
//
// # Records
//
// All numbers are big endian, every record ends in a CRC-32C of what stands before it; a string is its length as a
// uvarint and its bytes.
//
//	a 'e' 00            version (1 byte: 1) | enabled (1 byte: 0 or 1) | auth revision (8) | crc (4)
//	a 'u' name 00       version (1) | flags (1 byte; 1: no password) | since (8) | hash (string) |
//	                    roles (uvarint count, strings in order) | crc (4)
//	a 'r' name 00       version (1) | 0 (1 byte) | permissions (uvarint count, each: type (4), key (string),
//	                    range_end (string)) | crc (4)
//	a 't' sha256 00     version (1) | 0 (1 byte) | user (string) | TTL (8, nanoseconds) |
//	                    end (8, nanoseconds of cluster time) | crc (4)
//
// since is the auth revision at which the user's password was last set: what was allowed to the name before that,
// perhaps to somebody else, does not count any more. A store without the first record has never heard of users: it is
// at auth revision 1, not enabled.
//
// # Tokens
//
// A token ends its TTL after its last use, in cluster time. Each member notes the uses that it sees (Token.Use) and
// has them logged (command.TokenTouch) when they are a quarter of the TTL younger than what the record shows, so that
// neither a restart nor another member forgets them. A record is deleted one TTL after its end, so that a use that is
// still on its way finds it.
//
// # Use
//
// The machine is the one writer: Open, then for each batch Begin, Change, Grant, Touch, and Publish when the batch is
// in the store. Everybody else calls Snapshot, Token and the methods of what they return, from any goroutine.
package auth
