#!/usr/bin/env python3
"""Frames as numpy arrays, with the instant of their capture: what a program that computes with pictures needs.

    examples/python/capture_times.py --simulated --frames 30      # without a camera
    examples/python/capture_times.py --opencv                     # writes the last one with OpenCV

Two of these programs on two devices get frames of the same instants, and the same number for each. Needs GStreamer's
Python bindings and numpy (Debian: python3-gi gir1.2-gst-plugins-base-1.0 python3-numpy), and OpenCV for --opencv.
"""

import argparse
import sys
from dataclasses import dataclass

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import Gst, GstApp, GstVideo  # noqa: E402, F401 (GstApp makes appsink's methods known)

import numpy  # noqa: E402


@dataclass
class Frame:
    """A picture and what is known of its time."""

    number: int
    # ns since the Unix epoch by the rig's clock: the begin of the first row's exposure.
    rig_time_ns: int
    # How far that may be off, ns (1 sigma); None if this device does not know.
    uncertainty_ns: int | None
    locked: bool
    # height x width x 3, blue first, as OpenCV has it.
    picture: numpy.ndarray


def to_frame(sample):
    """The frame of a sample of appsink."""
    buffer = sample.get_buffer()
    info = GstVideo.VideoInfo.new_from_caps(sample.get_caps())
    details = buffer.get_custom_meta("SwsyncFrameMeta").get_structure()
    time = buffer.get_reference_timestamp_meta(Gst.Caps.from_string("timestamp/x-swsync"))
    known, uncertainty = details.get_int64("clock-uncertainty")
    mapped, memory = buffer.map(Gst.MapFlags.READ)
    if not mapped:
        raise RuntimeError("a frame cannot be read")
    try:
        rows = numpy.frombuffer(memory.data, numpy.uint8).reshape(info.height, info.stride[0])
        # A copy: the memory goes back to the camera.
        picture = rows[:, : info.width * 3].reshape(info.height, info.width, 3).copy()
    finally:
        buffer.unmap(memory)
    return Frame(details.get_uint64("frame-number")[1], time.timestamp, uncertainty if known else None,
                 details.get_string("lock") == "locked", picture)


def frames(pipeline, count):
    """Yields frames that are on the grid."""
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    while count > 0:
        sample = sink.try_pull_sample(60 * Gst.SECOND)
        if sample is None:
            message = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
            raise RuntimeError(message.parse_error()[0].message if message else "no frame within a minute")
        frame = to_frame(sample)
        if frame.locked:
            yield frame
            count -= 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulated", action="store_true", help="use a simulated camera")
    parser.add_argument("--frames", type=int, default=30, help="how many")
    parser.add_argument("--opencv", metavar="FILE", help="write the last picture with OpenCV")
    args = parser.parse_args()
    Gst.init(None)
    pipeline = Gst.parse_launch(
        f"swsyncclock swsyncsrc backend={'simulated' if args.simulated else 'libcamera'} "
        "! video/x-raw,width=640,height=480,framerate=30/1 ! videoconvert ! video/x-raw,format=BGR "
        "! appsink name=sink max-buffers=4 drop=true sync=false")
    try:
        for frame in frames(pipeline, args.frames):
            print(f"{frame.number} {frame.rig_time_ns} +-{frame.uncertainty_ns} brightness {frame.picture.mean():.1f}")
    except RuntimeError as error:
        print(f"capture_times.py: {error}", file=sys.stderr)
        return 1
    finally:
        pipeline.set_state(Gst.State.NULL)
    if args.opencv:
        import cv2

        cv2.imwrite(args.opencv, frame.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
