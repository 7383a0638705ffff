#!/usr/bin/env bash
# The ordinary tests: what "make test" and CI run. It stops at the first suite that fails, with go test's own last
# lines and exit code.
set -euo pipefail
cd "$(dirname "$0")/.."

# The lab runs on Debian's Python client, and the command line is compared with Debian's etcdctl.
missing=()
command -v etcdctl >/dev/null || missing+=(etcd-client)
/usr/bin/python3 -c 'import etcd3' 2>/dev/null || missing+=(python3-etcd3)
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
elif [ ${#missing[@]} -gt 0 ]; then
	echo "These Debian packages are missing: ${missing[*]}. The tests that need them say so." >&2
fi

go test -timeout 15m ./...

# The race detector where goroutines meet; -short, since make race runs the whole of it.
if command -v "${CC:-gcc}" >/dev/null; then
	scripts/race.sh -short
fi

for module in parity kube bench; do
	if [ -f "$module/go.mod" ]; then
		(cd "$module" && go test -timeout 10m ./...)
	fi
done
