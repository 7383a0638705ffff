#!/usr/bin/env bash
# The race detector over the rooms where goroutines meet. Arguments go to go test.
set -euo pipefail
cd "$(dirname "$0")/.."

# The machine has one caller and starts no goroutine; its models take minutes under the detector, so -short leaves it out.
rooms=(wal mvcc lease auth replica node watch chore server)
case " $* " in
*" -short "*) ;;
*) rooms+=(machine) ;;
esac
exec go test -race -timeout 15m "$@" "${rooms[@]/#/./internal/}"
