#!/usr/bin/env bash
# Builds the release archives and packages: release.sh VERSION FOLDER. ARCHS chooses among amd64 and arm64; both is the default. The same source, Go and C compiler make the same bytes, wherever and
# whenever: `make release-check` builds twice and compares.
set -euo pipefail
version=${1:?which version?} out=${2:?where to?}
cd "$(dirname "$0")/.."

# The date of everything in the archives: that of the commit.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
sbom=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0
archs=${ARCHS:-amd64 arm64}

# build ARCH CC: librdkafka is a static library in confluent-kafka-go, so cgo is needed, and a C compiler for the target.
build() {
  local arch=$1 cc=$2 name=syncd_${version#v}_linux_$1
  local dir=$stage/$name
  mkdir -p "$dir"
  echo "build linux/$arch"
  # Without the build id, which depends on the linker's temporary files.
  GOOS=linux GOARCH=$arch CGO_ENABLED=1 CC=$cc GOFLAGS='' go build -trimpath -buildvcs=false \
    -ldflags "-s -w -buildid= -extldflags=-Wl,--build-id=none -X github.com/syncd-io/syncd/cli.version=$version" \
    -o "$dir/syncd" ./cmd/syncd
  "$stage/tools/cyclonedx-gomod" bin -json -noserial -notimestamp -std -version "$version" \
    -output "$out/$name.cdx.json" "$dir/syncd"
  cp -r LICENSE README.md CHANGELOG.md "$stage/THIRD-PARTY-LICENSES" "$stage/man" "$stage/completions" "$dir/"
  cp -r configs "$dir/configs"
  mkdir "$dir/systemd"
  cp deploy/systemd/* "$dir/systemd/"
  # One owner, one order, one date, and modes that do not depend on who checked the files out.
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --mode='u=rwX,go=rX' \
    --format=ustar -C "$stage" -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
  package "$arch" "$dir"
}

# package ARCH DIR: a deb and an rpm of what the archive holds. Man pages in a package are compressed.
package() {
  local arch=$1 dir=$2 format
  gzip -9nk "$dir"/man/*.1
  for format in deb rpm; do
    sed -e "s|\${ARCH}|$arch|; s|\${DIR}|$dir|; s|\${VERSION}|${version#v}|" \
      -e "s|\${MTIME}|$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)|" deploy/nfpm.yaml >"$stage/nfpm.yaml"
    "$stage/tools/nfpm" package --config "$stage/nfpm.yaml" --packager "$format" --target "$out/$name.$format"
  done
}

amd64=x86_64-linux-gnu-gcc arm64=aarch64-linux-gnu-gcc
for arch in $archs; do
  cc=${!arch}
  if ! command -v "$cc" >/dev/null; then
    echo "release: there is no $cc (Debian: apt-get install gcc-x86-64-linux-gnu gcc-aarch64-linux-gnu)" >&2
    exit 1
  fi
done

mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/syncd_* "$out"/SHA256SUMS
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# What runs here makes what is the same for every architecture.
go build -trimpath -buildvcs=false -ldflags "-X github.com/syncd-io/syncd/cli.version=$version" -o "$stage/tools/syncd" ./cmd/syncd
GOBIN=$stage/tools go install "$sbom"
GOBIN=$stage/tools go install "$nfpm"
"$stage/tools/syncd" man --dir "$stage/man"
mkdir "$stage/completions"
for shell in bash zsh fish; do
  "$stage/tools/syncd" completion $shell >"$stage/completions/syncd.$shell"
done

# The licences of what is linked in, which ask to go with it; librdkafka's file has those of OpenSSL and others too.
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/syncd | sort -u |
  while read -r module v dir; do
    for file in "$dir"/{LICENSE,LICENCE,COPYING,NOTICE}* "$dir"/kafka/librdkafka_vendor/LICENSES.txt; do
      [ -f "$file" ] || continue
      printf '%s\n%s %s: %s\n\n' "----------------------------------------" "$module" "$v" "${file#"$dir"/}"
      cat "$file"
    done
  done >"$stage/THIRD-PARTY-LICENSES"

for arch in $archs; do
  build "$arch" "${!arch}"
done

cd "$out"
sha256sum -- *.tar.gz *.deb *.rpm *.cdx.json >SHA256SUMS
cat SHA256SUMS
