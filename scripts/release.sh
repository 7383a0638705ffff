#!/usr/bin/env bash
# Builds the binaries of a release: static, for linux on amd64 and arm64, with the version stamped into them and their
# checksums beside them, in dist/.
#
#   scripts/release.sh                 all of them
#   scripts/release.sh build <file>    one, for the machine at hand (GOOS and GOARCH as go build takes them)
#
# VERSION is the version; without it it is that of the source, with the commit behind it if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

source_version=$(sed -n 's/^var Version = "\(.*\)"$/\1/p' internal/server/version.go)
version=${VERSION:-}
if [ -z "$version" ]; then
	version=$source_version
	if commit=$(git rev-parse --short=12 HEAD 2>/dev/null); then
		version="$version+$commit"
	fi
fi

build() { # file
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X holdfast/internal/server.Version=$version" -o "$1" ./cmd/holdfast
}

if [ "${1:-}" = build ]; then
	build "$2"
	exit
fi
check() { # file: what runs here has to say the version, and to need no library
	"$1" version | grep -qxF "holdfast version: $version" || { echo "$1 does not say that it is version $version" >&2; exit 1; }
	if command -v ldd >/dev/null && ldd "$1" >/dev/null 2>&1; then
		echo "$1 is not static" >&2
		exit 1
	fi
}

mkdir -p dist
rm -f dist/holdfast-* dist/SHA256SUMS
for arch in amd64 arm64; do
	GOOS=linux GOARCH=$arch build "dist/holdfast-linux-$arch"
done
check "dist/holdfast-linux-$(go env GOHOSTARCH)"
(cd dist && sha256sum holdfast-* > SHA256SUMS && cat SHA256SUMS)
echo "Holdfast $version is in dist/."
