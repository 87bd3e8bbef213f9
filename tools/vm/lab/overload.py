"""A device with too little of something: processors, memory, a quick disk. Are dropped frames named, and does the clock hold?"""

import json
import subprocess
import time

from common import SCRATCH, Device, Errors, Results, backwards, bridge, sh, uptime

RATE, SECONDS = 5, 10
CAMERA = "swsyncsrc backend=simulated simulated-seed={seed} ! video/x-raw,width=160,height=120,framerate={rate}/1 ! videoconvert ! jpegenc ! swsyncsink location={location}"
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
        self.client = self.device("client", "role=client sync-timeout=60000000000", 2, "/mnt/takes")
        self.client.wait_until_synced()
        time.sleep(3)

    @staticmethod
    def device(name, clock, seed, location):
        camera = CAMERA.format(rate=RATE, seed=seed, location=location)
        return Device(name, f"swsyncclock name=clock {clock} {camera}", name)

    def take(self, name, fault, begin_fault, end_fault):
        """A take, in the middle of which the fault is; then another that is whole again."""
        begin = uptime()
        recording = self.record(name, SECONDS)
        time.sleep(3)
        begin_fault()
        time.sleep(SECONDS - 5)
        end_fault()
        code = recording.wait(120)
        errors = Errors(self.leader, self.client, begin)
        counts = {device: self.count(name, device) for device in ("leader", "client")}
        after = self.record(name + "-after", 2).wait(60)
        whole = self.count(name + "-after", "client")
        ok = all(saved + holes == RATE * SECONDS for saved, holes in counts.values()) and (code == 0) == (sum(holes for _, holes in counts.values()) == 0)
        ok &= errors.within(True) == 100 and backwards([self.leader, self.client]) == 0 and after == 0 and whole == (2 * RATE, 0)
        said = "; ".join(f"{device}: {saved} saved, {holes} named as missing" for device, (saved, holes) in counts.items())
        self.results.add(fault, "each frame saved, or named as missing; exit code 0 only if none is missing; clock as it says; the next take whole",
                         f"{said}; record's exit code {code}; {errors.text()}; the next take: {whole[0]} saved, exit code {after}", ok, **errors.figures())

    @staticmethod
    def record(name, seconds):
        return subprocess.Popen(["ip", "netns", "exec", "leader", "swsync", "record", "--for", f"{seconds}s", "--in", "1s", "--id", name, "--max-error", "none"],
                                stdout=(SCRATCH / f"{name}.log").open("w"), stderr=subprocess.STDOUT)

    @staticmethod
    def count(name, device):
        """Frames saved, and frames that take.json names as missing."""
        folder = f"{'/mnt/takes' if device == 'client' else SCRATCH / 'takes'}/{name}/{device}"
        frames = [json.loads(line) for line in open(f"{folder}/frames.jsonl")]
        return len(frames), sum(hole["count"] for hole in json.load(open(f"{folder}/take.json")).get("holes", []))


def busy():
    for _ in range(8):
        subprocess.Popen(["timeout", str(SECONDS - 5), "sh", "-c", "while :; do :; done"])


def little_memory(pid):
    """The client into a group that may have a little more than it has now."""
    sh(f"echo +memory > /sys/fs/cgroup/cgroup.subtree_control; mkdir -p {CGROUP}; echo {pid} > {CGROUP}/cgroup.procs")
    has = int(sh(f"grep VmRSS /proc/{pid}/status").split()[1]) * 1024
    sh(f"echo {has // 2 + (8 << 20)} > {CGROUP}/memory.high")


def main():
    results = Results("overload")
    SCRATCH.mkdir(exist_ok=True)
    make_disk()
    rig = Rig(results)
    rig.take("none", "nothing", lambda: None, lambda: None)
    rig.take("busy", "eight busy processes on one processor", busy, lambda: None)
    rig.take("disk", "every write 300 ms late", lambda: delay_writes(300), lambda: delay_writes(0))
    rig.take("memory", "memory scarce (memory.high)", lambda: little_memory(rig.client.process.pid), lambda: sh(f"echo max > {CGROUP}/memory.high"))
    for device in (rig.client, rig.leader):
        device.stop()
    results.end()


main()
