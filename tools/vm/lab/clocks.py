"""Clocks that are set, bent and lost while a rig runs: what rig time does.

All devices share one kernel, so what happens to its clock happens to all of them at once. Only `sim` has a clock of its own, which
is 2.5 s off and 31 ppm fast.
"""

import ctypes
import subprocess
import sys
import time

from common import PATIENT, Device, Errors, Results, backwards, bridge, sh, uptime

CLIENT = f"swsyncclock name=clock role=client {PATIENT}"
SIMULATED = "offset=2.5s,skew=31ppm"


class Timex(ctypes.Structure):
    """The beginning of `struct timex` of adjtimex(2), and room for the rest."""

    _fields_ = [("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("rest", ctypes.c_long * 30)]


def slew(ppm):
    """Bends the kernel's clocks. The frequency is in units of 2^-16 ppm; ADJ_FREQUENCY is 2."""
    timex = Timex(modes=2, freq=int(ppm * 65536))
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")


def busy(seconds):
    for _ in range(4):
        subprocess.Popen(["timeout", str(seconds), "sh", "-c", "while :; do :; done"])


class Rig:
    """A leader and two clients that find each other by multicast."""

    def __init__(self, results):
        self.results = results
        bridge(["leader", "plain", "sim", "late"])
        self.leader = self.start_leader("leader")
        self.clients = [Device("plain", CLIENT, "plain"), Device("sim", CLIENT, "sim", simulated_clock=SIMULATED)]
        for client in self.clients:
            client.wait_until_synced()
        time.sleep(10)

    @staticmethod
    def start_leader(name):
        leader = Device(name, "swsyncclock name=clock role=leader", "leader")
        leader.wait_until_synced()
        return leader

    def event(self, fault, act, seconds=8, limit_us=20.0):
        """Does it to the running rig, and says what the clients' clocks did from then on."""
        begin = uptime()
        act()
        time.sleep(seconds)
        each = [Errors(self.leader, client, begin) for client in self.clients]
        worst = max(each, key=lambda errors: errors.worst)
        back = backwards([self.leader, *self.clients])
        ok = worst.worst <= limit_us and worst.within(True) == 100 and back == 0
        self.results.add(fault, f"error below {limit_us:.0f} us and within 2 u and the asymmetry bound; never backwards",
                         worst.text() + (f"; went back {back} times" if back else ""), ok, **worst.figures())

    def reboot_leader(self, fault, set_clock):
        """The leader loses power and comes back with another wall clock. Rig time has to go on as if nothing had been."""
        before = Errors(self.leader, self.clients[0], uptime() - 5e9).samples[-1].offset
        self.leader.stop(9)
        set_clock()
        begin = uptime()
        self.leader = self.start_leader("again-" + fault.split()[-1])
        back_after = (uptime() - begin) / 1e9
        for client in self.clients:
            client.wait_until_synced()
        synced_after = (uptime() - begin) / 1e9
        time.sleep(10)
        after = self.leader.samples()[-1].offset
        each = [Errors(self.leader, client, uptime() - 8e9) for client in self.clients]
        worst = max(each, key=lambda errors: errors.worst)
        step = (after - before) / 1e3
        back = backwards([self.leader, *self.clients])
        ok = abs(step) < 200 and worst.worst < 50 and back == 0
        self.results.add(fault, "rig time goes on (within 200 us), clients within 50 us of it; never backwards",
                         f"rig time moved {step:.1f} us; led again after {back_after:.1f} s, all synced after {synced_after:.1f} s; {worst.text()}",
                         ok, rig_time_moved_us=round(step, 1), synced_after_s=round(synced_after, 1), **worst.figures())

    def join_late(self):
        """A device without a battery joins: its wall clock says 1970."""
        begin = uptime()
        late = Device("late", CLIENT, "late")
        late.wait_until_synced()
        took = (uptime() - begin) / 1e9
        time.sleep(8)
        errors = Errors(self.leader, late, uptime() - 6e9)
        self.clients.append(late)
        self.results.add("a device whose clock says 1970 joins", "synced within 20 s, error below 20 us", f"synced after {took:.1f} s; {errors.text()}",
                         took < 20 and errors.worst < 20, synced_after_s=round(took, 1), **errors.figures())


def restore_clock_source():
    sh("echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource", check=False)


EVENTS = [
    ("nothing", lambda rig: None, 20),
    ("wall clock set 1 h ahead", lambda rig: sh("date -s '+3600 seconds'"), 20),
    ("wall clock set 1 h back", lambda rig: sh("date -s '-3600 seconds'"), 20),
    ("slewed +500 ppm", lambda rig: slew(500), 20),
    ("slewed -500 ppm", lambda rig: slew(-500), 20),
    ("all processors busy", lambda rig: (slew(0), busy(12)), 100),
    ("another clock source (hpet)", lambda rig: sh("echo hpet > /sys/devices/system/clocksource/clocksource0/current_clocksource"), 100),
    ("leader stopped for 8 s", lambda rig: (restore_clock_source(), stop_for(rig.leader, 8)), 100),
    ("a client stopped for 8 s", lambda rig: stop_for(rig.clients[0], 8), 100),
]
# The kernel takes no time before its own start as the wall clock's.
REBOOTS = [
    ("leader rebooted with a clock of yesterday", lambda: sh("date -s '-1 day'")),
    ("leader rebooted without a clock, at 1970", lambda: sh("date -s @100000")),
]


def main(only):
    """All events, or those with one of the given words in their names."""
    results = Results("clocks")
    rig = Rig(results)
    for name, act, limit in EVENTS:
        if not only or any(word in name for word in only):
            rig.event(name, lambda act=act: act(rig), limit_us=limit)
    for name, act in REBOOTS:
        if not only or any(word in name for word in only):
            rig.reboot_leader(name, act)
    if not only or "late" in only:
        rig.join_late()
    for device in [*rig.clients, rig.leader]:
        device.stop()
    results.end()


def stop_for(device, seconds):
    """The process sleeps, as a system does that swaps; nobody tells it afterwards. Its parent is `ip netns exec`, which has become it."""
    device.process.send_signal(19)
    time.sleep(seconds)
    device.process.send_signal(18)


main(sys.argv[1:])
