#!/usr/bin/env bash
# Commits a new version: release.sh CHECKOUT VERSION. The version of all crates, and the changelog's entries under its name. `x` calls it, and
# makes packages and tag then.
set -euo pipefail

checkout=$1 version=$2
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$checkout"

old=$(version_of .)
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[a-z]+\.[0-9]+)?$ ]] || die "\`$version\` is no version: write 0.2.0, or 0.2.0-rc.1 before it"
# A release candidate comes before its release: Debian's order has a tilde for that.
dpkg --compare-versions "${version/-/\~}" gt "${old/-/\~}" || die "$version is not later than $old, which Cargo.toml has"
[[ -z $(git tag --list "v$version") ]] || die "there is a tag v$version already"
[[ -z $(git status --porcelain) ]] || die "there are changes that are not committed: $(git status --short | head -n 5)"
entries=$(awk '/^## / { here = $0 == "## Unreleased"; next } here && NF' CHANGELOG.md)
[[ -n $entries ]] || die 'CHANGELOG.md has nothing under "## Unreleased": what is new for users?'

# The first version is the workspace's; the others are what its crates want of each other.
sed -i -e "0,/^version = \"$old\"/s//version = \"$version\"/" \
    -e "/^swsync-[a-z]* = { path = /s/version = \"$old\"/version = \"$version\"/" Cargo.toml
left=$(grep -n "\"$old\"" Cargo.toml || true)
[[ -z $left ]] || die "Cargo.toml still has the old version: $left"
cargo update --workspace --offline --quiet
day=$(date --utc +%F)
sed -i "s/^## Unreleased\$/## Unreleased\n\n## $version ($day)/" CHANGELOG.md
cargo metadata --locked --offline --no-deps --format-version=1 >/dev/null
git commit --quiet --all --message "Release $version"
say "$(git log -1 --oneline)"
