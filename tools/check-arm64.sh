#!/usr/bin/env bash
# Whether what was cross-built runs: check-arm64.sh FOLDER TESTS. FOLDER has the packages, TESTS is the program of the core's unit tests. Runs in the
# arm64 root, in a network namespace of its own; elsewhere than on arm64 that is qemu-user. Times there say nothing of a board's.
set -euo pipefail

folder=$1 tests=$2
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ $(uname -m) == aarch64 ]] || die "this is $(uname -m)"
scratch=$folder/run
rm -rf "$scratch"
mkdir -p "$scratch"/{root,takes}
for package in "$folder"/*_arm64.deb; do
    [[ $package == *dbgsym* ]] || dpkg-deb --extract "$package" "$scratch/root"
done
export PATH=$scratch/root/usr/bin:$PATH GST_REGISTRY=$scratch/registry.bin
GST_PLUGIN_PATH=$(dirname "$(find "$scratch/root" -name libgstswsync.so)")
export GST_PLUGIN_PATH HOME=$scratch SWSYNC_RIG=arm64-$$ SWSYNC_CONFIG=/dev/null

say '  gst-inspect-1.0 of each element'
for element in swsyncclock swsyncsrc swsyncsink swsyncgate; do
    gst-inspect-1.0 "$element" >"$scratch/$element.txt" 2>"$scratch/$element.err" || die "$element: $(<"$scratch/$element.err")"
    # qemu-user knows fewer system calls than a kernel, and says so.
    said=$(grep -v '^qemu' "$scratch/$element.err" || true)
    [[ -z $said ]] || die "$element: $said"
done

say "  the core's unit tests"
begun=$SECONDS
"$tests" --test-threads=2 >"$scratch/tests.log" 2>&1 || { tail -n 30 "$scratch/tests.log" >&2; die "the core's unit tests fail on arm64"; }
say "  $(grep '^test result' "$scratch/tests.log"), $((SECONDS - begun)) s"

say '  a rig of two takes a shot'
begun=$SECONDS
# By address: qemu-user does not tell programs which interfaces there are, so they would not find each other.
where=tcp/127.0.0.1:7447
devices=()
trap 'kill "${devices[@]}" 2>/dev/null || true' EXIT
for id in first second; do
    joins=$([[ $id == first ]] && echo "listen=$where" || echo "connect=$where")
    printf "pipeline = '''swsyncclock sync-timeout=300000000000 %s device-id=%s swsyncsrc backend=simulated ! video/x-raw,width=160,height=120,framerate=5/1 ! \
videoconvert ! jpegenc ! swsyncsink location=%s'''\n" "$joins" "$id" "$scratch/takes" >"$scratch/$id.conf"
    swsync-device "$scratch/$id.conf" >"$scratch/$id.log" 2>&1 &
    devices+=($!)
done
export SWSYNC_CONNECT=$where
is_there() { [[ $(swsync status --json 2>/dev/null | grep -o '"answered":true' | wc -l) == 2 ]]; }
until is_there; do
    kill -0 "${devices[@]}" 2>/dev/null && ((SECONDS - begun < 600)) || { tail "$scratch"/*.log >&2; die 'no rig of two'; }
    sleep 1
done
say "  a rig of two after $((SECONDS - begun)) s"
# Frames are late under emulation, so not every order finds them.
for ((try = 1; ; try++)); do
    swsync shoot --in 20s --max-error none --timeout 60s >"$scratch/shoot.log" 2>&1 && break
    ((try < 6)) || { cat "$scratch/shoot.log" "$scratch"/first.log >&2; die "no shot in $try tries"; }
done
count=$(find "$scratch/takes" -name '*.jpg' -size +0 | wc -l)
((count >= 2)) || die "the shot left $count pictures"
say "  shot no. $try left $count pictures, $((SECONDS - begun)) s after the start"
kill "${devices[@]}"
for device in "${devices[@]}"; do wait "$device" || die 'a device does not end well on SIGTERM'; done
trap - EXIT
rm -rf "$scratch"
