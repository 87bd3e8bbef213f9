"""Plays an animated GIF or a video by FFmpeg: prints a line of JSON with what it shows.

    sequence.py FILE

Per picture: when it is shown, in milliseconds, and the mean of its grey.
"""

import json
import sys

import av

path = sys.argv[1]
with av.open(path) as container:
    stream = container.streams.video[0]
    times, greys = [], []
    for frame in container.decode(stream):
        picture = frame.to_ndarray(format="gray")
        times.append(round(float(frame.pts * stream.time_base) * 1000))
        greys.append(round(float(picture.mean())))
    print(json.dumps({
        "codec": stream.codec_context.name,
        "size": [stream.width, stream.height],
        "times": times,
        "greys": greys,
    }))
