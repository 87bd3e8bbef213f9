"""Reads videos as OpenCV and FFmpeg do: prints for each what they say of it, and what it holds.

    ordinary.py VIDEO...

The last line is of all of them one behind the other, as `ffmpeg -f concat -c copy` joins them.
"""

import json
import os
import sys
import tempfile

# FFmpeg does not understand all that GStreamer's flvmux tells of itself, and reads on.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"

import av  # noqa: E402
import cv2  # noqa: E402

av.logging.set_level(av.logging.FATAL)

for path in sys.argv[1:]:
    video, shown = cv2.VideoCapture(path), 0
    while video.read()[0]:
        shown += 1
    told = {"opencv_count": int(video.get(cv2.CAP_PROP_FRAME_COUNT)), "opencv_shown": shown}
    with av.open(path) as file:
        stream = file.streams.video[0]
        told["seconds"] = None if file.duration is None else file.duration / 1e6
        told["stream_frames"] = stream.frames
        packets = [packet for packet in file.demux(stream) if packet.size]
        told["packets"] = len(packets)
        told["decoded"] = sum(len(packet.decode()) for packet in packets) + len(stream.decode(None))
    with av.open(path) as file:
        # To the second half, at once.
        stream = file.streams.video[0]
        begin = file.start_time or 0
        file.seek(begin + (file.duration or 0) // 2, backward=True)
        first = next(file.decode(stream))
        told["sought"] = float(first.pts * stream.time_base) - begin / 1e6
    print(json.dumps(told))

with tempfile.NamedTemporaryFile("w", suffix=".txt") as parts:
    parts.write("".join(f"file '{path}'\n" for path in sys.argv[1:]))
    parts.flush()
    decoded, count, rising = None, 0, True
    with av.open(parts.name, format="concat", options={"safe": "0"}) as file:
        for packet in file.demux(video=0):
            if not packet.size:
                continue
            rising &= decoded is None or packet.dts > decoded
            decoded, count = packet.dts, count + 1
    print(json.dumps({"packets": count, "rising": rising}))
