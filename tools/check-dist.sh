#!/usr/bin/env bash
# Whether a tarball of `./x dist` builds with nothing else, without a network: check-dist.sh TARBALL FOLDER. cargo-c builds and installs the plugin
# of it, and GStreamer loads that. `x` runs this in a network namespace of its own.
set -euo pipefail

tarball=$1 folder=$2
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rm -rf "$folder"
mkdir -p "$folder/home"
trap 'rm -rf "$folder"' EXIT
[[ -z $(ip route show default) ]] || die 'there is a network, so nothing would be shown'
tar x -C "$folder" -f "$tarball"
cd "$folder"/swsync-*
# Another home: crates that were fetched before do not help.
export CARGO_HOME=$folder/home CARGO_TARGET_DIR=$folder/target CARGO_NET_OFFLINE=true
cargo cinstall --locked --offline --profile dev --package gst-plugin-swsync --destdir "$folder/installed" --prefix /usr --libdir lib >&2

plugin=$folder/installed/usr/lib/gstreamer-1.0/libgstswsync.so
[[ -s $plugin ]] || die "no plugin: $(find "$folder/installed" -type f)"
GST_REGISTRY=$folder/registry.bin GST_PLUGIN_PATH=${plugin%/*} gst-inspect-1.0 swsyncsrc >"$folder/inspected"
grep -q "$plugin" "$folder/inspected" || die 'GStreamer took another plugin than the installed one'
description=$(find "$folder/installed" -name '*.pc')
export PKG_CONFIG_PATH=${description%/*} PKG_CONFIG_SYSROOT_DIR=$folder/installed
name=$(basename "$description" .pc)
[[ $(pkg-config --modversion "$name") == "$(version_of .)" ]] || die "pkg-config does not know the version of $name"
pkg-config --exists --print-errors "$name" || die "$description names what is not there"
say "built without a network, and installed: $(cd "$folder/installed" && find . -type f | sort | tr '\n' ' ')"
