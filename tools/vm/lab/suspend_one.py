"""One of two machines on a wire sleeps: suspend_one.py leader|client. First the client's, then the leader's. What rig time did.

Two machines have no clock in common. So the client asks the leader for its rig time, many times, and takes the quickest answer: it is
right to half of its round trip. As in suspend.py, nothing is read or written once a machine has slept, and results go by the console.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import time

from suspend import MCL_CURRENT, MCL_FUTURE, Clock, Gst, suspend, watch, watch_until_settled

ADDRESSES = {"leader": "10.0.0.1", "client": "10.0.0.2"}
PORT = 9000
ASK, SLEEP, END = 0, 1, 2
QUESTION = struct.Struct("iq")  # what, and its number
ANSWER = struct.Struct("qqiid")  # the question's number, rig time, how often it went back, whether it leads, how long the machine has slept


def slept():
    """How long this machine has slept, by its own account."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def connect(role):
    """This machine's end of the wire."""
    subprocess.run(f"modprobe virtio_net; ip addr add {ADDRESSES[role]}/24 dev eth0 && ip link set eth0 up", shell=True, check=True)
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((ADDRESSES[role], PORT))
    return end


def serve(wire, clock):
    """The leader: gives its rig time to whoever asks, and sleeps when told to."""
    wire.settimeout(0.05)
    asleep = slept()
    while True:
        clock.look()
        try:
            question, client = wire.recvfrom(64)
        except TimeoutError:
            continue
        what, number = QUESTION.unpack(question)
        if what == END:
            return 0
        wire.sendto(ANSWER.pack(number, clock.clock.get_time(), clock.backwards, clock.states[-1] == "leading", slept() - asleep), client)
        if what == SLEEP:
            suspend("mem")


class Probe:
    """What the leader said, and how far the client's rig time is ahead of its, in us, to how many."""

    def __init__(self, wire, clock, seconds=60.0):
        wire.settimeout(0.2)
        end, answers = time.monotonic() + seconds, []
        while len(answers) < 300 and time.monotonic() < end:
            clock.look()
            before, number = clock.clock.get_time(), time.monotonic_ns()
            wire.sendto(QUESTION.pack(ASK, number), (ADDRESSES["leader"], PORT))
            try:
                while (answer := ANSWER.unpack(wire.recv(64)))[0] != number:
                    pass  # to an earlier question, which took longer than the wait
            except TimeoutError:
                continue
            # Not by the rig's clock, which may stand still just now.
            took, after = time.monotonic_ns() - number, clock.clock.get_time()
            answers.append((took, (before + after) / 2 - answer[1], answer))
        if not answers:
            sys.exit(f"the leader has not answered for {seconds:.0f} s")
        round_trip, ahead, _ = min(answers)
        self.ahead, self.known_to = ahead / 1e3, round_trip / 2e3
        self.backwards, self.leads, self.slept = answers[-1][2][2:]


def row_of(who, wire, clock):
    """Lets one of the machines sleep, and says what came of it."""
    before = Probe(wire, clock)
    clock.states.clear()
    if who == "client":
        seconds = suspend("mem")
        woken = time.monotonic()
        first = Probe(wire, clock)
    else:
        wire.sendto(QUESTION.pack(SLEEP, 0), (ADDRESSES["leader"], PORT))
        watch([clock], 10)
        woken = time.monotonic()
        first = Probe(wire, clock)
        seconds = first.slept - before.slept
    took = watch_until_settled([clock], woken)
    after = Probe(wire, clock)
    stated = clock.stated()
    back = clock.backwards + after.backwards
    observed = (f"slept {seconds:.1f} s; client ahead of the leader by {before.ahead:.0f} us before (known to {before.known_to:.0f}), {first.ahead:.0f} us (to {first.known_to:.0f}) right after, "
                f"{after.ahead:.0f} us (to {after.known_to:.0f}) in the end, when it states {stated:.0f} us; synced for good {took:.1f} s after it was woken; client's states {'/'.join(clock.states)}; "
                f"the leader {'leads' if after.leads else 'does not lead'}; went back {back} times")
    ok = seconds > 5 and clock.states[-1] == "synced" and after.leads and back == 0 and abs(after.ahead) <= after.known_to + stated
    return dict(fault=f"suspend of the {who} alone for 10 s", expected="the client is synced again, and as near the leader as it states; no clock goes back",
                observed=observed, ok=ok, figures=dict(slept_s=round(seconds, 2), first_us=round(first.ahead), apart_us=round(after.ahead), known_to_us=round(after.known_to), stated_us=round(stated), synced_after_s=round(took, 1)))


def main(role):
    Gst.init(None)
    wire = connect(role)
    clock = Clock("role=leader" if role == "leader" else f"role=client leader={ADDRESSES['leader']} sync-timeout=600000000000")
    watch([clock], 5)
    console = os.open("/dev/ttyS0", os.O_WRONLY)
    power_off = os.open("/proc/sysrq-trigger", os.O_WRONLY)
    if role == "client":
        watch_until_settled([clock], time.monotonic(), 600)
        Probe(wire, clock)  # so that all it takes is in memory
    ctypes.CDLL(None).mlockall(MCL_CURRENT | MCL_FUTURE)
    with open("/sys/power/pm_async", "w") as file:
        file.write("0")
    if role == "leader":
        code = serve(wire, clock)
    else:
        rows = [row_of(who, wire, clock) for who in ("client", "leader")]
        wire.sendto(QUESTION.pack(END, 0), (ADDRESSES["leader"], PORT))
        code = 0 if all(row["ok"] for row in rows) else 1
        os.write(console, f"\nswsync-vm-file suspend-one.json {json.dumps(dict(test='suspend-one', rows=rows))}".encode())
    os.write(console, f"\nswsync-vm-code {code}\n".encode())
    time.sleep(0.5)
    os.write(power_off, b"o")
    time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1])
