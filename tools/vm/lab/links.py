"""Links with faults, by netem: how far the clock is off, and whether what it says of its own error is true."""

import threading
import time

from common import PATIENT, Device, Errors, Results, backwards, bridge, sh

SECONDS = 25
# Name, what the way to the leader does, what the way back does. What is the same both ways stands once.
CASES = [
    ("plain", "", ""),
    ("delay 3 ms", "delay 3ms", None),
    ("jitter normal 3±1 ms", "delay 3ms 1ms distribution normal", None),
    ("jitter pareto 3±1 ms", "delay 3ms 1ms distribution pareto", None),
    ("loss 20 %", "delay 1ms loss 20%", None),
    ("duplicates 20 %", "delay 1ms duplicate 20%", None),
    ("reordering 25 %", "delay 10ms 2ms reorder 25% 50%", None),
    ("jitter normal, loss 5 %", "delay 3ms 1ms distribution normal loss 5%", None),
    ("pareto, loss 20 %, reordering", "delay 2ms 1ms distribution pareto loss 20% reorder 10%", None),
    ("slower one way: 5 ms", "delay 5ms", ""),
    ("slower one way: 1 Mbit/s", "rate 1mbit", "rate 50mbit"),
    ("stalls of 200 ms", "delay 0", None),
]
STALLING = 11
# What u says: 95 % of the errors are within twice the standard uncertainty, where they are random (GUM, 6.3.3).
COVERAGE = 95


def name(index):
    return f"c{index}"


def set_link(index, there, back, verb="add"):
    for direction, what in [("up", there), ("down", there if back is None else back)]:
        if what:
            sh(f"tc -n switch qdisc {verb} dev {direction}-{name(index)} root netem limit 10000 {what}")


def stall(index, stopping):
    """Every two seconds all that is on the way waits for 200 ms."""
    while not stopping.wait(1.8):
        set_link(index, "delay 200ms", None, "change")
        time.sleep(0.2)
        set_link(index, "delay 0", None, "change")


def main():
    results = Results("links")
    sh("modprobe sch_netem")
    bridge(["leader"] + [name(index) for index in range(len(CASES))])
    leader = Device("leader", "swsyncclock name=clock role=leader announce=false", "leader")
    leader.wait_until_synced()
    # Twelve Python programs at once would be busier with one another than with their clocks.
    for batch in range(0, len(CASES), 6):
        measure(results, leader, range(batch, min(batch + 6, len(CASES))))
    leader.stop()
    results.end()


def measure(results, leader, indices):
    clients, stopping = [], threading.Event()
    for index in indices:
        set_link(index, *CASES[index][1:])
        clients.append(Device(name(index), f"swsyncclock name=clock role=client leader=10.0.0.1 announce=false {PATIENT}", name(index)))
    if STALLING in indices:
        threading.Thread(target=stall, args=(STALLING, stopping), daemon=True).start()
    for client in clients:
        client.wait_until_synced(90)
    begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    time.sleep(SECONDS)
    for index, client in zip(indices, clients):
        errors = Errors(leader, client, begin)
        ok = errors.within(True) >= COVERAGE and backwards([client]) == 0
        results.add(CASES[index][0], f"{COVERAGE} % of the errors within 2 u and the asymmetry bound, never backwards", errors.text(), ok, **errors.figures())
    stopping.set()
    for client in clients:
        client.stop()


main()
