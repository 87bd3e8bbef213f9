#!/usr/bin/env bash
# Makes Debian packages of what cargo has built: package.sh BUILT TOP FOLDER. Runs in a Debian of the packages' architecture, as any
# user; `x` calls it. The packages are in FOLDER then.
set -euo pipefail

built=$1 top=$2 folder=$3
# shellcheck source=tools/lib.sh
source "$top/tools/lib.sh"

version=$(version_of "$top")
tree=$folder/swsync-$version
rm -rf "$folder"
copy_sources "$top" "$tree"
cp -r "$tree/packaging/debian" "$tree/debian"
# The day of the commit, so that the same commit gives the same packages.
day=$(git -C "$top" log -1 --format=%cD)
cat >"$tree/debian/changelog" <<END
swsync (${version/-/~}) trixie; urgency=medium

  * CHANGELOG.md has what is new.

 -- The swsync developers <swsync@localhost>  $day
END
cd "$tree"
# No packages of debug symbols: the release profile makes none.
SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct) SWSYNC_BUILT=$built DEB_BUILD_OPTIONS=noautodbgsym \
    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
cd "$folder"
# The developers have no address for mail yet. What else is overridden has its reason in packaging/debian/*.lintian-overrides.
lintian --tag-display-limit 0 --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog --fail-on error,warning ./*.changes
