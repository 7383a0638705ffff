#!/usr/bin/env bash
# The power-cut and failing-disk tests at length: CRASH_COUNT times (20 unless set), each time with other seeds where
# the test draws them, and every byte flipped where the ordinary run takes a sample.
set -euo pipefail
cd "$(dirname "$0")/.."

export HOLDFAST_EVERY_BYTE=1 HOLDFAST_POWER_CUTS=2000 HOLDFAST_FAILURES=500 HOLDFAST_DAMAGE=4
exec go test -count "${CRASH_COUNT:-20}" -timeout "${CRASH_TIMEOUT:-2h}" \
	-run 'Crash|PowerCut|Fail|Damage|Flip|Torn|Corrupt|Full|Missing|Witness|Adopted|Stall' ./...
