"""Reads a recording as FreeMoCap 1.8 does, with its own code: prints the frames and times per camera that it finds.

    freemocap_check.py RECORDING
"""

import json
import os
import sys
from pathlib import Path
from unittest.mock import MagicMock

recording = sys.argv[1]
# At import it makes a folder for its logs there.
os.environ["HOME"] = str(Path(recording).parent)

# Only its tracker needs this, which names the landmarks of a body.
solutions = "mediapipe.python.solutions"
for name in ("mediapipe", "mediapipe.python", solutions, f"{solutions}.face_mesh", f"{solutions}.holistic"):
    sys.modules[name] = MagicMock()

from freemocap.data_layer.data_saver.data_loader import DataLoader
from freemocap.data_layer.recording_models.recording_info_model import RecordingInfoModel
from freemocap.tests.test_synchronized_video_frame_counts import test_synchronized_video_frame_counts

info = RecordingInfoModel(recording_folder_path=recording)
# Asserts that there are videos, and that all have as many frames.
test_synchronized_video_frame_counts(info.synchronized_videos_folder_path)

loader = DataLoader.__new__(DataLoader)
loader._recording_folder_path = recording
loader._load_timestamps()
frames = len(loader._timestamps_mean_per_frame)
print(json.dumps({
    "cameras": sorted(loader._timestamps_by_camera),
    "frames": frames,
    "means": [loader.get_timestamps(frame).mean for frame in range(frames)],
}))
