"""Plays videos as OpenCV does: prints for each how many pictures it says that it has, how many it has, and its rate.

    play.py VIDEO...

Leaves the pictures beside it, as VIDEO.0.png and so on.
"""

import json
import sys

import cv2

for path in sys.argv[1:]:
    video, count = cv2.VideoCapture(path), 0
    while (picture := video.read())[0]:
        cv2.imwrite(f"{path}.{count}.png", picture[1])
        count += 1
    print(json.dumps([int(video.get(cv2.CAP_PROP_FRAME_COUNT)), count, video.get(cv2.CAP_PROP_FPS)]))
