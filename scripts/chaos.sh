#!/usr/bin/env bash
# Clusters of real processes: CHAOS_KILLS leaders are killed (100 unless set), a fifth of that is stopped gracefully, and
# two of five members are lost again and again, CHAOS_ROUNDS times (20). What clients were told is judged, and how long
# writes were away is printed. It ends after CHAOS_MINUTES (60) at the latest. Arguments go to go test.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes="${CHAOS_MINUTES:-60}"
export HOLDFAST_CHAOS_KILLS="${CHAOS_KILLS:-100}" HOLDFAST_CHAOS_ROUNDS="${CHAOS_ROUNDS:-20}" HOLDFAST_CHAOS_MINUTES="$minutes"
exec go test -count=1 -v -timeout "$((minutes + 15))m" "$@" ./internal/chaos
