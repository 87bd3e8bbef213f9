"""Treats the elements as no application should, and then asks whether they still work.

    stress.py [--changes N] [--rounds N] [--rigs N] [--seed N] [PART...]

Parts: states (N random state changes of each element, from four threads), flush, caps, branches, streams, rigs; all if none is named. Cameras are
simulated, and everything is on loopback. Run with G_DEBUG=fatal-warnings: a warning of GLib's ends the process. With GST_TRACERS=leaks what
is still alive at the end is a failure. tests/hygiene.rs runs it short, `./x check --deep` long.
"""

import argparse
import gc
import os
import random
import sys
import tempfile
import threading
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402 (the version has to be set first)

# Only a failure waits so long.
PATIENCE_S = 60
STATES = [Gst.State.NULL, Gst.State.READY, Gst.State.PAUSED, Gst.State.PLAYING]
CAMERA = "swsyncsrc name=src backend=simulated wait-lock=false ! video/x-raw,width=160,height=120,framerate=30/1"
folder = tempfile.TemporaryDirectory(prefix="swsync-stress-")


def rig(number):
    """A rig of this process alone, on an address of its own."""
    return f"rig=stress-{os.getpid()}-{number}", f"127.0.1.{1 + number}"


def device(number, rest):
    """The description of a whole device, which leads a rig of its own."""
    name, address = rig(number)
    return (f"swsyncclock name=clock role=leader {name} device-id=d{number} listen=tcp/{address}:0 bind-address={address} port=0 {rest}")


class Failure(Exception):
    """What does not work any more."""


class Pipeline:
    """A pipeline that is watched: it counts the buffers at each pad that is named, and keeps errors."""

    def __init__(self, description):
        self.pipeline = Gst.parse_launch(description)
        if not isinstance(self.pipeline, Gst.Pipeline):
            element, self.pipeline = self.pipeline, Gst.Pipeline.new()
            self.pipeline.add(element)
        self.counts = {}

    def __getitem__(self, name):
        return self.pipeline.get_by_name(name)

    def count(self, name, pad):
        """Counts what passes this pad."""
        # The probe must not hold the pipeline that holds it.
        counts = self.counts
        counts[name] = 0

        def passed(_pad, _info):
            counts[name] += 1
            return Gst.PadProbeReturn.OK

        self[name].get_static_pad(pad).add_probe(Gst.PadProbeType.BUFFER, passed)

    def error(self):
        """The first error on the bus."""
        message = self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        return message and " ".join(map(str, (message.src.get_name(), *message.parse_error())))

    def forget_messages(self):
        self.pipeline.get_bus().set_flushing(True)
        self.pipeline.get_bus().set_flushing(False)

    def play(self):
        if self.pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
            raise Failure(f"does not play: {self.error()}")

    def expect_frames(self, more=5):
        """Waits until so many more buffers have passed each pad that is counted."""
        wanted = {name: count + more for name, count in self.counts.items()}
        wait_until(lambda: all(self.counts[name] >= count for name, count in wanted.items()),
                   lambda: f"frames no longer flow: {self.counts}, not {wanted}: {self.error()}")

    def stop(self):
        if self.pipeline.set_state(Gst.State.NULL) != Gst.StateChangeReturn.SUCCESS:
            raise Failure("does not stop")


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(what())
        time.sleep(0.01)


