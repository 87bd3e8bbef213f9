#!/usr/bin/env python3
"""Pictures of several devices side by side, live: those that were captured at the same instant.

Each device sends JPEG by RTP, with the instant of its capture in the first packet of each frame (RFC 6051: the header extension ntp-64):

    gst-launch-1.0 swsyncclock swsyncsrc add-ntp-timestamp-meta=true \
        ! video/x-raw,width=640,height=480,framerate=30/1 ! videoconvert ! jpegenc \
        ! rtpjpegpay ! application/x-rtp,extmap-1=urn:ietf:params:rtp-hdrext:ntp-64 ! udpsink host=laptop.local port=5000

and this program shows them. It needs neither swsync nor the rig's clock: the instants come with the pictures.

    examples/python/side_by_side.py --rate 30/1 5000 5002         # a port for each device

A frame's number is the nearest multiple of the frame period since 1970, as everywhere in swsync: pictures of one number belong
together, whatever was lost or late on the way. Needs GStreamer's Python bindings and numpy (Debian: python3-gi
gir1.2-gst-plugins-base-1.0 python3-numpy).
"""

import argparse
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import Gst, GstApp, GstVideo  # noqa: E402, F401 (GstApp makes the methods of its elements known)

import numpy  # noqa: E402

NS = 1_000_000_000
# RFC 5905: NTP counts from 1900, Unix from 1970.
NTP_EPOCH_S = 2_208_988_800
# How many frames a stream may be behind the others until its frames count as lost.
PATIENCE = 30
# How long the program waits for any stream.
TIMEOUT_S = 60

RECEIVER = (
    "udpsrc port={port} buffer-size=2097152 caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=JPEG,"
    "extmap-1=(string)urn:ietf:params:rtp-hdrext:ntp-64 ! rtpjitterbuffer latency=100 ! rtpjpegdepay ! jpegdec "
    "! videoconvert ! video/x-raw,format=RGB ! appsink name=stream{port} sync=false"
)


def capture_time_ns(buffer, caps=[]):
    """When a picture was captured, in ns since 1970, rounded as RTP carries it; None if the sender did not know."""
    caps or caps.append(Gst.Caps.from_string("timestamp/x-ntp"))
    meta = buffer.get_reference_timestamp_meta(caps[0])
    # The extension is all zeros where the sender's frames have no such meta.
    return meta.timestamp - NTP_EPOCH_S * NS if meta and meta.timestamp else None


def picture_of(sample):
    """A sample's picture: height x width x 3, red first."""
    info = GstVideo.VideoInfo.new_from_caps(sample.get_caps())
    buffer = sample.get_buffer()
    mapped, memory = buffer.map(Gst.MapFlags.READ)
    if not mapped:
        raise RuntimeError("a picture cannot be read")
    try:
        rows = numpy.frombuffer(memory.data, numpy.uint8).reshape(info.height, info.stride[0])
        return rows[:, : info.width * 3].reshape(info.height, info.width, 3).copy()
    finally:
        buffer.unmap(memory)


@dataclass
class Matcher:
    """Puts frames of several streams together by their number."""

    streams: int
    waiting: dict = field(default_factory=dict)
    # The first and the next number to decide on; None until each stream has begun.
    first: int | None = None
    next: int | None = None
    newest: dict = field(default_factory=dict)
    incomplete: int = 0

    def add(self, stream, number, frame):
        """Takes a frame. Yields whole sets, in order."""
        self.newest[stream] = max(number, self.newest.get(stream, number))
        self.waiting.setdefault(number, {})[stream] = frame
        if len(self.newest) < self.streams:
            return
        if self.next is None:
            # All streams have begun: what came before that was not seen by all.
            self.first = self.next = max(min(n for n, s in self.waiting.items() if i in s) for i in self.newest)
        while self.next <= max(self.newest.values()):
            frames = self.waiting.get(self.next, {})
            lost = all(newest > self.next for i, newest in self.newest.items() if i not in frames)
            if len(frames) < self.streams and not lost and max(self.newest.values()) - self.next < PATIENCE:
                return
            for old in [n for n in self.waiting if n <= self.next]:
                del self.waiting[old]
            if len(frames) == self.streams:
                yield self.next, [frames[i] for i in range(self.streams)]
            else:
                self.incomplete += 1
            self.next += 1


