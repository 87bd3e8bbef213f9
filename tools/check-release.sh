#!/usr/bin/env bash
# Whether tools/release.sh makes the commit of a release, and refuses what is none: check-release.sh FOLDER. In a clone. Run by `./x test`.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=tools/lib.sh
source "$top/tools/lib.sh"

folder=$1
rm -rf "$folder"
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
# A repository of its own, of what is here: a clone of CI's has no history.
copy_sources "$top" "$folder/checkout"
cd "$folder/checkout"
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=check GIT_AUTHOR_EMAIL=check@localhost GIT_COMMITTER_NAME=check GIT_COMMITTER_EMAIL=check@localhost
git init --quiet .
printf '# Changelog\n\n## Unreleased\n\n- swsyncclock: faster.\n\n## 0.0.1\n\n- First.\n' >CHANGELOG.md
git add --all
git commit --quiet --message here
old=$(version_of .)

# refuse TEXT VERSION: says TEXT, and changes nothing.
refuse() {
    local said before
    before=$(git rev-parse HEAD)
    ! said=$("$top/tools/release.sh" . "$2" 2>&1) || die "version $2 was taken"
    [[ $said == *"$1"* && $(git rev-parse HEAD) == "$before" ]] || die "version $2: $said"
}
refuse 'is no version' 1.0
refuse 'is not later' "$old"
refuse 'is not later' "$old-rc.1"
git tag v99.0.0
refuse 'a tag v99.0.0 already' 99.0.0
touch new
refuse 'not committed' 98.0.0
rm new

"$top/tools/release.sh" . 98.0.0
[[ -z $(git status --porcelain) ]] || die 'something is not committed'
[[ $(git log -1 --format=%s) == 'Release 98.0.0' ]] || die 'the commit is not there'
cargo metadata --locked --offline --format-version=1 --no-deps | grep -o '"name":"swsync-core","version":"[^"]*"' | grep -q '"98.0.0"' ||
    die 'cargo does not have the new version'
! grep -n -B 1 "^version = \"$old\"" Cargo.lock | grep -E '"(swsync|gst-plugin)' || die 'Cargo.lock has a crate of ours with the old version'
head -n 8 CHANGELOG.md | tr '\n' '|' | grep -Eq '## Unreleased\|\|## 98.0.0 \([0-9-]{10}\)\|\|- swsyncclock' || die "the changelog: $(head CHANGELOG.md)"
refuse 'nothing under' 98.0.1
say 'a release is made, and what is none is refused'
