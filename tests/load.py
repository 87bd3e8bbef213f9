"""Loads the plugin in a process that has nothing else of it, and prints as JSON what that took and did.

    load.py PLUGIN [after-libcamera] [without]

`after-libcamera` loads libcamera before anything is looked at: what that does by itself (Debian's starts two threads of LTTng's) is
then not the plugin's. `without` does all but load the plugin, for who counts instructions. tests/hygiene.rs and tools/deep.sh judge it.
"""

import ctypes
import json
import os
import re
import subprocess
import sys
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402 (the version has to be set first)


def descriptors():
    """What is open: not the listing itself."""
    found = {name: f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")}
    return {f"{name}: {os.readlink(path)}" for name, path in found.items() if os.path.lexists(path)}


def threads():
    return {f"{task}: {open(f'/proc/self/task/{task}/comm').read().strip()}" for task in os.listdir("/proc/self/task")}


def signals():
    """What the kernel knows of this process's signals: blocked, ignored, caught."""
    lines = (line.split() for line in open("/proc/self/status"))
    return {" ".join(line) for line in lines if line[0] in ("SigBlk:", "SigIgn:", "SigCgt:")}


def load_libcamera(plugin):
    shown = subprocess.run(["ldd", plugin], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"libcamera\.so\S* => (\S+)", shown):
        ctypes.CDLL(library)


def main():
    plugin, options = sys.argv[1], sys.argv[2:]
    Gst.init(None)
    assert Gst.ElementFactory.find("swsyncsrc") is None, "GStreamer has the plugin already"
    if "after-libcamera" in options:
        load_libcamera(plugin)
    before = descriptors(), threads(), signals()
    # strace shows what is between the two.
    os.path.exists("/swsync-load-begins")
    begun = time.perf_counter()
    if "without" not in options:
        Gst.Plugin.load_file(plugin)
    took = time.perf_counter() - begun
    os.path.exists("/swsync-load-ends")
    new = [sorted(now - then) for then, now in zip(before, (descriptors(), threads(), signals()))]
    features = Gst.Registry.get().get_feature_list_by_plugin("swsync")
    print(json.dumps({
        "milliseconds": round(took * 1000, 3),
        "features": sorted(feature.get_name() for feature in features),
        "descriptors": new[0],
        "threads": new[1],
        "signals": new[2],
    }))


main()
