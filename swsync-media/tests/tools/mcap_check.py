"""Reads an MCAP file as others do, in the order of its messages, and strictly: checksums, schemas, an index of everything.

    mcap_check.py FILE FOLDER

Writes each video's pictures to FOLDER/<device>.yuv, decoded message by message, and prints a line of JSON: for each topic
its schema and log times, and the metadata.
"""

import json
import sys

import av
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

path, folder = sys.argv[1:]
topics, files, decoders = {}, {}, {}


def write(device, frames):
    if device not in files:
        files[device] = open(f"{folder}/{device}.yuv", "wb")
    for frame in frames:
        files[device].write(frame.reformat(format="yuv420p").to_ndarray().tobytes())


with open(path, "rb") as stream:
    reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
    summary = reader.get_summary()
    latest = 0
    for schema, channel, message in reader.iter_messages(log_time_order=False):
        assert message.log_time >= latest, f"{channel.topic}: {message.log_time} comes behind {latest}"
        latest = message.log_time
        topics.setdefault(channel.topic, {"schema": schema.name, "times": []})["times"].append(message.log_time)
    for _, channel, message, decoded in reader.iter_decoded_messages(
        topics=[topic for topic in topics if topic.endswith("/video")]
    ):
        device = decoded.frame_id
        stamp = decoded.timestamp.seconds * 10**9 + decoded.timestamp.nanos
        assert (channel.topic, stamp) == (f"/{device}/video", message.log_time)
        if device not in decoders:
            decoders[device] = av.CodecContext.create(decoded.format, "r")
        write(device, decoders[device].decode(av.Packet(decoded.data)))
    for device, decoder in decoders.items():
        write(device, decoder.decode(None))
    metadata = [{"name": record.name, **record.metadata} for record in reader.iter_metadata()]
for file in files.values():
    file.close()
counts = {summary.channels[id].topic: count for id, count in summary.statistics.channel_message_counts.items()}
assert counts == {topic: len(known["times"]) for topic, known in topics.items()}, counts
assert summary.statistics.metadata_count == len(metadata) == len(summary.metadata_indexes)
print(json.dumps({"topics": topics, "metadata": metadata}))
