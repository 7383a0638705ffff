#!/usr/bin/env bash
# Clusters of real processes: CHAOS_KILLS leaders are killed (100 unless set), a fifth of that is stopped gracefully, and
# two of five members are lost again and again, CHAOS_ROUNDS times (20). Members in network namespaces are cut off CHAOS_NAMESPACES
# times in each way (5; only root can). What clients were told is judged, and how long
# writes were away is printed. After CHAOS_MINUTES (60) no further fault
# begins; it ends a minute or two later. Arguments go to go test.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes="${CHAOS_MINUTES:-60}"
export HOLDFAST_CHAOS_KILLS="${CHAOS_KILLS:-100}" HOLDFAST_CHAOS_ROUNDS="${CHAOS_ROUNDS:-20}" HOLDFAST_CHAOS_MINUTES="$minutes"
export HOLDFAST_CHAOS_NAMESPACES="${CHAOS_NAMESPACES:-5}"
exec go test -count=1 -v -timeout "$((minutes + 15))m" "$@" ./internal/chaos
