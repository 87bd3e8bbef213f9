"""A device with too little of something: processors, memory, a quick disk. Are dropped frames named, and does the clock hold?"""

import json
import pathlib
import subprocess
import time

from common import PATIENT, SCRATCH, Device, Errors, Results, backwards, bridge, sh, uptime, wait_for_end

RATE, SECONDS = 10, 10
# A ring of a second, and room for some five pictures that wait for the disk: so a slow disk shows within a short take.
CAMERA = "swsyncsrc backend=simulated simulated-seed={seed} ! video/x-raw,width=160,height=120,framerate={rate}/1 ! videoconvert ! jpegenc ! swsyncsink ring-time=1000000000 ring-bytes=60000 location={location}"
DISK = "/dev/mapper/slow"
CGROUP = "/sys/fs/cgroup/small"


def make_disk():
    """A disk in memory whose every write can be made late (dm-delay)."""
    sh("""modprobe -a brd dm-delay ext4; [ -e /dev/ram0 ] || modprobe brd rd_nr=1 rd_size=65536
        dmsetup create slow --table "0 $(blockdev --getsz /dev/ram0) delay /dev/ram0 0 0 /dev/ram0 0 0" && dmsetup mknodes
        mkfs.ext4 -q -O ^has_journal /dev/mapper/slow && mkdir -p /mnt && mount /dev/mapper/slow /mnt""")


def delay_writes(ms):
    sh(f"""dmsetup suspend slow && dmsetup load slow --table "0 $(blockdev --getsz /dev/ram0) delay /dev/ram0 0 0 /dev/ram0 0 {ms}" && dmsetup resume slow""")


class Rig:
    def __init__(self, results):
        self.results = results
        bridge(["leader", "client"])
        self.leader = self.device("leader", "role=leader", 1, SCRATCH / "takes")
        self.leader.wait_until_synced()
        sh(f"echo +memory > /sys/fs/cgroup/cgroup.subtree_control; mkdir -p {CGROUP}")
        self.client = self.device("client", f"role=client {PATIENT}", 2, "/mnt/takes", CGROUP)
        self.client.wait_until_synced()
        time.sleep(3)

    @staticmethod
    def device(name, clock, seed, location, cgroup=None):
        camera = CAMERA.format(rate=RATE, seed=seed, location=location)
        return Device(name, f"swsyncclock name=clock {clock} {camera}", name, cgroup=cgroup)

    def take(self, name, fault, begin_fault, end_fault=lambda: None, why=None):
        """A take, in the middle of which the fault is; then others, until one is whole again. `why`: frames have to be missing for this reason."""
        begin = uptime()
        recording = self.record(name, SECONDS)
        time.sleep(3)
        begin_fault()
        time.sleep(SECONDS - 5)
        end_fault()
        code = wait_for_end(recording, 180)
        errors = Errors(self.leader, self.client, begin)
        counts = {device: self.count(name, device) for device in ("leader", "client")}
        whole, wholly = self.recover(name)
        ok = all(saved + holes == RATE * SECONDS for saved, holes, _ in counts.values()) and (code == 0) == (sum(holes for _, holes, _ in counts.values()) == 0)
        ok &= errors.within(True) == 100 and backwards([self.leader, self.client]) == 0 and wholly
        reasons = sorted({reason for _, _, all_reasons in counts.values() for reason in all_reasons})
        ok &= why is None or any(why in reason for reason in reasons)
        said = "; ".join(f"{device}: {saved} saved, {holes} named as missing" for device, (saved, holes, _) in counts.items())
        self.results.add(fault, "each frame saved, or named as missing" + (f" ({why})" if why else "") + "; exit code 0 only if none is missing; clock as it says; one of the next three takes whole",
                         f"{said} {reasons or ''}; record's exit code {code}; {errors.text()}; {whole}", ok, reasons=reasons, **errors.figures())

    def recover(self, name):
        """Takes of 2 s until one is whole, three at most: which one was, and whether one was. One that is not has to say so: a camera that is
        late may need some frames to be back on the grid."""
        said = []
        for number in range(1, 4):
            take = f"{name}-after-{number}"
            code = wait_for_end(self.record(take, 2))
            saved = [self.count(take, device)[0] for device in ("leader", "client")]
            whole = saved == [2 * RATE, 2 * RATE]
            said.append(f"take {number} after it: {saved[0]} and {saved[1]} saved, exit code {code}")
            if whole != (code == 0):
                return "; ".join(said) + ": that is not so", False
            if whole:
                break
        return "; ".join(said), whole

    @staticmethod
    def record(name, seconds):
        return subprocess.Popen(["ip", "netns", "exec", "leader", "swsync", "record", "--for", f"{seconds}s", "--in", "1s", "--id", name, "--max-error", "none"],
                                stdout=(SCRATCH / f"{name}.log").open("w"), stderr=subprocess.STDOUT)

    @staticmethod
    def count(name, device):
        """Frames saved, frames that take.json names as missing, and why."""
        folder = f"{'/mnt/takes' if device == 'client' else SCRATCH / 'takes'}/{name}/{device}"
        if not pathlib.Path(folder, "take.json").exists():
            return 0, 0, {"it left no take"}
        frames = [json.loads(line) for line in open(f"{folder}/frames.jsonl")]
        holes = json.load(open(f"{folder}/take.json")).get("holes", [])
        return len(frames), sum(hole["count"] for hole in holes), {hole.get("why", "?") for hole in holes}


def busy(how=""):
    for _ in range(8):
        subprocess.Popen(["timeout", str(SECONDS - 5), "sh", "-c", f"{how} sh -c 'while :; do :; done'"])


def little_memory():
    """The client may have less than it has now."""
    has = int(next(line.split()[1] for line in open(f"{CGROUP}/memory.stat") if line.startswith("anon ")))
    sh(f"echo {has * 9 // 10} > {CGROUP}/memory.high")


def main():
    results = Results("overload")
    SCRATCH.mkdir(exist_ok=True)
    make_disk()
    rig = Rig(results)
    rig.take("none", "nothing", lambda: None)
    rig.take("busy", "eight busy processes on one processor", busy)
    rig.take("real-time", "eight real-time processes, which leave 5 % of the processor", lambda: busy("exec chrt -f 50"))
    rig.take("slow", "every write 300 ms late", lambda: delay_writes(300), lambda: delay_writes(0))
    rig.take("disk", "every write 3 s late", lambda: delay_writes(3000), lambda: delay_writes(0), "the disk could not keep up")
    rig.take("memory", "a tenth less memory than it has (memory.high)", little_memory, lambda: sh(f"echo max > {CGROUP}/memory.high"))
    for device in (rig.client, rig.leader):
        device.stop()
    results.end()


main()
