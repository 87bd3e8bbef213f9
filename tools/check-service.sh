#!/usr/bin/env bash
# Whether the service does what docs/service.md says, under a real systemd: check-service.sh ROOT FOLDER. ROOT is a Debian 13 with the packages
# installed, and is written to; logs go to FOLDER. Run by check-packages.sh, as root in a mount namespace of its own.
set -euo pipefail

root=$1 folder=$2
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=tools/boot.sh
source "$(dirname "${BASH_SOURCE[0]}")/boot.sh"

# wait_until SECONDS WHAT COMMAND...: until the command succeeds.
wait_until() {
    local seconds=$1 what=$2 until=$((SECONDS + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || {
            in_machine journalctl --no-pager -n 60 >&2
            die "not within $seconds s: $what"
        }
        sleep 0.2
    done
}
property() { in_machine systemctl show --value -p "$2" "swsync-device@$1"; }
is() { [[ $(property "$1" "$2") == "$3" ]]; }
devices() { [[ $(in_machine swsync status --json 2>/dev/null | grep -o '"answered":true' | wc -l) == "$1" ]]; }
configure() { printf '%s\n' "$2" >"$root/etc/swsync/device.d/$1.conf"; }

boot "$root" "$folder/console.log" || { say 'exception: systemd does not run here as in a container, so the service was not tried'; exit 0; }
trap power_off EXIT
SECONDS=0

say '  a device starts without a network, and with a clock that says 1970'
mkdir -p "$root/etc/systemd/system/swsync-device@camera.service.d"
cat >"$root/etc/systemd/system/swsync-device@camera.service.d/no-rtc.conf" <<'END'
[Service]
Environment=LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1 "FAKETIME=@1970-01-01 00:00:30" FAKETIME_DONT_FAKE_MONOTONIC=1
END
in_machine systemctl daemon-reload
in_machine swsync install-device --yes --rig stage --simulated --size 320x240 --force
wait_until 30 'frames flow without a network' is camera StatusText 'frames flow'

say '  it joins a rig once there is a network'
in_machine swsync install-device second --yes --simulated --size 320x240
in_machine sh -c 'ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo'
begun=$SECONDS
wait_until 60 'two devices of one rig' devices 2
say "  after $((SECONDS - begun)) s"

say '  the hardening, as systemd has understood it'
in_machine systemd-analyze --no-pager --threshold=40 security swsync-device@camera >"$folder/security.log" || die "$(tail -n 1 "$folder/security.log")"
tail -n 1 "$folder/security.log" >&2
[[ $(in_machine stat -c %U "/proc/$(property camera MainPID)") == swsync ]] || die 'the service does not run as swsync'

say '  stopped while it records: files are whole'
in_machine swsync install-device movie --yes --simulated --size 320x240 --encoder h264 --device-id movie
wait_until 60 'a device that records' devices 3
in_machine systemd-run --quiet --unit=record swsync record --to movie --max-error none
wait_until 60 'a file that grows' sh -c "find '$root/var/lib/swsync/takes' -path '*movie*' -name '*.mp4.part' -size +20k | grep -q ."
in_machine systemctl stop swsync-device@movie
is movie Result success || die "stopped, it ended with $(property movie Result)"
video=$(find "$root/var/lib/swsync/takes" -path '*/movie/0000.mp4')
[[ -n $video ]] || die "no video: $(find "$root/var/lib/swsync/takes" -path '*movie*')"
grep -q moov "$video" || die "$video has no index"
# A file that is not ended has a name with a dot before it; folders of the program's own have none in a take.
[[ -z $(find "$root/var/lib/swsync/takes" -path '*/movie/.*' -type f) ]] || die "unfinished files are left: $(find "$root/var/lib/swsync/takes" -path '*/movie/.*' -type f)"

say '  frames stop while the program lives: the watchdog ends it, and it starts again'
in_machine systemd-run --quiet --unit=frames gst-launch-1.0 videotestsrc is-live=true ! video/x-raw,width=16,height=16,framerate=10/1 ! \
    tcpserversink host=127.0.0.1 port=5000
wait_until 30 'a server of frames' in_machine bash -c 'true </dev/tcp/127.0.0.1/5000'
configure stuck "pipeline = 'tcpclientsrc host=127.0.0.1 port=5000 ! fakesink'"
in_machine systemctl start --no-block swsync-device@stuck
wait_until 30 'frames flow' is stuck ActiveState active
in_machine systemctl kill --signal=STOP frames
begun=$SECONDS
wait_until 60 'a restart by the watchdog' is stuck NRestarts 1
((SECONDS - begun >= 10)) || die 'it started again before the watchdog had a reason to end it'
say "  after $((SECONDS - begun)) s"
[[ $(in_machine journalctl --no-pager -u swsync-device@stuck) == *'Watchdog timeout'* ]] || die 'it was not the watchdog'
in_machine systemctl kill --signal=CONT frames
wait_until 60 'frames flow again' is stuck ActiveState active

say '  a program that dies starts again'
in_machine systemctl kill --signal=KILL swsync-device@second
wait_until 60 'a restart' is second NRestarts 1
wait_until 60 'frames flow again' is second StatusText 'frames flow'
in_machine systemctl stop 'swsync-device@*'
