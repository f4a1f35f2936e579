#!/usr/bin/env bash
# Installs what release.sh made for this machine, into folders of their own, and runs it: check-release.sh VERSION FOLDER.
set -euo pipefail
version=${1:?which version?} out=$(cd "${2:?where is it?}" && pwd)
name=syncd_${version#v}_linux_$(go env GOARCH)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

(cd "$out" && sha256sum --quiet -c SHA256SUMS)

# check PREFIX DOC: the program there runs, says its version, and accepts the configurations of its documentation.
check() {
  local program=$1/bin/syncd doc=$2
  [[ $("$program" version) == "syncd $version "* ]] || { echo "$program is $("$program" version), not $version" >&2; exit 1; }
  "$program" validate --allow-unset-env "$doc"/configs/{base,dev,staging,prod,sandbox,tutorial}.yaml >/dev/null
  (cd "$tmp" && rm -f syncd.yaml && "$program" init --sink file --source file >/dev/null && "$program" validate >/dev/null)
}

tar -C "$tmp" -xzf "$out/$name.tar.gz"
mkdir "$tmp/archive" && mkdir "$tmp/archive/bin" && ln -s "$tmp/$name/syncd" "$tmp/archive/bin/syncd"
check "$tmp/archive" "$tmp/$name"
for file in man/syncd-run.1 completions/syncd.{bash,zsh,fish} systemd/syncd-serve.service LICENSE THIRD-PARTY-LICENSES CHANGELOG.md; do
  [ -s "$tmp/$name/$file" ] || { echo "the archive has no $file" >&2; exit 1; }
done
echo "$name.tar.gz: unpacked, and it runs"

# installed FORMAT ROOT: what a package has put under ROOT.
installed() {
  check "$2/usr" "$2/usr/share/doc/syncd"
  for file in share/man/man1/syncd.1.gz share/man/man1/syncd-config-print.1.gz share/bash-completion/completions/syncd \
    share/zsh/vendor-completions/_syncd share/fish/vendor_completions.d/syncd.fish lib/systemd/system/syncd-serve.service \
    lib/systemd/system/syncd.timer share/doc/syncd/copyright share/doc/syncd/service.yaml.example; do
    [ -s "$2/usr/$file" ] || { echo "the $1 package has no /usr/$file" >&2; exit 1; }
  done
  [ -d "$2/etc/syncd/jobs" ] || { echo "the $1 package makes no /etc/syncd/jobs" >&2; exit 1; }
  echo "$name.$1: installed, and it runs"
}

# What the packages need is the machine's; the folders have no other package.
if command -v dpkg >/dev/null; then
  root=$tmp/deb
  mkdir -p "$root/admin"/{info,updates,triggers} && touch "$root/admin/status" "$root/admin/available"
  run_dpkg() { dpkg --admindir="$root/admin" --instdir="$root" --force-not-root --force-depends --log=/dev/null "$@" >"$tmp/dpkg.log" 2>&1 || { cat "$tmp/dpkg.log" >&2; exit 1; }; }
  run_dpkg -i "$out/$name.deb"
  installed deb "$root"
  run_dpkg -r syncd
  [ ! -e "$root/usr/bin/syncd" ] || { echo "removing the deb package leaves the program" >&2; exit 1; }
else
  echo "$name.deb: not checked, there is no dpkg"
fi
if command -v rpm >/dev/null; then
  root=$tmp/rpm
  mkdir -p "$root"
  rpm --root "$root" --initdb
  rpm --root "$root" -i --nodeps --ignoreos "$out/$name.rpm"
  installed rpm "$root"
  rpm --root "$root" -e --nodeps syncd
else
  echo "$name.rpm: not checked, there is no rpm"
fi
