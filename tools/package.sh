#!/usr/bin/env bash
# Makes Debian packages of what cargo has built: package.sh BUILT TOP FOLDER. Runs in a Debian of the packages' architecture, as any
# user; `x` calls it. The packages are in FOLDER then.
set -euo pipefail

built=$1 top=$2 folder=$3
# shellcheck source=tools/lib.sh
source "$top/tools/lib.sh"

version=$(awk -F '"' '/^version/ { print $2; exit }' "$top/Cargo.toml")
tree=$folder/swsync-$version
rm -rf "$folder"
mkdir -p "$tree"
# What git knows, as it is here now.
git -C "$top" ls-files -z | (cd "$top" && xargs -0 tar c --ignore-failed-read) | tar x -C "$tree"
cp -r "$tree/packaging/debian" "$tree/debian"
# The day of the commit, so that the same commit gives the same packages.
day=$(git -C "$top" log -1 --format=%cD)
cat >"$tree/debian/changelog" <<END
swsync ($version) trixie; urgency=medium

  * CHANGELOG.md has what is new.

 -- The swsync developers <swsync@localhost>  $day
END
cd "$tree"
SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct) SWSYNC_BUILT=$built \
    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
cd "$folder"
lintian --no-tag-display-limit --fail-on error,warning ./*.changes
