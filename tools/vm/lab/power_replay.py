"""Replays what dm-log-writes recorded, up to every barrier, as if the power had gone there: power_replay.py KIND DISK LOG FOLDER.

Nothing reads exFAT without mounting it, so that runs in a machine too; the others outside.

Each state is repaired by the file system's own program and read: files with a final name have to be whole, and what an order's answer
called saved has to be there. Some states are given back to swsync's devices, which have to complete what can be completed.
"""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
MAGIC = 0x6A736677736872
STATES, RECOVERED = 120, 4
MOUNTED = "/mnt"
MEDIA = (".jpg", ".mp4")


class Log:
    """The log of dm-log-writes: a superblock, then for each write a sector that describes it, and its data."""

    def __init__(self, path):
        self.file = open(path, "rb")
        magic, _, count, self.sector = struct.unpack("<QQQI", self.file.read(28))
        if magic != MAGIC:
            sys.exit(f"{path} is no log of dm-log-writes")
        self.entries, position = [], self.sector
        for _ in range(count):
            self.file.seek(position)
            sector, sectors, flags, length = struct.unpack("<QQQQ", self.file.read(32))
            mark = self.file.read(length).decode() if flags & MARK else None
            data = position + self.sector
            self.entries.append((sector * self.sector, sectors * self.sector, flags, data, mark))
            position = data + (0 if flags & (DISCARD | MARK) else sectors * self.sector)
        self.marks = [(index, entry[4]) for index, entry in enumerate(self.entries) if entry[4]]

    def apply(self, disk, index):
        offset, size, flags, data, mark = self.entries[index]
        if mark or not size:
            return
        disk.seek(offset)
        if flags & DISCARD:
            disk.write(bytes(size))
            return
        self.file.seek(data)
        disk.write(self.file.read(size))

    def barriers(self):
        """The states to look at: at each barrier and before it, and at each mark; thinned out where there are too many."""
        start = next(index for index, mark in self.marks if mark == "mounted")
        marks = {index for index, _ in self.marks if index > start}
        flushes = [i for i in range(start + 1, len(self.entries)) if self.entries[i][2] & (FLUSH | FUA)]
        states = sorted({*flushes, *(i - 1 for i in flushes if i - 1 > start)})
        step = max(1, len(states) / STATES)
        return sorted(marks | {states[int(n * step)] for n in range(int(len(states) / step))}), len(flushes)


