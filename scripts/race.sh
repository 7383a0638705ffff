#!/usr/bin/env bash
# The race detector over the rooms where goroutines meet. Arguments go to go test.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
for room in wal mvcc machine node server; do
	if [ -d "internal/$room" ]; then
		packages+=("./internal/$room/...")
	fi
done
exec go test -race -timeout 15m "$@" "${packages[@]}"
