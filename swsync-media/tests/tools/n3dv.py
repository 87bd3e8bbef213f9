"""Reads a scene as the readers of the Neural 3D Video dataset do, or makes poses for one.

    n3dv.py poses FILE COUNT WIDTH HEIGHT    writes poses_bounds.npy as LLFF does, with COUNT rows
    n3dv.py read FOLDER                      prints a line of JSON per camera: file, number of pictures, mean grey of each
"""

import glob
import json
import os
import sys

import cv2
import numpy as np


def poses(path, count, width, height):
    matrix = np.concatenate([np.eye(3), np.zeros((3, 1)), [[float(height)], [float(width)], [500.0]]], 1)
    row = np.concatenate([matrix.ravel(), [0.5, 10.0]])
    np.save(path, np.tile(row, (int(count), 1)))


def read(folder):
    # As neural_3D_dataset_NDC.py of 4DGaussians and video_datasets.py of K-Planes.
    rows = np.load(os.path.join(folder, "poses_bounds.npy"))
    videos = sorted(glob.glob(os.path.join(folder, "cam*.mp4")))
    assert videos == sorted(glob.glob(os.path.join(folder, "*.mp4")))
    assert len(videos) == rows.shape[0], (len(videos), rows.shape)
    height, width, _focal = rows[:, :-2].reshape([-1, 3, 5])[0, :, -1]
    for video in videos:
        capture, greys = cv2.VideoCapture(video), []
        while (picture := capture.read())[0]:
            assert picture[1].shape == (height, width, 3), picture[1].shape
            greys.append(round(float(picture[1].mean())))
        assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == len(greys), video
        print(json.dumps({"file": os.path.basename(video), "rate": capture.get(cv2.CAP_PROP_FPS), "greys": greys}))


{"poses": poses, "read": read}[sys.argv[1]](*sys.argv[2:])