def repair_and_read(kind, image, into):
    """Repairs the file system in the file `image` and copies its files out. Returns what could not be repaired, or nothing."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    check = {"ext4": ["e2fsck", "-fy"], "vfat": ["fsck.vfat", "-a"], "exfat": ["fsck.exfat", "-y"]}[kind]
    repaired = subprocess.run([*check, image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # 1: repaired. fsck.vfat also says 1 where it found nothing to repair but the flag of a file system in use.
    if repaired.returncode not in (0, 1):
        return repaired.stdout.decode(errors="replace")[-300:]
    if kind == "exfat":
        subprocess.run(["mount", "-t", "exfat", "-o", "loop,ro", image, MOUNTED], check=True)
        shutil.copytree(MOUNTED, into, dirs_exist_ok=True)
        subprocess.run(["umount", MOUNTED], check=True)
    elif kind == "ext4":
        subprocess.run(["debugfs", "-R", f"rdump / {into}", image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        shutil.rmtree(into / "lost+found", ignore_errors=True)
    elif subprocess.run(["mdir", "-i", image, "::takes"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        subprocess.run(["mcopy", "-s", "-n", "-Q", "-i", image, "::takes", into], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return ""


def files_of(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def sum_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_hidden(name):
    return any(part.startswith(".") for part in name.split("/"))


def faults_in(files, final, answered):
    """What must not be: media with a final name that are not whole, manifests that cannot be read, answered frames that are gone."""
    faults = []
    for name, path in files.items():
        if is_hidden(name):
            continue
        if name.endswith(MEDIA) and sum_of(path) != final.get(name):
            faults.append(f"{name}: not whole ({path.stat().st_size} bytes)")
        if name.endswith("take.json"):
            try:
                json.loads(path.read_bytes())
            except ValueError:
                faults.append(f"{name}: torn")
    for order in answered:
        for name in final:
            if f"/{order}/" in f"/{name}" and name.endswith(MEDIA) and name not in files:
                faults.append(f"{name}: answered as saved, and gone")
    return faults


def unnamed(files):
    """Frames that a manifest names and that have no file of that name (yet)."""
    count = 0
    for name, path in files.items():
        if name.endswith("frames.jsonl") and not is_hidden(name):
            for line in path.read_bytes().split(b"\n")[:-1]:
                record = json.loads(line)
                count += not (path.parent / record["file"]).exists()
    return count


def free_port():
    """Replays of two tests may run at the same time."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def recover(folder):
    """Starts both devices on the files, as after a power cut, until each has completed and answered what is its own, or has had long enough."""
    endpoint = f"tcp/127.0.0.1:{free_port()}"
    environment = dict(os.environ, SWSYNC_CONNECT=endpoint)
    for name, encoder in [("stills", "jpegenc"), ("video", "x264enc tune=zerolatency speed-preset=ultrafast ! h264parse")]:
        line = f"""exec gst-launch-1.0 -e swsyncclock role=leader announce=false port=0 videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=10/1 !
            {encoder} ! swsyncsink device-id={name} location={folder}/takes listen={endpoint}""".replace("\n", " ")
        device = subprocess.Popen(["bash", "-c", line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # gst-launch-1.0 -e that gets SIGINT before the pipeline plays waits for an EOS that is lost.
        wait_while(lambda: device.poll() is None and not has_frames(name, environment))
        wait_while(lambda: unsettled(folder, name))
        device.send_signal(signal.SIGINT)
        device.wait(600)


def has_frames(name, environment):
    said = subprocess.run(["swsync", "status"], capture_output=True, text=True, env=environment).stdout
    return name in said and "no frames yet" not in said


def unsettled(folder, name):
    """Whether a device that runs has something left to complete or to answer."""
    try:
        return after_recovery({file: path for file, path in files_of(folder).items() if f"/{name}/" in file})
    except FileNotFoundError:
        return True  # renamed just now


def wait_while(condition, seconds=120):
    """Until it is false, or for so long and 600 looks, as the clock of a virtual machine may leap."""
    end, looks = time.monotonic() + seconds, 0
    while condition() and (looks < 600 or time.monotonic() < end):
        looks += 1
        time.sleep(0.2)


def after_recovery(files):
    """What is still wrong when the devices have been there."""
    faults = [f"{name}: still unfinished" for name in files if name.endswith(".part")]
    if count := unnamed(files):
        faults.append(f"{count} lines of manifests without a file")
    for name, path in files.items():
        if name.endswith("take.json") and not is_hidden(name) and not is_answered(path):
            faults.append(f"{name}: the order is not answered to its end")
    return faults


def is_answered(path):
    try:
        return json.loads(path.read_bytes())["complete"]
    except ValueError:
        return False  # torn


def main(kind, disk, log_path, folder):
    folder = pathlib.Path(folder)
    final = dict((line[66:].removeprefix("./"), line[:64]) for line in (folder / "final.sha256").read_text().splitlines())
    log = Log(log_path)
    states, barriers = log.barriers()
    in_machine = "SWSYNC_VM_OUT" in os.environ
    if in_machine:
        subprocess.run(f"modprobe -a loop {kind} nls_utf8; mkdir -p {MOUNTED}", shell=True, check=True)
    scratch = pathlib.Path("/tmp") if in_machine else folder
    current, copy, files_folder = scratch / "current.img", scratch / "copy.img", scratch / "files"
    with current.open("wb") as image:
        image.truncate(os.path.getsize(disk))
    faults, half_named, done, recovered, recover_faults = [], 0, 0, 0, []
    ordered_at = next(index for index, mark in log.marks if mark == "burst-ordered")
    late = [state for state in states if state > ordered_at]
    to_recover = {late[len(late) * n // RECOVERED + len(late) // (2 * RECOVERED)] for n in range(RECOVERED)}
    with current.open("r+b") as image:
        for state in states:
            for done in range(done, state + 1):
                log.apply(image, done)
            done = state + 1
            image.flush()
            subprocess.run(["cp", "--sparse=always", current, copy], check=True)
            if problem := repair_and_read(kind, copy, files_folder):
                faults.append(f"state {state}: not repaired: {problem}")
                continue
            marks = [mark for index, mark in log.marks if index <= state]
            files = files_of(files_folder)
            faults += [f"state {state}: {fault}" for fault in faults_in(files, final, [m.removesuffix("-answered") for m in marks if m.endswith("-answered")])]
            half_named += unnamed(files)
            if state in to_recover:
                recovered += 1
                recover(files_folder)
                recover_faults += [f"state {state}: {fault}" for fault in after_recovery(files_of(files_folder))]
    print("\n".join([*faults[:10], *recover_faults[:10]]), file=sys.stderr)
    rows = [
        dict(fault=f"power cut, {kind}: {len(states)} states of {barriers} barriers", expected="no file with a final name torn, none lost that was answered for",
             observed=f"{len(faults)} faults; {half_named} lines of manifests whose picture did not have its name yet", ok=not faults and bool(final),
             figures=dict(writes=len(log.entries), barriers=barriers, states=len(states), faults=faults[:5], lines_without_file=half_named)),
        dict(fault=f"power cut, {kind}: {recovered} states given back to the devices", expected="nothing unfinished, no line without its file, open orders answered",
             observed=f"{len(recover_faults)} faults", ok=not recover_faults and recovered == RECOVERED, figures=dict(recovered=recovered, faults=recover_faults[:5])),
    ]
    (pathlib.Path(os.environ.get("SWSYNC_VM_OUT", folder)) / f"power-{kind}.json").write_text(json.dumps(dict(test=f"power-{kind}", rows=rows), indent=1))


main(*sys.argv[1:])
