"""device.py FILE PIPELINE: plays a pipeline with a swsyncclock of the name `clock` and writes down what its clock says, five times a second.

A line is CLOCK_MONOTONIC before, rig time, CLOCK_MONOTONIC after, state, uncertainty, last round trip, asymmetry bound, `;` (all
in ns). Lines with # are notes: messages, a clock that went back, stats at the end. SIGINT ends it with EOS.
"""

import signal
import sys
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

stopping = []


def read(clock):
    """The quickest of five readings, so that one during which another process ran does not count."""
    readings = []
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        rig = clock.get_time()
        readings.append((before, rig, time.clock_gettime_ns(time.CLOCK_MONOTONIC)))
    return readings, min(readings, key=lambda reading: reading[2] - reading[0])


def main(path, description):
    signal.signal(signal.SIGINT, lambda *_: stopping.append(True))
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    Gst.init(None)
    out = open(path, "w", buffering=1)
    begun = time.monotonic()
    pipeline = Gst.parse_launch(description)
    if not isinstance(pipeline, Gst.Pipeline):
        element, pipeline = pipeline, Gst.Pipeline.new("device")
        pipeline.add(element)
    element = pipeline.get_by_name("clock")
    bus = pipeline.get_bus()
    if pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
        error = bus.timed_pop_filtered(0, Gst.MessageType.ERROR)
        sys.exit(f"does not start: {error.parse_error() if error else '?'}")
    out.write(f"# started after {time.monotonic() - begun:.2f} s\n")
    clock, last = None, 0
    while not stopping:
        clock = clock or element.provide_clock() or pipeline.get_clock()
        if clock:
            readings, (before, rig, after) = read(clock)
            for _, now, _ in readings:
                if now < last:
                    out.write(f"# backwards by {last - now} ns at {before}\n")
                last = now
            get = element.get_property
            out.write(f"{before} {rig} {after} {get('state').value_nick} {get('uncertainty')} {get('last-round-trip')} {get('asymmetry-bound')} ;\n")
        while message := bus.pop():
            if message.type in (Gst.MessageType.ELEMENT, Gst.MessageType.WARNING, Gst.MessageType.ERROR):
                structure = message.get_structure()
                out.write(f"# {time.clock_gettime_ns(time.CLOCK_MONOTONIC)} {structure.to_string()[:400] if structure else message.type}\n")
            if message.type == Gst.MessageType.ERROR:
                sys.exit(f"the pipeline has failed: {message.parse_error()}")
        time.sleep(0.2)
    if stats := element.get_property("stats"):
        out.write(f"# stats {stats.to_string()}\n")
    if "!" in description:
        pipeline.send_event(Gst.Event.new_eos())
        bus.timed_pop_filtered(8 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    pipeline.set_state(Gst.State.NULL)


main(sys.argv[1], sys.argv[2])
