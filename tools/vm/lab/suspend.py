"""Suspend to memory while a leader and a client run: what rig time did.

The share of files (9p) does not come back from a suspend, so everything is in this one process and in memory before, and results go out by
the serial console, which machine.py reads.
"""

import ctypes
import json
import os
import sys
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

MCL_CURRENT, MCL_FUTURE = 1, 2
ASLEEP = 10


class Clock:
    """A swsyncclock of this process."""

    def __init__(self, description):
        self.element = Gst.parse_launch("swsyncclock announce=false " + description)
        self.pipeline = Gst.Pipeline.new(None)
        self.pipeline.add(self.element)
        self.pipeline.set_state(Gst.State.PLAYING)
        self.clock = self.element.provide_clock() or self.pipeline.get_clock()
        self.last, self.backwards, self.states = 0, 0, []

    def look(self):
        """Rig time minus CLOCK_BOOTTIME, which goes on while the machine sleeps, and minus CLOCK_MONOTONIC, in us."""
        # The quickest of some readings, so that one during which something else ran does not count.
        readings = []
        for _ in range(9):
            boot, before = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            rig = self.clock.get_time()
            readings.append((time.clock_gettime_ns(time.CLOCK_MONOTONIC) - before, rig, boot, before))
            self.backwards += rig < self.last
            self.last = rig
        took, rig, boot, monotonic = min(readings)
        state = self.element.get_property("state").value_nick
        if state not in self.states[-1:]:
            self.states.append(state)
        return (rig - boot - took / 2) / 1e3, (rig - monotonic - took / 2) / 1e3


    def stated(self):
        """What the clock says of its error, in us: two standard deviations, and what asymmetry may add."""
        get = self.element.get_property
        return (2 * get("uncertainty") + max(get("asymmetry-bound"), 0)) / 1e3


def watch(clocks, seconds):
    """Looks at the clocks for so long. Returns their last readings."""
    end, readings = time.monotonic() + seconds, []
    while time.monotonic() < end or not readings:
        readings = [clock.look() for clock in clocks]
        time.sleep(0.1)
    return readings


def watch_until_settled(clocks, begun, seconds=120.0):
    """Returns how long it took since `begun`, in seconds, until all led or were synced for good (for 10 s)."""
    since = time.monotonic()
    while time.monotonic() - begun < seconds and time.monotonic() - since < 10:
        watch(clocks, 0)
        if not all(clock.states[-1] in ("leading", "synced") for clock in clocks):
            since = time.monotonic()
        time.sleep(0.1)
    return since - begun


def suspend(kind):
    """Sleeps, and returns how long by CLOCK_BOOTTIME minus CLOCK_MONOTONIC."""
    def asleep():
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)

    before = asleep()
    with open("/sys/class/rtc/rtc0/wakealarm", "w") as alarm:
        alarm.write("0")
    with open("/sys/class/rtc/rtc0/wakealarm", "w") as alarm:
        alarm.write(f"+{ASLEEP}")
    with open("/sys/power/state", "w") as state:
        state.write(kind)
    return asleep() - before


def row_of(clocks, kind):
    before = watch(clocks, 1)
    for clock in clocks:
        clock.states.clear()
    slept = suspend(kind)
    woken = time.monotonic()
    first = watch(clocks, 0)
    took = watch_until_settled(clocks, woken)
    after = watch(clocks, 1)
    at_once = max(abs(one[0] - other[0]) for one, other in zip(first, before))
    in_the_end = max(abs(one[0] - other[0]) for one, other in zip(after, before))
    apart, stated = abs(after[0][1] - after[1][1]), clocks[1].stated()
    back = sum(clock.backwards for clock in clocks)
    states = "; ".join("/".join(clock.states) for clock in clocks)
    synced = [clock.states[-1] for clock in clocks] == ["leading", "synced"]
    observed = (f"slept {slept:.1f} s; rig time moved {at_once:.0f} us against CLOCK_BOOTTIME, {in_the_end:.0f} us in the end; settled for good after {took:.1f} s; then the client is {apart:.1f} us off the leader, and states {stated:.0f} us; "
                f"states {states}; went back {back} times")
    return dict(fault=f"suspend ({kind}) of leader and client for {ASLEEP} s", expected="rig time has gone on meanwhile (to 10 ms); the leader leads and the client is synced again, as near as it states (or 500 us: this machine's processors are other programs' too); never backwards",
                observed=observed, ok=slept > ASLEEP / 2 and at_once < 20e3 and apart < max(stated, 500) and synced and back == 0,
                figures=dict(slept_s=round(slept, 2), moved_us=round(at_once), apart_us=round(apart, 1), stated_us=round(stated), settled_after_s=round(took, 1)))


def main():
    Gst.init(None)
    clocks = [Clock("role=leader")]
    watch(clocks, 2)
    clocks.append(Clock("role=client leader=127.0.0.1 sync-timeout=600000000000"))
    watch(clocks, 5)
    console = os.open("/dev/ttyS0", os.O_WRONLY)
    power_off = os.open("/proc/sysrq-trigger", os.O_WRONLY)
    ctypes.CDLL(None).mlockall(MCL_CURRENT | MCL_FUTURE)
    with open("/sys/power/pm_async", "w") as file:
        file.write("0")
    row = row_of(clocks, "mem")
    text = json.dumps(dict(test="suspend", rows=[row]))
    os.write(console, f"\nswsync-vm-file suspend.json {text}\nswsync-vm-code {0 if row['ok'] else 1}\n".encode())
    time.sleep(0.5)
    os.write(power_off, b"o")
    time.sleep(60)


if __name__ == "__main__":
    sys.exit(main())
