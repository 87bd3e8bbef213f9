"""What the tests in the virtual machine share: commands, network namespaces, devices, true errors of clocks, results."""

import atexit
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
SCRATCH = pathlib.Path("/tmp/lab")
MULTICAST = "224.0.0.0/4"
# Long, as the machine's clock may leap while a program is read from the host's disk. The tests have limits of their own.
PATIENT = "sync-timeout=600000000000"


def sh(command, check=True):
    """Runs a line of shell. Returns what it says on standard output; ends the test if it fails and is not expected to."""
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and done.returncode != 0:
        sys.exit(f"{command}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout.strip()


def uptime():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def host_time():
    """The time of the computer that the machine runs on, in seconds: it dates the files that the machine shares with it."""
    file = pathlib.Path(os.environ["SWSYNC_VM_OUT"]).parent / "host-time"
    file.write_text("now")
    return file.stat().st_mtime


def wait_for(what, condition, seconds=30.0):
    """Waits until `condition()` is true and returns that; ends the test if it never is.

    So long by the machine's clock, which stands still while its host is slow, and by the host's, as the machine's leaps ahead while it
    waits for the host's disk.
    """
    end, host_end = time.monotonic() + seconds, host_time() + seconds
    while not (answer := condition()):
        if time.monotonic() > end and host_time() > host_end:
            sys.exit(f"waited {seconds:.0f} s in vain for: {what}")
        time.sleep(0.1)
    return answer


def wait_for_end(process, seconds=60.0):
    """Waits until a process has ended and returns its exit code."""
    wait_for(f"the end of {process.args}", lambda: process.poll() is not None, seconds)
    return process.returncode


def wait_for_frames(names, prefix="", seconds=60.0):
    """Until these devices are in the rig, and have frames."""
    def have():
        said = sh(f"{prefix} timeout 120 swsync status", check=False)
        return all(name in said for name in names) and "no frames yet" not in said

    wait_for(f"frames of {', '.join(names)}", have, seconds)


@atexit.register
def keep_logs():
    """What processes said, for whoever looks for the reason of a failure: however the test ends."""
    for log in SCRATCH.glob("*.log"):
        (pathlib.Path(os.environ["SWSYNC_VM_OUT"]) / log.name).write_text(log.read_text(errors="replace")[-20000:])


class Results:
    """The rows of a test's table. They are written out one by one, so that a test that ends halfway has shown something."""

    def __init__(self, name):
        self.name, self.rows = name, []
        self.path = pathlib.Path(os.environ["SWSYNC_VM_OUT"]) / f"{name}.json"

    def add(self, fault, expected, observed, ok, **figures):
        self.rows.append(dict(fault=fault, expected=expected, observed=observed, ok=bool(ok), figures=figures))
        self.path.write_text(json.dumps(dict(test=self.name, rows=self.rows), indent=1))
        print(f"{uptime() / 1e9:6.1f} s {'ok  ' if ok else 'FAIL'} {self.name}: {fault}: {observed}" + ("" if ok else f"\n     expected: {expected}"), flush=True)

    def end(self):
        sys.exit(0 if self.rows and all(row["ok"] for row in self.rows) else 1)


class Device:
    """A process with a GStreamer pipeline, in a network namespace or none, that notes its clock all the time (device.py)."""

    def __init__(self, name, pipeline, namespace=None, simulated_clock=None, cgroup=None, **environment):
        SCRATCH.mkdir(exist_ok=True)
        self.name, self.path = name, SCRATCH / f"{name}.txt"
        self.path.unlink(missing_ok=True)
        env = dict(os.environ, SWSYNC_DEVICE_ID=name, **environment)
        if simulated_clock:
            env["SWSYNC_SIMULATED_CLOCK"] = simulated_clock
        # From its start: what a process has before it moves stays charged to its old group.
        command = ["bash", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', cgroup] if cgroup else []
        command += ["ip", "netns", "exec", namespace] if namespace else []
        command += [sys.executable, str(HERE / "device.py"), str(self.path), pipeline]
        self.log = SCRATCH / f"{name}.log"
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=self.log.open("w"), stderr=subprocess.STDOUT)

    def lines(self):
        return self.path.read_text().splitlines() if self.path.exists() else []

    def notes(self):
        return [line[2:] for line in self.lines() if line.startswith("# ")]

    def samples(self, begin=0, end=None):
        """Those taken between two instants of CLOCK_MONOTONIC."""
        samples = [Sample(line) for line in self.lines()[:] if line.endswith(";") and not line.startswith("# ")]
        return [sample for sample in samples if begin <= sample.at and (end is None or sample.at <= end)]

    def state(self):
        samples = self.samples()
        return samples[-1].state if samples else "not started"

    def wait_until_synced(self, seconds=60.0):
        def is_synced():
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended:\n{self.log.read_text()[-1500:]}\n" + "\n".join(self.notes()[-5:]))
            return self.state() in ("synced", "leader", "leading")

        wait_for(f"{self.name} to be synced (it says {self.state()})", is_synced, seconds)

    def stats(self):
        """What the clock says of itself, as text, at the end or the last time it was asked."""
        return next((note for note in reversed(self.notes()) if note.startswith("stats ")), "")

    def stop(self, how=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(how)
        wait_for_end(self.process)


class Sample:
    """One look at a clock: the middle of the reading by CLOCK_MONOTONIC, and what the clock said."""

    def __init__(self, line):
        before, rig, after, self.state, *numbers = line.rstrip(";").split()
        self.at, self.rig = (int(before) + int(after)) / 2, int(rig)
        self.offset = self.rig - self.at
        self.uncertainty, self.round_trip, self.asymmetry = (int(number) for number in numbers)


class Errors:
    """True errors of a device's clock, in microseconds: the kernel's clock is the same for all devices, so the leader's rig time is
    known at each instant."""

    def __init__(self, leader, device, begin=0, end=None):
        offsets = sorted(sample.offset for sample in leader.samples(begin, end))
        self.samples = device.samples(begin, end)
        if not offsets or not self.samples:
            sys.exit(f"{device.name}: no samples; its log ends:\n{device.log.read_text()[-1500:]}\n" + "\n".join(device.notes()[-5:]))
        truth = offsets[len(offsets) // 2]
        self.leader_varies = (offsets[-1] - offsets[0]) / 1e3
        self.errors = [(sample.offset - truth) / 1e3 for sample in self.samples]
        sizes = sorted(abs(error) for error in self.errors)
        self.median, self.worst = sizes[len(sizes) // 2], sizes[-1]
        self.uncertainty = max(sample.uncertainty for sample in self.samples) / 1e3
        self.round_trip = max(sample.round_trip for sample in self.samples) / 1e6
        self.states = sorted({sample.state for sample in self.samples})

    def within(self, with_asymmetry):
        """The share (in percent) of samples whose error is at most two standard deviations, with what asymmetry may add or without."""
        bounds = [2 * s.uncertainty + (max(s.asymmetry, 0) if with_asymmetry else 0) for s in self.samples]
        return 100 * sum(abs(e) * 1e3 <= bound for e, bound in zip(self.errors, bounds)) / len(bounds)

    def figures(self):
        return dict(median_us=round(self.median, 1), worst_us=round(self.worst, 1), uncertainty_us=round(self.uncertainty, 1), longest_round_trip_ms=round(self.round_trip, 2),
                    within_2u=round(self.within(False)), within_2u_and_asymmetry=round(self.within(True)), states=self.states)

    def text(self):
        return (f"error {self.median:.1f} us (worst {self.worst:.1f}), uncertainty up to {self.uncertainty:.1f} us, round trips up to {self.round_trip:.2f} ms, "
                f"{self.within(False):.0f} % within 2 u, {self.within(True):.0f} % with asymmetry; {'/'.join(self.states)}")


def backwards(devices):
    """How often a clock gave a time before one that it had given."""
    return sum(note.startswith("backwards") for device in devices for note in device.notes())


def bridge(names):
    """A namespace for each name, all joined in the namespace `switch`. Device i has 10.0.0.(1+i).

    What NAME sends leaves the switch's own `up-NAME`, and what it gets `down-NAME`: there netem goes. At the device's own interface
    it would come before the kernel's stamp of a sent packet, and nobody would see it.
    """
    sh("modprobe bridge; modprobe veth; ip netns add switch; ip -n switch link add br0 type bridge mcast_snooping 0; ip -n switch link set br0 up")
    for index, name in enumerate(names):
        sh(f"""ip netns add {name}; ip link add eth0 netns {name} type veth peer name down-{name} netns switch
            ip -n switch link add up-{name} type veth peer name in-{name}
            ip -n switch link add br-{name} type bridge mcast_snooping 0
            for i in down up; do ip -n switch link set $i-{name} master br-{name} up; done
            ip -n switch link set in-{name} master br0 up; ip -n switch link set br-{name} up
            ip -n {name} link set lo up; ip -n {name} addr add 10.0.0.{1 + index}/24 dev eth0; ip -n {name} link set eth0 up
            ip -n {name} route add {MULTICAST} dev eth0""")
