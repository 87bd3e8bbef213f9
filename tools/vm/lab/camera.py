"""A USB camera through the real uvcvideo and libcamera: swsyncsrc beside libcamerasrc, zero copy, unplugging, two cameras."""

import json
import os
import re
import subprocess
import sys
import time

from common import HERE, SCRATCH, Results, sh, wait_for, wait_for_end, wait_for_frames

RAW = "video/x-raw,format=YUY2,width=320,height=240,framerate=30/1"
JPEG = "image/jpeg,width=320,height=240,framerate=30/1"
FRAMES = 60


class UsbCamera:
    def __init__(self, port, ppm, endpoint="bulk"):
        self.port, self.ppm, self.endpoint = port, ppm, endpoint
        command = [sys.executable, str(HERE / "usb_camera.py"), str(SCRATCH / "picture.jpg"), str(ppm), f"lab{port}", str(port), endpoint]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        wait_for("the camera's video devices", self.is_there)
        if not udev():
            pretend_udev()
        settle()
        self.name = wait_for("libcamera to know the camera", lambda: known_to_libcamera(port))

    def is_there(self):
        return len(sh("ls /sys/class/video4linux", check=False).split()) >= 2 * (self.port + 1)

    def plug_in_again(self):
        return UsbCamera(self.port, self.ppm, self.endpoint)

    def unplug(self):
        self.process.stdin.write(b"unplug\n")
        self.process.stdin.flush()
        wait_for_end(self.process)
        wait_for("the kernel to let the camera go", lambda: not self.is_there())
        settle()


ENVIRONMENT = dict(os.environ, LD_PRELOAD=str(SCRATCH / "firmware_node.so"), LIBCAMERA_LOG_LEVELS="*:ERROR")


def known_to_libcamera(port):
    """The id of the USB camera at this port, if libcamera lists it. It may miss one for a moment when another is plugged in (EBUSY)."""
    listed = subprocess.run(["cam", "--list"], env=ENVIRONMENT, capture_output=True, text=True).stdout
    found = re.search(rf"\((LAB0-{port + 1}:[^)]*)\)", listed)
    return found and found[1]


def start_udev():
    """libcamera takes only devices that udev has been through, and hears from it that one is gone."""
    sh("/usr/lib/systemd/systemd-udevd --daemon && udevadm trigger --settle --subsystem-match=video4linux --subsystem-match=media --subsystem-match=usb")


def udev():
    """The process of udev's daemon, if there is one."""
    return sh("pgrep -o systemd-udevd", check=False)


def settle():
    """Until udev has told of all that was plugged in and out."""
    if udev():
        sh("udevadm settle")


def stop_udev():
    sh(f"kill {udev()}")
    wait_for("udev to end", lambda: not udev())


def pretend_udev():
    """What udev would note of the devices, as in a container that sees the host's notes and hears nothing from its udev."""
    sh("""touch /run/udev/control; for device in /sys/class/video4linux/* /sys/bus/media/devices/*; do
        [ -e $device/dev ] && printf 'I:1\\nG:systemd\\nQ:systemd\\nV:1\\n' > /run/udev/data/c$(cat $device/dev); done""", check=False)


