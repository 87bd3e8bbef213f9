"""A USB camera through the real uvcvideo and libcamera: swsyncsrc beside libcamerasrc, zero copy, unplugging, two cameras."""

import json
import os
import re
import subprocess
import sys
import time

from common import HERE, SCRATCH, Results, sh, wait_for

RAW = "video/x-raw,format=YUY2,width=320,height=240,framerate=15/1"
JPEG = "image/jpeg,width=320,height=240,framerate=15/1"
FRAMES = 60


class UsbCamera:
    def __init__(self, port, ppm):
        self.port = port
        command = [sys.executable, str(HERE / "usb_camera.py"), str(SCRATCH / "picture.jpg"), str(ppm), f"lab{port}", str(port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        before = known_to_libcamera()
        wait_for("the camera's video devices", self.is_there)
        pretend_udev()
        self.name = wait_for("libcamera to know the camera", lambda: known_to_libcamera() - before).pop()

    def is_there(self):
        return len(sh("ls /sys/class/video4linux", check=False).split()) >= 2 * (self.port + 1)

    def unplug(self):
        self.process.stdin.write(b"unplug\n")
        self.process.stdin.flush()
        self.process.wait(10)


ENVIRONMENT = dict(os.environ, LD_PRELOAD=str(SCRATCH / "firmware_node.so"), LIBCAMERA_LOG_LEVELS="*:ERROR")


def known_to_libcamera():
    """The ids of the USB cameras that libcamera lists."""
    listed = subprocess.run(["cam", "--list"], env=ENVIRONMENT, capture_output=True, text=True).stdout
    return set(re.findall(r"\((LAB0[^)]*)\)", listed))


def pretend_udev():
    """libcamera takes only devices that udev has been through, and there is none here."""
    sh("""touch /run/udev/control; for device in /sys/class/video4linux/* /sys/bus/media/devices/*; do
        [ -e $device/dev ] && printf 'I:1\\nG:systemd\\nQ:systemd\\nV:1\\n' > /run/udev/data/c$(cat $device/dev); done""", check=False)


def stream(source, caps, frames=FRAMES):
    command = [sys.executable, str(HERE / "stream.py"), source, caps, str(frames)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


def finished(process):
    said = process.communicate(timeout=120)[0]
    return json.loads(said.splitlines()[-1])


def text(run):
    lost = re.search(r"lost=\(guint64\)(\d+)", run["stats"])
    copied = re.search(r"copied=\(guint64\)(\d+)", run["stats"])
    return (f"{run['frames']} frames in {run['memory']}" + (f", copied {copied[1]}" if copied else "") + (f", lost {lost[1]}" if lost else "") +
            f"; first after {run['first_frame_s']} s, one every {run['interval_ms']} ms (longest {run['longest_ms']}), {run['cpu_ms_a_frame']} ms of processor a frame")


def compare(results, camera):
    """Both sources on the same camera, twice: what is loaded for the first time takes long here, and is not to count."""
    for format_name, caps in [("YUYV", RAW), ("MJPEG", JPEG)]:
        ours, theirs = f'swsyncsrc camera-name="{camera.name}"', f'libcamerasrc camera-name="{camera.name}"'
        runs = {}
        for source in (ours, theirs):
            for _ in range(2 if format_name == "YUYV" else 1):
                runs[source] = finished(stream(source, caps))
        run, other = runs[ours], runs[theirs]
        zero_copy = run["memory"] == {"dmabuf": run["frames"]}
        no_loss = re.search(r"\blost=\(guint64\)0\b", run["stats"])
        results.add(f"swsyncsrc, {format_name}", "all frames in dma-bufs, none lost, none copied", text(run), run["frames"] >= FRAMES and zero_copy and no_loss, **run)
        results.add(f"libcamerasrc, {format_name}", "it streams, for comparison", text(other) if other["frames"] else other["ended"], True, **other)


def unplug(results, camera):
    """The camera goes away while each of the sources streams, and is back after two seconds."""
    for source in ("swsyncsrc on-stall=restart", "libcamerasrc"):
        process = stream(f'{source} camera-name="{camera.name}"', RAW, 200)
        process.stdout.readline()  # it streams, or has ended
        begin = time.monotonic()
        camera.unplug()
        time.sleep(2)
        camera = UsbCamera(0, 20)
        try:
            run = finished(process)
        except (subprocess.TimeoutExpired, IndexError):
            process.kill()
            how = "hangs" if process.poll() is None else f"the process died ({process.returncode})"
            run = dict(ended=how, frames=0, longest_ms=None, messages=[])
        said = [message.split(",")[0] for message in run["messages"]][-4:]
        # Without a gap it was not unplugged while it streamed, and nothing is shown.
        goes_on = run["ended"] == "enough" and run["longest_ms"] > 1000
        results.add(f"{source}: unplugged, back after 2 s", "it goes on with the camera" if source != "libcamerasrc" else "for comparison",
                    f"{'goes on' if goes_on else run['ended']} ({time.monotonic() - begin:.0f} s after the unplugging); {run['frames']} frames, longest gap {run['longest_ms']} ms; says {said}",
                    goes_on or source == "libcamerasrc", **run)


def two_cameras(results, first):
    second = UsbCamera(1, -80)
    processes = [stream(f'swsyncsrc camera-name="{camera.name}"', RAW) for camera in (first, second)]
    runs = [finished(process) for process in processes]
    ok = all(run["frames"] >= FRAMES and run["memory"] == {"dmabuf": run["frames"]} for run in runs)
    results.add("two cameras, 20 and -80 ppm", "both stream, all frames in dma-bufs", "; ".join(map(text, runs)), ok)
    second.unplug()


def main(only):
    results = Results("camera")
    SCRATCH.mkdir(exist_ok=True)
    sh(f"""modprobe vhci_hcd; modprobe uvcvideo; printf 'LAB0\\n' > {SCRATCH}/firmware_node
        gcc -shared -fPIC -O1 -o {SCRATCH}/firmware_node.so {HERE}/firmware_node.c -ldl
        gst-launch-1.0 -q videotestsrc num-buffers=1 ! video/x-raw,width=320,height=240 ! jpegenc ! filesink location={SCRATCH}/picture.jpg""")
    camera = UsbCamera(0, 20)
    for part in (compare, two_cameras, unplug):
        if not only or part.__name__ in only:
            part(results, camera)
    results.end()


main(sys.argv[1:])