def in_threads(count, work):
    """Does work(number) in as many threads; its first failure is this one's. None may hang."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except Exception as failure:  # noqa: BLE001 (passed on below)
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
        if thread.is_alive():
            raise Failure("a state change hangs")
    if failures:
        raise failures[0]


def sink(name="sink", element="swsyncsink"):
    if element == "swsyncgate":
        return f"swsyncgate name={name} ring-time=1000000000 ! fakesink sync=false async=false"
    return f"swsyncsink name={name} ring-time=1000000000 location={folder.name}"


def states(options):
    """Random state changes of each element from four threads: of the element itself, or of its pipeline."""
    for element in ("clock", "src", "sink", "gate"):
        last = sink("gate", "swsyncgate") if element == "gate" else sink()
        pipeline = Pipeline(device(0, f"{CAMERA} ! {last}"))
        threads = 4

        def change(number):
            # The seed says who does what; when, the system decides.
            source = random.Random(f"{options.seed} {element} {number}")
            for _ in range(options.changes // threads):
                target = pipeline.pipeline if source.random() < 0.3 else pipeline[element]
                target.set_state(source.choice(STATES))
                if source.random() < 0.1:
                    target.get_state(20 * Gst.MSECOND)

        # A clock that waits for the rig's time lets hardly any change happen at the same time as another.
        pipeline["clock"].set_property("wait-sync", element == "clock")
        in_threads(threads, change)
        # What it was left in is no state to judge by: from the beginning, it has to work.
        pipeline.stop()
        pipeline.forget_messages()
        pipeline["clock"].set_property("wait-sync", True)
        pipeline.count("gate" if element == "gate" else "sink", "sink")
        pipeline.play()
        pipeline.expect_frames()
        pipeline.stop()
        say(f"{element}: {options.changes} state changes")


def flush(options):
    """Flushes, as seeks of applications cause them, in the middle of the stream; and seeks, which live sources refuse."""
    for element in ("swsyncsink", "swsyncgate"):
        pipeline = Pipeline(device(0, f"{CAMERA} ! {sink('sink', element)}"))
        pipeline.count("sink", "sink")
        pipeline.play()
        pipeline.expect_frames()
        source = random.Random(options.seed)
        pad = pipeline["sink"].get_static_pad("sink")
        for _ in range(options.rounds):
            if source.random() < 0.5:
                pad.send_event(Gst.Event.new_flush_start())
                pad.send_event(Gst.Event.new_flush_stop(source.random() < 0.5))
            else:
                pipeline.pipeline.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH, 0)
        # A flush takes the segment with it; the next one comes with the source's next start.
        pipeline.pipeline.set_state(Gst.State.READY)
        pipeline.play()
        pipeline.expect_frames()
        pipeline.stop()
        say(f"{element}: {options.rounds} flushes and seeks")


def caps(options):
    """Other formats in the middle of the stream, for the sink and the gate; for the camera, between two starts."""
    sizes = [(160, 120), (320, 240), (192, 144)]
    for element in ("swsyncsink", "swsyncgate"):
        source = "videotestsrc is-live=true ! capsfilter name=filter caps=video/x-raw,width=160,height=120,framerate=30/1"
        pipeline = Pipeline(device(0, f"{source} ! {sink('sink', element)}"))
        pipeline.count("sink", "sink")
        pipeline.play()
        pad = pipeline["sink"].get_static_pad("sink")
        for number in range(options.rounds):
            width, height = sizes[number % 3]
            text = f"video/x-raw,width={width},height={height},framerate=30/1"
            pipeline["filter"].set_property("caps", Gst.Caps.from_string(text))
            wait_until(lambda: pad.get_current_caps() and pad.get_current_caps().get_structure(0).get_value("width") == width,
                       lambda: f"{element} does not get {text}: {pipeline.error()}")
        pipeline.expect_frames()
        pipeline.stop()
        say(f"{element}: {options.rounds} formats while it plays")
    pipeline = Pipeline(device(0, f"swsyncsrc backend=simulated wait-lock=false ! capsfilter name=filter ! {sink()}"))
    pipeline.count("sink", "sink")
    for number in range(max(options.rounds // 5, 2)):
        width, height = sizes[number % 3]
        text = f"video/x-raw,width={width},height={height},framerate=30/1"
        pipeline["filter"].set_property("caps", Gst.Caps.from_string(text))
        pipeline.play()
        pipeline.expect_frames()
        found = pipeline["sink"].get_static_pad("sink").get_current_caps().get_structure(0)
        if found.get_value("width") != width:
            raise Failure(f"swsyncsrc sends {found.to_string()}, not {text}")
        pipeline.pipeline.set_state(Gst.State.READY)
    pipeline.stop()


def branches(options):
    """Sinks and gates that come and go while a camera streams, on one of its own pads and behind a tee."""
    pipeline = Pipeline(device(0, f"{CAMERA} ! tee name=tee allow-not-linked=true tee. ! queue ! fakesink name=main sync=false"))
    pipeline.count("main", "sink")
    pipeline.play()
    pipeline.expect_frames()
    for number in range(options.rounds):
        element = ("swsyncsink", "swsyncgate")[number % 2]
        branch = Gst.parse_bin_from_description(f"queue name=queue ! {sink('last', element)}", True)
        pad = attach(pipeline, pipeline["tee"], branch, element)
        remove(pipeline.pipeline, pipeline["tee"], pad, branch)
    pipeline.expect_frames()
    pipeline.stop()
    say(f"branches: {options.rounds} added and removed")


def streams(options):
    """Further streams of a camera, requested and released while it streams. Each time it is configured anew."""
    pipeline = Pipeline(device(0, f"{CAMERA} ! fakesink name=main sync=false"))
    pipeline.count("main", "sink")
    pipeline.play()
    pipeline.expect_frames()
    for _ in range(options.rounds):
        branch = Gst.parse_bin_from_description(
            "capsfilter caps=video/x-raw,width=320,height=240 ! queue ! fakesink name=last sync=false async=false", True)
        pad = attach(pipeline, pipeline["src"], branch, "a further stream")
        pipeline.expect_frames(2)
        remove(pipeline.pipeline, pipeline["src"], pad, branch)
        pipeline.expect_frames(2)
    pipeline.stop()
    say(f"streams: {options.rounds} added and removed")


def attach(pipeline, element, branch, what):
    """Links a branch to a new pad of an element in a pipeline that plays, and waits for a frame at the end. Returns the pad."""
    pipeline.pipeline.add(branch)
    pad = element.request_pad_simple("src_%u")
    seen = threading.Event()
    branch.get_by_name("last").get_static_pad("sink").add_probe(
        Gst.PadProbeType.BUFFER, lambda _pad, _info: seen.set() or Gst.PadProbeReturn.REMOVE)
    # Running before it is linked: a branch that flushes would end the whole stream.
    if not branch.sync_state_with_parent() or pad.link(branch.get_static_pad("sink")) != Gst.PadLinkReturn.OK:
        raise Failure(f"{what} does not start in a pipeline that plays: {pipeline.error()}")
    if not seen.wait(PATIENCE_S):
        raise Failure(f"{what} gets no frames in a pipeline that plays: {pipeline.error()}")
    return pad


def remove(pipeline, element, pad, branch):
    """Takes a branch out of a pipeline that plays: unlinks it while nothing passes."""
    idle = threading.Event()

    def unlink(blocked, _info):
        blocked.unlink(branch.get_static_pad("sink"))
        idle.set()
        return Gst.PadProbeReturn.REMOVE

    pad.add_probe(Gst.PadProbeType.IDLE, unlink)
    if not idle.wait(PATIENCE_S):
        raise Failure("a branch cannot be unlinked")
    element.release_request_pad(pad)
    pipeline.remove(branch)
    if branch.set_state(Gst.State.NULL) != Gst.StateChangeReturn.SUCCESS:
        raise Failure("a branch does not stop")


def rigs(options):
    """Several rigs in one process: each takes its own pictures, and no other's."""
    pipelines = [Pipeline(device(number, f"{CAMERA} ! {sink('sink')}-{number}")) for number in range(options.rigs)]
    for pipeline in pipelines:
        pipeline.count("sink", "sink")
        pipeline.play()
    for pipeline in pipelines:
        pipeline.expect_frames()
    orders = {}
    for number, pipeline in enumerate(pipelines):
        orders[number] = pipeline["sink"].emit("shoot", 200 * Gst.MSECOND, 3)
    for number, pipeline in enumerate(pipelines):
        done = wait_for_answer(pipeline.pipeline.get_bus(), orders[number])
        found = done.get_value("devices"), done.get_value("complete")
        if found != (1, True):
            raise Failure(f"rig {number}: {done.to_string()}")
    for pipeline in pipelines:
        pipeline.stop()
    say(f"rigs: {options.rigs} in one process, each answers for itself")


def wait_for_answer(bus, order):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        message = bus.timed_pop_filtered(Gst.SECOND, Gst.MessageType.ELEMENT | Gst.MessageType.ERROR)
        if message is None:
            continue
        if message.type == Gst.MessageType.ERROR:
            raise Failure(str(message.parse_error()))
        told = message.get_structure()
        if told.get_name() == "swsync-order-done" and told.get_value("order") == order:
            return told
    raise Failure(f"order {order} is not answered")


def say(text):
    print(text, flush=True)


PARTS = {"states": states, "flush": flush, "caps": caps, "branches": branches, "streams": streams, "rigs": rigs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--changes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--rigs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    Gst.init(None)
    for part in options.parts or PARTS:
        begun = time.monotonic()
        try:
            PARTS[part](options)
        except Failure as failure:
            print(f"stress: {part}: {failure}", file=sys.stderr, flush=True)
            # At once: pipelines that are left playing would say more, and hide this.
            os._exit(1)
        gc.collect()
        say(f"{part}: {time.monotonic() - begun:.1f} s")
    gc.collect()
    # The leaks tracer says now what is left.
    Gst.deinit()


main()
