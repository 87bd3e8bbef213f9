"""Decodes videos as FFmpeg does, and prints for each how many of its pictures came out whole.

    decode.py VIDEO...
"""

import sys

import av

for path in sys.argv[1:]:
    with av.open(path) as file:
        stream = file.streams.video[0]
        # What lacks something is shown too, and counts as spoilt.
        stream.codec_context.flags2 |= 1 << 22
        print(sum(not frame.is_corrupt for frame in file.decode(stream)))
