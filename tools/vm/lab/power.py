"""A disk of which every write is recorded (dm-log-writes), while two devices save orders: power.py FILE-SYSTEM.

/dev/vda is the disk, /dev/vdb gets the record. power_replay.py replays it outside, where the machine is not so slow.
"""

import os
import pathlib
import subprocess
import sys
import time

from common import PATIENT, SCRATCH, sh, wait_for_end, wait_for_frames

MAKE = {
    "ext4": "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0,nodiscard",
    "vfat": "mkfs.vfat -F 32",
    "exfat": "mkfs.exfat -q",
}
ENDPOINT = "tcp/127.0.0.1:7447"
DEVICE = "gst-launch-1.0 -e swsyncclock {clock} swsyncsrc backend=simulated simulated-seed={seed} ! video/x-raw,width=160,height=120,framerate=10/1 ! videoconvert ! {encoder} ! swsyncsink device-id={name} location=/mnt/takes {rig}"
STILLS = dict(name="stills", clock="role=leader announce=false", seed=1, encoder="jpegenc", rig=f"listen={ENDPOINT}")
VIDEO = dict(name="video", clock=f"role=client leader=127.0.0.1 announce=false {PATIENT}", seed=2, rig=f"connect={ENDPOINT}",
             encoder="x264enc tune=zerolatency speed-preset=ultrafast bframes=0 key-int-max=5 ! h264parse")


def mark(text):
    sh(f"dmsetup message lw 0 mark {text}")


def order(name, arguments):
    mark(f"{name}-ordered")
    said = sh(f"timeout 600 swsync {arguments} --id {name} --max-error none")
    mark(f"{name}-answered")
    print(said, flush=True)


def main(kind):
    out = pathlib.Path(os.environ["SWSYNC_VM_OUT"])
    SCRATCH.mkdir(exist_ok=True)
    sh("date -s '-1 hour'")  # so that outside all orders are long past
    sh(f"modprobe -a virtio_blk dm-log-writes {kind} nls_cp437 nls_iso8859-1 nls_ascii nls_utf8; mkdir -p /mnt", check=False)
    sh('dmsetup create lw --table "0 $(blockdev --getsz /dev/vda) log-writes /dev/vda /dev/vdb" && dmsetup mknodes')
    sh(f"{MAKE[kind]} /dev/mapper/lw && mount /dev/mapper/lw /mnt")
    mark("mounted")
    os.environ["SWSYNC_CONNECT"] = ENDPOINT
    devices = [subprocess.Popen(["bash", "-c", "exec " + DEVICE.format(**device)], stdout=(SCRATCH / f"{device['name']}.log").open("w"), stderr=subprocess.STDOUT,
                                env={k: v for k, v in os.environ.items() if k != "SWSYNC_CONNECT"}) for device in (STILLS, VIDEO)]
    wait_for_frames(["stills", "video"], seconds=90)
    time.sleep(3)
    order("burst", "shoot --in 500ms --count 20")
    order("past", "shoot --ago 1s --count 8")
    order("take", "record --for 4s --segment 2s")
    for device in devices:
        device.send_signal(2)
    for device in devices:
        wait_for_end(device)
    mark("ended")
    (out / "final.sha256").write_text(sh("cd /mnt && find . -type f | sort | xargs -d '\\n' sha256sum") + "\n")
    sh("umount /mnt && dmsetup remove lw")


main(sys.argv[1])
