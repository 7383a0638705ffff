#!/usr/bin/env bash
# Kills a member without warning under load, again and again, and looks for acknowledged writes that are missing.
# SOAK_KILLS is how often (200 unless set); HOLDFAST_KILLS is the name that the test reads. One of the tests kills it in
# the middle of a request that deletes SOAK_BIG_DELETE keys (5,000,000 unless set).
set -euo pipefail
cd "$(dirname "$0")/.."

export HOLDFAST_KILLS="${SOAK_KILLS:-200}" HOLDFAST_BIG_DELETE="${SOAK_BIG_DELETE:-5000000}"
exec go test -count=1 -v -timeout "${SOAK_TIMEOUT:-4h}" -run 'Soak|Kill' ./...
