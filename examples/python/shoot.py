#!/usr/bin/env python3
"""Embeds swsync in an application: leads a rig, waits until its camera is on the frame grid, and makes
every camera of the rig take one picture of the same instant.

    examples/python/shoot.py --location shots      # the first camera that libcamera finds
    examples/python/shoot.py --simulated           # without a camera

Needs GStreamer's Python bindings (Debian: python3-gi gir1.2-gstreamer-1.0). If libgstswsync.so is not
installed, set GST_PLUGIN_PATH to its folder. `./x shell` provides both. Other devices join the rig with
pipelines/client.sh.
"""

import argparse
import sys
import time
import warnings

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402 (the version has to be set first)

# How long the camera may take to reach the frame grid. A camera that has to be restarted for it takes
# seconds.
LOCK_TIMEOUT_S = 60
# How long devices may take to answer. `swsync-order-done` comes earlier, even if some device never
# answers, so only a fault can exceed it.
ANSWER_TIMEOUT_S = 60


class Failure(Exception):
    """An error message for the user."""


def parse_arguments():
    parser = argparse.ArgumentParser(description="Leads a rig and takes one shot.")
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--simulated", action="store_true", help="use a simulated camera")
    camera.add_argument("--camera-name", help="id of the camera, as `cam --list` shows it")
    parser.add_argument("--location", default="swsync", help="folder for the pictures")
    # What is not given comes from the environment (SWSYNC_RIG, ...) or a file: see docs/settings.md.
    parser.add_argument("--rig", help="name of the rig (default: SWSYNC_RIG, or swsync)")
    parser.add_argument("--device-id", help="this device's name in the rig (default: the host's)")
    parser.add_argument("--key-file", help="file of the rig's key (default: SWSYNC_KEY_FILE)")
    parser.add_argument("--listen", help="Zenoh endpoint where others can connect: tcp/0.0.0.0:7447")
    parser.add_argument("--connect", help="Zenoh endpoint of another device: tcp/pi0.local:7447")
    parser.add_argument("--bind-address", default="0.0.0.0", help="IP address to serve rig time on")
    parser.add_argument("--port", type=int, default=11123, help="UDP port to serve rig time on")
    return parser.parse_args()


def make(name, **properties):
    """Makes an element. Properties that are None keep their defaults."""
    element = Gst.ElementFactory.make(name)
    if element is None:
        raise Failure(f"GStreamer has no element {name}: is GST_PLUGIN_PATH set to the folder of "
                      "libgstswsync.so?")
    for key, value in properties.items():
        if value is not None:
            element.set_property(key.replace("_", "-"), value)
    return element


def build(args):
    """The same pipeline as pipelines/leader.sh, and its sink."""
    pipeline = Gst.Pipeline.new()
    # It has no pads and is not linked. Being in the pipeline is enough to provide the pipeline's clock.
    # What is said of the rig here holds for the sink too.
    clock = make("swsyncclock", role="leader", bind_address=args.bind_address, port=args.port, rig=args.rig,
                 device_id=args.device_id, listen=args.listen, connect=args.connect, key_file=args.key_file)
    camera = make("swsyncsrc", backend="simulated" if args.simulated else "libcamera",
                  camera_name=args.camera_name)
    convert = make("videoconvert")
    encoder = make("jpegenc")
    # Keeps the last seconds in memory, and writes what an order names.
    sink = make("swsyncsink", location=args.location)
    for element in (clock, camera, convert, encoder, sink):
        pipeline.add(element)
    if not (camera.link(convert) and convert.link(encoder) and encoder.link(sink)):
        raise Failure("the elements cannot be linked")
    return pipeline, sink


def element_messages(pipeline, timeout_s):
    """Yields the elements' messages on the bus. Fails on an error, on EOS, or when the time is over."""
    wanted = Gst.MessageType.ELEMENT | Gst.MessageType.ERROR | Gst.MessageType.EOS
    deadline = time.monotonic() + timeout_s
    while True:
        left = max(deadline - time.monotonic(), 0)
        message = pipeline.get_bus().timed_pop_filtered(int(left * Gst.SECOND), wanted)
        if message is None:
            raise Failure(f"no result within {timeout_s} s")
        if message.type == Gst.MessageType.ERROR:
            raise Failure(describe(message))
        if message.type == Gst.MessageType.EOS:
            raise Failure("the stream has ended")
        yield message.get_structure()


def describe(message):
    """An error message in one line, with the advice that swsync's elements add."""
    error, details = message.parse_error()
    return f"{message.src.get_name()}: {error.message} ({details})"


def wait_for_lock(pipeline):
    """Waits until the frames are on the grid. From then on all devices expose at the same instants."""
    for message in element_messages(pipeline, LOCK_TIMEOUT_S):
        if message.get_name() != "swsync-phase":
            continue
        state = message.get_value("state")
        print(f"camera {state}, {message.get_value('phase-error')} ns from the frame grid")
        # free: this camera's phase cannot be controlled. Its frames are numbered like those of the
        # others, and say how far from the grid they are.
        if state in ("locked", "free"):
            return


def strings(message, field):
    """The strings in a list field of a message."""
    found, array = message.get_array(field)
    with warnings.catch_warnings():
        # GLib deprecates GValueArray, but it is what a Gst.Structure has for Python.
        warnings.simplefilter("ignore", DeprecationWarning)
        return [array.get_nth(index) for index in range(array.n_values)] if found else []


def wait_for_answers(pipeline, order):
    """Prints each device's result. Returns whether all devices saved everything."""
    for message in element_messages(pipeline, ANSWER_TIMEOUT_S):
        # Other devices may give orders too.
        if not message.has_field("order") or message.get_value("order") != order:
            continue
        # There is one for each device of the rig, this one included.
        if message.get_name() == "swsync-order":
            device = message.get_value("device")
            for file in strings(message, "files"):
                print(f"{device}: {file}")
            for problem in strings(message, "problems"):
                print(f"{device}: NOT saved: {problem}")
        elif message.get_name() == "swsync-order-done":
            if message.has_field("error"):
                raise Failure(f"order {order}: {message.get_value('error')}")
            complete = message.get_value("complete")
            print("complete," if complete else "NOT complete,", "devices:", message.get_value("devices"))
            return complete


def shoot(pipeline, sink):
    """Waits for the camera, orders a shot, and says whether all devices saved it."""
    # Whatever is wrong from the start (no such camera, folder not writable, port taken) is an error
    # message on the bus. It says more than the failed state change.
    if pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
        message = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        raise Failure(describe(message) if message else "the pipeline does not start")
    wait_for_lock(pipeline)
    # Half a second from now: time enough for the order to reach all devices, also on WiFi. A negative
    # delay asks for an instant in the past.
    order = sink.emit("shoot", 500 * Gst.MSECOND, 1)
    if order is None:
        raise Failure("the order could not be placed; GST_DEBUG=swsyncsink:3 says why")
    print(f"order {order}")
    return wait_for_answers(pipeline, order)


def main():
    args = parse_arguments()
    Gst.init(None)
    pipeline = None
    try:
        pipeline, sink = build(args)
        return 0 if shoot(pipeline, sink) else 1
    except Failure as failure:
        print(f"shoot.py: {failure}", file=sys.stderr)
        return 1
    finally:
        # NULL finishes the files and leaves the rig.
        if pipeline is not None:
            pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    sys.exit(main())
