#!/usr/bin/env bash
# Kills a member without warning under load, again and again, and looks for acknowledged writes that are missing.
# SOAK_KILLS is how often (200 unless set); HOLDFAST_KILLS is the name that the test reads.
set -euo pipefail
cd "$(dirname "$0")/.."

HOLDFAST_KILLS="${SOAK_KILLS:-200}" exec go test -count=1 -v -timeout "${SOAK_TIMEOUT:-4h}" -run 'Soak|Kill' ./...
