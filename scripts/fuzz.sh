#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (30s unless set), one after the other. What is found lies in the package's
# testdata/fuzz and from then on is an ordinary test.
set -euo pipefail
cd "$(dirname "$0")/.."

for package in $(go list ./...); do
	names=$(go test -list '^Fuzz' "$package")
	for target in $(grep '^Fuzz' <<<"$names" || true); do
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" "$package"
	done
done
