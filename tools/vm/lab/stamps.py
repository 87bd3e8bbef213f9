"""stamps.py ADDRESS: how far apart the stamps of sent datagrams are: before the call, at the interface's queue, by the driver. Prints JSON."""

import json
import socket
import struct
import sys
import time

SO_TIMESTAMPING = SCM_TIMESTAMPING = 37
# Of linux/net_tstamp.h: TX_SOFTWARE, SOFTWARE, OPT_ID, TX_SCHED, OPT_TSONLY.
FLAGS = 1 << 1 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 11
IP_RECVERR, QUEUE = 11, 1
DATAGRAMS = 400


def collect(sender, stamps):
    """Takes what is in the error queue: number of the datagram, and whether the queue or the driver stamped it."""
    while True:
        try:
            _, items, _, _ = sender.recvmsg(1, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        at = kind = number = None
        for level, of, data in items:
            if (level, of) == (socket.SOL_SOCKET, SCM_TIMESTAMPING):
                seconds, nanoseconds = struct.unpack_from("qq", data)
                at = seconds * 10**9 + nanoseconds
            elif (level, of) == (socket.IPPROTO_IP, IP_RECVERR):
                kind, number = struct.unpack_from("II", data, 8)
        if at and number is not None:
            stamps.setdefault("queue" if kind == QUEUE else "driver", {})[number] = at


def spread(name, differences):
    ordered = sorted(differences)
    return {f"{name}_{which}_us": round(ordered[int(at * (len(ordered) - 1))] / 1e3, 1) for which, at in (("median", 0.5), ("95", 0.95), ("worst", 1.0))} if ordered else {}


def main(address):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, FLAGS)
    before, stamps = [], {}
    for _ in range(DATAGRAMS):
        before.append(time.clock_gettime_ns(time.CLOCK_REALTIME))
        sender.sendto(b"x" * 48, (address, 9))
        time.sleep(0.005)
        collect(sender, stamps)
    queue, driver = stamps.get("queue", {}), stamps.get("driver", {})
    print(json.dumps(dict(queue=len(queue), driver=len(driver)) | spread("queue", [at - before[number] for number, at in queue.items()])
                     | spread("driver", [at - queue[number] for number, at in driver.items() if number in queue])))


main(sys.argv[1])
