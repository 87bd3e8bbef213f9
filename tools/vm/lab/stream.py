"""stream.py SOURCE CAPS FRAMES SECONDS: plays a camera's source and says what came of it, as JSON: memory, times, processor time, messages.

It gives up where there has been no frame for so many seconds.
"""

import collections
import json
import resource
import sys
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def main(source, caps, frames, patience):
    begun = time.monotonic()
    Gst.init(None)
    clock = "swsyncclock role=leader announce=false port=0 " if source.startswith("swsync") else ""
    pipeline = Gst.parse_launch(f"{clock}{source} name=s ! {caps} ! fakesink name=k sync=false enable-last-sample=false")
    memory, stamps, arrived, used = collections.Counter(), [], [], []

    def look(_, info):
        buffer = info.get_buffer()
        first = buffer.peek_memory(0)
        memory[next((kind for kind in ("dmabuf", "fd", "SystemMemory") if first.is_type(kind)), first.allocator.mem_type if first.allocator else "?")] += 1
        stamps.append(buffer.pts)
        arrived.append(time.monotonic())
        if len(arrived) == 30:
            print("streaming", flush=True)
        if len(arrived) in (1, 10, frames):
            usage = resource.getrusage(resource.RUSAGE_SELF)
            used.append(usage.ru_utime + usage.ru_stime)
        return Gst.PadProbeReturn.OK

    pipeline.get_by_name("k").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, look)
    pipeline.set_state(Gst.State.PLAYING)
    bus, messages, ended = pipeline.get_bus(), [], "timeout"

    def deadline():
        """The machine's clock leaps ahead while it waits for the host's disk, so starting may take long."""
        return arrived[-1] + patience if arrived else begun + 1200

    while time.monotonic() < deadline() and len(stamps) < frames:
        if message := bus.timed_pop(100 * Gst.MSECOND):
            structure = message.get_structure()
            if message.type == Gst.MessageType.ELEMENT and structure.get_name().startswith("swsync-"):
                messages.append(structure.to_string()[:300])
            if message.type == Gst.MessageType.WARNING:
                messages.append("warning: " + str(message.parse_warning()[0]))
            if message.type in (Gst.MessageType.ERROR, Gst.MessageType.EOS):
                ended = f"error: {message.parse_error()[0].message}" if message.type == Gst.MessageType.ERROR else "end of stream"
                break
    else:
        ended = "enough" if len(stamps) >= frames else ended
    silence = time.monotonic() - arrived[-1] if arrived else 0
    stats = pipeline.get_by_name("s").get_property("stats") if clock else None
    caps_now = pipeline.get_by_name("k").get_static_pad("sink").get_current_caps()
    stopped = pipeline.set_state(Gst.State.NULL) == Gst.StateChangeReturn.SUCCESS
    gaps = sorted((b - a) / 1e6 for a, b in zip(stamps, stamps[1:]))
    print(json.dumps(dict(frames=len(stamps), memory=dict(memory), ended=ended, ended_after_s=round(time.monotonic() - begun, 2), caps=caps_now.to_string() if caps_now else None,
                          first_frame_s=round(arrived[0] - begun, 2) if arrived else None, interval_ms=round(gaps[len(gaps) // 2], 3) if gaps else None,
                          longest_ms=round(gaps[-1], 3) if gaps else None, cpu_ms_a_frame=round(1e3 * (used[2] - used[1]) / (frames - 10), 2) if len(used) == 3 else None,
                          cpu_s_to_first=round(used[0], 2) if used else None,
                          messages=messages, stats=stats.to_string()[:1500] if stats else "", silence_s=round(silence, 2), stopped=stopped)))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
