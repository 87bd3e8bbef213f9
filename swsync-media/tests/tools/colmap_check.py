"""Takes the steps that `swsync export colmap` prints, by pycolmap: prints what became of each of the two models.

    colmap_check.py WORKSPACE
"""

import json
import sys
from pathlib import Path

import pycolmap

pycolmap.logging.minloglevel = 2
workspace = Path(sys.argv[1])
database, images = workspace / "database.db", workspace / "images"


def model(name):
    folder = workspace / name
    folder.mkdir()
    models = pycolmap.incremental_mapping(database, images, folder)
    assert len(models) == 1, models
    return models[0]


def about(model):
    return {
        "images": model.num_reg_images(),
        "frames": model.num_reg_frames(),
        "rigs": len(model.rigs),
        "error": model.compute_mean_reprojection_error(),
    }


pycolmap.extract_features(database, images, camera_mode=pycolmap.CameraMode.PER_FOLDER)
pycolmap.match_exhaustive(database)
without = model("sparse")
alone = about(without)
with pycolmap.Database.open(database) as opened:
    pycolmap.apply_rig_config(pycolmap.read_rig_config(workspace / "rig_config.json"), opened, without)
print(json.dumps([alone, about(model("sparse-rig"))]))