class View:
    """Shows pictures with any GStreamer sink."""

    def __init__(self, sink, rate):
        self.pipeline = Gst.parse_launch(f"appsrc name=source is-live=true format=time ! videoconvert ! {sink}")
        self.source, self.rate, self.shown, self.caps = self.pipeline.get_by_name("source"), rate, 0, None
        self.pipeline.set_state(Gst.State.PLAYING)

    def show(self, picture):
        height, width, _ = picture.shape
        padding = -width * 3 % 4  # GStreamer's rows begin at multiples of four bytes
        rows = numpy.pad(picture.reshape(height, width * 3), ((0, 0), (0, padding)))
        if self.caps is None:
            rate = f"{self.rate.numerator}/{self.rate.denominator}"
            self.caps = Gst.Caps.from_string(f"video/x-raw,format=RGB,width={width},height={height},framerate={rate}")
            self.source.set_caps(self.caps)
        buffer = Gst.Buffer.new_wrapped(rows.tobytes())
        buffer.pts = buffer.dts = int(self.shown * NS / self.rate)
        self.shown += 1
        self.source.push_buffer(buffer)
        if message := self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR):
            error, details = message.parse_error()
            raise RuntimeError(f"the view: {error.message} ({details})")

    def close(self):
        self.source.end_of_stream()
        self.pipeline.get_bus().timed_pop_filtered(5 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
        self.pipeline.set_state(Gst.State.NULL)


def samples(pipeline, ports):
    """Yields (stream, sample) as they come."""
    sinks = [pipeline.get_by_name(f"stream{port}") for port in ports]
    heard = time.monotonic()
    while True:
        got = False
        for stream, sink in enumerate(sinks):
            if sample := sink.try_pull_sample(5 * Gst.MSECOND):
                got, heard = True, time.monotonic()
                yield stream, sample
        error = None if got else pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        if error:
            raise RuntimeError(error.parse_error()[0].message)
        if time.monotonic() - heard > TIMEOUT_S:
            raise RuntimeError(f"nothing was received for {TIMEOUT_S} s: do the devices send to this address and these ports?")


def sets(pipeline, ports, rate):
    """Yields the frames of each number that all streams have: the matcher, the number, and for each stream (time, sample)."""
    matcher = Matcher(len(ports))
    untimed = deque(maxlen=1)
    for stream, sample in samples(pipeline, ports):
        at = capture_time_ns(sample.get_buffer())
        if at is None:
            if not untimed:
                print(f"port {ports[stream]}: frames without a capture time (add-ntp-timestamp-meta=true?)", file=sys.stderr)
            untimed.append(stream)
            continue
        for number, frames in matcher.add(stream, round(at * rate / NS), (at, sample)):
            yield matcher, number, frames


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int, nargs="+", help="a UDP port for each device")
    parser.add_argument("--rate", type=Fraction, default=Fraction(30), help="frames per second, as 30 or 30000/1001")
    parser.add_argument("--sets", type=int, default=sys.maxsize, help="end after so many numbers")
    parser.add_argument("--view", default="autovideosink sync=false", help="where to show them: a GStreamer sink")
    args = parser.parse_args()
    Gst.init(None)
    receivers = Gst.parse_launch(" ".join(RECEIVER.format(port=port) for port in args.port))
    receivers.set_state(Gst.State.PLAYING)
    view = View(args.view, args.rate)
    complete, widest = 0, 0
    try:
        for matcher, number, frames in sets(receivers, args.port, args.rate):
            times = [at for at, _ in frames]
            complete, widest = complete + 1, max(widest, max(times) - min(times))
            view.show(numpy.hstack([picture_of(sample) for _, sample in frames]))
            if number - matcher.first + 1 >= args.sets:
                break
    except KeyboardInterrupt:
        pass
    except RuntimeError as error:
        print(f"side_by_side.py: {error}", file=sys.stderr)
        return 1
    finally:
        receivers.set_state(Gst.State.NULL)
        view.close()
    seen = complete + (matcher.incomplete if complete else 0)
    print(f"sets: {seen}, complete: {complete}, furthest apart: {widest / 1000:.1f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
