#!/bin/sh
# The simulator on new seeds for SIM_MINUTES (10), in runs of SIM_SEEDS (100) seeds. The first seed is taken from the time
# of day unless SIM_FIRST says it. It stops at the first run with a failure, which names its seeds and how to see them again.
set -eu
cd "$(dirname "$0")/.."
minutes=${SIM_MINUTES:-10}
seeds=${SIM_SEEDS:-100}
first=${SIM_FIRST:-$(($(date +%s) % 1000000000 * 1000))}
end=$(($(date +%s) + minutes * 60))
binary=$(mktemp -d)
trap 'rm -rf "$binary"' EXIT INT TERM
go test -c -o "$binary/sim.test" ./internal/sim
ran=0
while [ "$(date +%s)" -lt "$end" ]; do
	(cd internal/sim && "$binary/sim.test" -test.run='^TestSeeds$' -test.timeout=0 -first="$first" -seeds="$seeds" -any-counts)
	first=$((first + seeds))
	ran=$((ran + seeds))
	echo "$ran seeds, the next is $first"
done