def stream(source, caps, frames=FRAMES, patience=60):
    command = [sys.executable, str(HERE / "stream.py"), source, caps, str(frames), str(patience)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


def finished(process):
    said = process.communicate(timeout=1500)[0]
    return json.loads(said.splitlines()[-1])


def text(run):
    if not run["frames"]:
        return f"{run['ended']}, without a frame, after {run['ended_after_s']} s {run['messages']}"
    lost = re.search(r"lost=\(guint64\)(\d+)", run["stats"])
    copied = re.search(r"copied=\(guint64\)(\d+)", run["stats"])
    form = re.search(r"(image/jpeg|format=\(string\)\w+)", run["caps"])[1].removeprefix("format=(string)")
    return (f"{run['frames']} frames of {form} in {run['memory']}" + (f", copied {copied[1]}" if copied else "") + (f", lost {lost[1]}" if lost else "") +
            f"; first after {run['first_frame_s']} s ({run['cpu_s_to_first']} s of processor), one every {run['interval_ms']} ms (longest {run['longest_ms']}), {run['cpu_ms_a_frame']} ms of processor a frame")


WHOLE = "all frames in dma-bufs, none lost, none copied"


def is_whole(run):
    return run["memory"] == {"dmabuf": run["frames"]} and bool(re.search(r"\blost=\(guint64\)0\b", run["stats"]))


def compare(results, camera):
    """Both sources on the same camera, three times; the one that started soonest counts. What is loaded for the first time takes long
    here, and the machine's clock leaps meanwhile."""
    for format_name, caps in [("YUYV", RAW), ("MJPEG", JPEG)]:
        for source, expected in ("swsyncsrc", WHOLE), ("libcamerasrc", "it streams, for comparison"):
            tried = [finished(stream(f'{source} camera-name="{camera.name}"', caps)) for _ in range(3)]
            run = min(tried, key=lambda run: run["first_frame_s"] or float("inf"))
            ok = source != "swsyncsrc" or all(run["frames"] >= FRAMES and is_whole(run) for run in tried)
            results.add(f"{source}, {format_name}", expected, text(run), ok, **run)


def unplug(results, camera):
    """The camera goes away while each of the sources streams, and is back after two seconds."""
    for source in ("swsyncsrc", "swsyncsrc on-stall=restart", "libcamerasrc"):
        camera = unplugged_while_streaming(results, camera, source, "")
    stop_udev()
    camera = unplugged_while_streaming(results, camera, "swsyncsrc", ", no udev")
    start_udev()
    return camera


def unplugged_while_streaming(results, camera, source, note):
    # libcamera is busy with a camera that is gone, which takes an emulated processor long.
    process = stream(f'{source} camera-name="{camera.name}"', RAW, 150, 15 if source == "libcamerasrc" else 60)
    process.stdout.readline()  # it streams, or has ended
    camera.unplug()
    time.sleep(2)
    camera = camera.plug_in_again()
    try:
        run = finished(process)
    except subprocess.TimeoutExpired:
        process.kill()
        run = dict(ended="hangs", frames=0, stopped=False)
    except (ValueError, IndexError):
        run = dict(ended=f"the process died (exit code {process.wait()})", frames=0, stopped=False)
    # Without a gap it was not unplugged while it streamed, and nothing is shown.
    goes_on = run["ended"] == "enough" and run["longest_ms"] > 1000
    says = run["ended"].startswith("error: ") and "it was unplugged. Plug it in again" in run["ended"] and run["stopped"]
    expected = {"swsyncsrc": "an error that says so, and the pipeline can be stopped", "swsyncsrc on-stall=restart": "it goes on with the camera"}
    ok = {"swsyncsrc": says, "swsyncsrc on-stall=restart": goes_on}.get(source, True)
    observed = f"goes on; longest gap {run['longest_ms']:.0f} ms" if goes_on else f"{run['ended']}, {run.get('silence_s')} s after the last frame; then stopped: {run['stopped']}"
    results.add(f"{source}{note}: unplugged, back after 2 s", expected.get(source, "for comparison"), f"{observed}; {run['frames']} frames", ok, **run)
    return camera


TAKE = 'gst-launch-1.0 -e swsyncclock role=leader announce=false swsyncsrc {stall} camera-name="{camera}" ! {caps} ! jpegparse ! swsyncsink device-id=usb location={location} listen=tcp/127.0.0.1:7447'


def unplug_in_a_take(results, camera):
    """The camera goes away in the middle of a take of 8 s, once for good and once for two seconds."""
    for stall, is_back in (("on-stall=restart", True), ("", False)):
        name = "back" if is_back else "gone"
        location = SCRATCH / "takes"
        log = SCRATCH / f"take-{name}.log"
        device = saving_device(stall, camera, location, log)
        os.environ["SWSYNC_CONNECT"] = "tcp/127.0.0.1:7447"
        wait_for_frames(["usb"], seconds=300)
        record = subprocess.Popen(["swsync", "record", "--for", "8s", "--in", "1s", "--id", name, "--max-error", "none"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(4)
        camera.unplug()
        time.sleep(2)
        if is_back:
            camera = camera.plug_in_again()
        said = record.communicate(timeout=600)[0]
        if is_back:
            device.send_signal(2)
        code = wait_for_end(device)
        if not is_back:
            camera = camera.plug_in_again()
            answer_later(camera, location, name)
        take_row(results, location / name / "usb", name, code, record.returncode, said, log)
    return camera


def saving_device(stall, camera, location, log):
    command = TAKE.format(stall=stall, camera=camera.name, caps=JPEG, location=location)
    return subprocess.Popen(["bash", "-c", "exec " + command], env=ENVIRONMENT, stdout=log.open("w"), stderr=subprocess.STDOUT)


def answer_later(camera, location, name):
    """The device is started again, and says of the take's other frames that they are missing."""
    device = saving_device("", camera, location, SCRATCH / "take-again.log")
    wait_for("the answer for the whole take", lambda: json.loads((location / name / "usb/take.json").read_text())["complete"], 300)
    device.send_signal(2)
    wait_for_end(device)


def take_row(results, folder, name, code, record_code, said, log):
    """Each picture has to be whole, and each of the 240 frames has to be there or named as missing."""
    frames = [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]
    take = json.loads((folder / "take.json").read_text())
    whole = sum((data := (folder / frame["file"]).read_bytes())[:2] == b"\xff\xd8" and data.rstrip(b"\0")[-2:] == b"\xff\xd9" for frame in frames)
    parts = list(folder.rglob(".*.part"))
    missing = sum(hole["count"] for hole in take.get("holes", []))
    ok = frames and whole == len(frames) and not parts and whole + missing == 240 and record_code != 0 and code == (0 if name == "back" else 1)
    why = re.findall(r"it was unplugged[^\n]*", log.read_text())
    results.add(f"unplugged in a take, {'back after 2 s (on-stall=restart)' if name == 'back' else 'for good'}",
                "each of 240 frames a whole picture or named as missing; `record` says so; the device ends by itself only where the camera stays away, with exit code 1, and answers for the rest once it is started again",
                f"{whole} whole, {missing} named as missing, {len(parts)} unfinished; record's exit code {record_code}; the device's {code}; says: {(why or ['nothing'])[0][:60]}", ok,
                whole=whole, missing=missing, code=code, record_code=record_code, record=said[-600:])


def two_cameras(results, first):
    second = UsbCamera(1, -80)
    processes = [stream(f'swsyncsrc camera-name="{camera.name}"', RAW) for camera in (first, second)]
    runs = [finished(process) for process in processes]
    ok = all(run["frames"] >= FRAMES and run["memory"] == {"dmabuf": run["frames"]} for run in runs)
    results.add("two cameras, 20 and -80 ppm", "both stream, all frames in dma-bufs", "; ".join(map(text, runs)), ok)
    second.unplug()


def isochronous(results, first):
    """A second camera as most are: with an isochronous endpoint."""
    camera = UsbCamera(1, -80, "isochronous")
    for source in ("swsyncsrc", "libcamerasrc"):
        for format_name, caps in [("YUYV", RAW), ("MJPEG", JPEG)]:
            run = finished(stream(f'{source} camera-name="{camera.name}"', caps))
            ours = source == "swsyncsrc"
            ok = not ours or (run["frames"] >= FRAMES and is_whole(run))
            results.add(f"{source}, isochronous endpoint, {format_name}", WHOLE if ours else "for comparison", text(run), ok, **run)
    unplugged_while_streaming(results, camera, "swsyncsrc on-stall=restart", ", isochronous endpoint").unplug()


def main(only):
    results = Results("camera")
    SCRATCH.mkdir(exist_ok=True)
    sh(f"""modprobe vhci_hcd; modprobe uvcvideo; printf 'LAB0\\n' > {SCRATCH}/firmware_node
        gcc -shared -fPIC -O1 -o {SCRATCH}/firmware_node.so {HERE}/firmware_node.c -ldl
        gst-launch-1.0 -q videotestsrc num-buffers=1 ! video/x-raw,width=320,height=240 ! jpegenc ! filesink location={SCRATCH}/picture.jpg""")
    start_udev()
    camera = UsbCamera(0, 20)
    for part in (compare, isochronous, two_cameras, unplug, unplug_in_a_take):
        if not only or part.__name__ in only:
            camera = part(results, camera) or camera
    results.end()


main(sys.argv[1:])
