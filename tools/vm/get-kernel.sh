#!/usr/bin/env bash
# Unpacks Debian 13's kernel: get-kernel.sh FOLDER. It is not installed: nothing of this machine is to start it.
set -euo pipefail

folder=$1
rm -rf "$folder"
mkdir -p "$folder"/{lists/partial,cache/archives/partial}
apt=(-o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
grep -qs '^VERSION_CODENAME=trixie' /etc/os-release || { echo "this is not Debian 13: SWSYNC_SYSTEM=trixie ./x vm" >&2; exit 1; }
apt-get -q "${apt[@]}" update
package=$(apt-cache "${apt[@]}" depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
cd "$folder"
apt-get -q "${apt[@]}" download "$package"
dpkg-deb -x ./*.deb .
rm -rf ./*.deb lists cache
ln -s usr/lib lib
ln -s boot/vmlinuz-* vmlinuz
depmod -b "$folder" "${package#linux-image-}"
