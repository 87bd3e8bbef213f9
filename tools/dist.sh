#!/usr/bin/env bash
# Makes a tarball of the sources with all crates that they take: dist.sh TOP FOLDER. `x` calls it. The same commit gives the same tarball.
set -euo pipefail

top=$1 folder=$2
# shellcheck source=tools/lib.sh
source "$top/tools/lib.sh"

name=swsync-$(version_of "$top")
rm -rf "$folder"
mkdir -p "$folder"
trap 'rm -rf "${folder:?}/$name"' EXIT
copy_sources "$top" "$folder/$name"
"$top/tools/vendor.py" "$folder/$name"
tar c --sort=name --owner=0 --group=0 --numeric-owner --mode=u+w,go-w "--mtime=@$(git -C "$top" log -1 --format=%ct)" -C "$folder" "$name" |
    xz --threads=0 -3 >"$folder/$name.tar.xz.partial"
mv "$folder/$name.tar.xz.partial" "$folder/$name.tar.xz"
(cd "$folder" && sha256sum "$name.tar.xz" >"$name.tar.xz.sha256")
