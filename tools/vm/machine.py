#!/usr/bin/env python3
"""Runs a command in a virtual machine with Debian's kernel: what `./x vm` calls, in the environment of `./x shell`.

The machine sees the files of that environment, by 9p, under a file system in memory. Its processor is emulated. By default each
instruction takes a nanosecond of the machine's time (`-icount`), so its clocks do not care how busy the host is.
"""

import argparse
import ctypes
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
# What of the environment means something of this machine only.
NOT_PASSED_ON = {"PWD", "OLDPWD", "SHLVL", "_", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "LD_PRELOAD"}
PR_SET_PDEATHSIG = 1


class MachineEnded(Exception):
    """The machine ended, and the command in it did not."""


def parse_arguments(arguments):
    """Options up to the first word that is none; the rest is the command."""
    parser = argparse.ArgumentParser(prog="x vm", add_help=False)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--memory", type=int, default=3072)
    parser.add_argument("--disk", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--real-time", action="store_true")
    parser.add_argument("--wire", type=pathlib.Path, nargs=2)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    parsed = parser.parse_args(arguments)
    if parsed.command[:1] == ["--"]:
        del parsed.command[0]
    if not parsed.command:
        parser.error("there is no command to run; ./x vm bash -c 'uname -a' is one")
    for disk in parsed.disk:
        if not disk.is_file():
            parser.error(f"--disk {disk}: there is no such file (truncate -s 256M {disk} makes one)")
    return parsed


def strip_programs():
    """The programs without what only debuggers read: their pages reach the machine slowly. Gives their folder."""
    built = pathlib.Path(os.environ["SWSYNC_VM_BUILT"])
    folder = pathlib.Path(os.environ["SWSYNC_VM_FOLDER"]) / f"programs-{built.name}"
    for name, into in [("swsync", "bin"), ("swsync-media", "bin"), ("swsync-device", "bin"), ("swsync-lab", "bin"), ("libgstswsync.so", "plugins")]:
        source, target = built / name, folder / into / name
        if target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{name}-{os.getpid()}")
        subprocess.run(["strip", "-g", "-p", "-o", partial, source], check=True)
        partial.rename(target)
    return folder


def write_job(job, command):
    """What the machine is to do, and with which environment, as scripts."""
    programs = strip_programs()
    environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    environment["PATH"] = f"{programs}/bin:{environment['PATH']}:/usr/sbin:/sbin"
    environment["GST_PLUGIN_PATH"] = f"{programs}/plugins"
    environment["GST_REGISTRY"] = f"{programs}/registry.bin"
    # Taking stock of GStreamer's plugins takes a minute in the machine.
    subprocess.run(["gst-inspect-1.0", "swsync"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items() if name.isidentifier()]
    (job / "environment.sh").write_text("".join(lines))
    (job / "run.sh").write_text(f"cd {shlex.quote(os.getcwd())}\nexec {shlex.join(command)}\n")
    shutil.copy(HERE / "guest.sh", job / "guest.sh")


def qemu_command(options, job):
    kernel = os.environ["SWSYNC_VM_KERNEL"]
    share = "local,security_model=none,multidevs=remap"
    command = ["nice", "-n", "5", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-nic", "none", "-display", "none", "-no-reboot"]
    command += ["-m", str(options.memory), "-cpu", "max"]
    if options.real_time:
        # The alarm that ends a suspend goes by the clock of the host, as the machine's own stands still meanwhile.
        command += ["-accel", "tcg,thread=multi", "-smp", "2", "-rtc", "clock=host"]
    else:
        command += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1", "-rtc", "clock=vm"]
    command += ["-kernel", f"{kernel}/vmlinuz", "-initrd", f"{kernel}/initramfs.gz", "-append", "console=ttyS0 quiet panic=-1"]
    command += ["-serial", f"file:{job}/console"]
    command += ["-fsdev", f"{share},id=root,path=/,readonly=on", "-device", "virtio-9p-pci,fsdev=root,mount_tag=root"]
    command += ["-fsdev", f"{share},id=job,path={job}", "-device", "virtio-9p-pci,fsdev=job,mount_tag=job"]
    if options.wire:
        here, there = options.wire
        command += ["-netdev", f"dgram,id=wire,local.type=unix,local.path={here},remote.type=unix,remote.path={there}", "-device", "virtio-net-pci,netdev=wire"]
    for number, disk in enumerate(options.disk, start=1):
        command += ["-drive", f"file={disk},if=none,id=disk{number},format=raw,cache=unsafe", "-device", f"virtio-blk-pci,drive=disk{number}"]
    return command


def end_with_parent():
    """Before qemu starts: it is killed when this process ends, however it ends, and gets no Ctrl-C of the terminal itself."""
    os.setsid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Copier:
    """Passes on what is appended to a file."""

    def __init__(self, path, to):
        path.touch()
        self.file, self.to = path.open("rb"), to

    def copy(self):
        if data := self.file.read():
            self.to.buffer.write(data)
            self.to.flush()


def tail(path, lines=15):
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def run(options):
    """Runs the machine. Returns the command's exit code, and the seconds that the machine took to boot and in all."""
    begun, booted = time.monotonic(), None
    folder = pathlib.Path(os.environ["SWSYNC_VM_FOLDER"])
    out = options.out or folder / "out"
    with tempfile.TemporaryDirectory(prefix="job-", dir=folder) as name:
        job = pathlib.Path(name)
        (job / "out").mkdir()
        write_job(job, options.command)
        copiers = [Copier(job / "stdout", sys.stdout), Copier(job / "stderr", sys.stderr)]
        process = subprocess.Popen(qemu_command(options, job), stdin=subprocess.DEVNULL, stdout=(job / "qemu").open("wb"), stderr=subprocess.STDOUT, preexec_fn=end_with_parent)
        try:
            while process.poll() is None:
                for copier in copiers:
                    copier.copy()
                if booted is None and (job / "booted").exists():
                    booted = time.monotonic() - begun
                if time.monotonic() - begun > options.timeout:
                    raise MachineEnded(f"the machine was ended after {options.timeout:.0f} s (--timeout); its console ends:\n{tail(job / 'console')}")
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for copier in copiers:
                copier.copy()
            read_console(job)
            keep_files(job, out)
        if not (job / "code").exists():
            raise MachineEnded(f"the machine ended before the command did (exit code {process.returncode}); its console ends:\n{tail(job / 'console')}\n{tail(job / 'qemu')}")
        return int((job / "code").read_text()), booted, time.monotonic() - begun


def read_console(job):
    """What a command says on the console because it has no files any more (lab/suspend.py): its exit code, and files of a line."""
    console = job / "console"
    for line in console.read_text(errors="replace").splitlines() if console.exists() else []:
        match line.split(" ", 2):
            case ["swsync-vm-code", code] if code.isdigit():
                (job / "code").write_text(code)
            case ["swsync-vm-file", name, text] if "/" not in name:
                (job / "out" / name).write_text(text + "\n")


def keep_files(job, out):
    """Takes over what the command left in $SWSYNC_VM_OUT, and the console."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(job / "out", out, symlinks=True)
    for name in ["console", "stdout", "stderr"]:
        if (job / name).exists():
            shutil.copy(job / name, out / f"machine-{name}.txt")


def main():
    options = parse_arguments(sys.argv[1:])
    if not shutil.which("qemu-system-x86_64"):
        sys.exit("x: there is no qemu-system-x86_64 here: install the package qemu-system-x86 and what else tools/packages-vm.txt names (./x vm does)")
    # An exception, so that the folder of the job goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        code, booted, took = run(options)
    except KeyboardInterrupt:
        sys.exit(130)
    except MachineEnded as error:
        sys.exit(f"x: {error}")
    files = [path for path in (options.out or pathlib.Path(os.environ["SWSYNC_VM_FOLDER"]) / "out").iterdir() if not path.name.startswith("machine-")]
    if files:
        print(f"x: files of the machine are in {files[0].parent}", file=sys.stderr)
    print(f"x: exit code {code}; the machine booted in {booted or 0:.0f} s and ran {took:.0f} s", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
