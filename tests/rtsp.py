"""gst-rtsp-server around swsync's elements: clients come and go, alone and several at a time.

    rtsp.py [--clients N]

Each client is a gst-launch-1.0 that ends by itself after some frames; one in five is killed in the middle. Half of them watch one shared
camera, which also takes a picture for each order meanwhile; the others get a pipeline each, with a rig of its own. `./x check --deep` runs it with
GST_TRACERS=leaks and G_DEBUG=fatal-warnings.
"""

import argparse
import gc
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 (the versions have to be set first)

# Only a failure waits so long.
PATIENCE_S = 90
FRAMES = 20
CAMERA = ("swsyncclock role=leader rig={rig} device-id=camera listen=tcp/127.0.0.1:0 bind-address=127.0.0.1 port=0 "
          "swsyncsrc backend=simulated ! video/x-raw,width=160,height=120,framerate=30/1 ! tee name=t "
          "t. ! queue ! jpegenc ! tee name=u u. ! queue ! rtpjpegpay name=pay0 pt=26 "
          "u. ! queue ! swsyncsink ring-time=1000000000 location={folder}")


class Factory(GstRtspServer.RTSPMediaFactory):
    """A pipeline for each media, with a rig of its own."""

    def __init__(self, folder, shared):
        super().__init__()
        self.folder, self.made = folder, 0
        self.set_shared(shared)

    def do_create_element(self, _url):
        self.made += 1
        return Gst.parse_bin_from_description(CAMERA.format(rig=f"rtsp-{id(self)}-{self.made}", folder=self.folder), False)


def watch(url, killed, file):
    """A client: returns what is wrong with it."""
    command = ["gst-launch-1.0", "-q", "rtspsrc", f"location={url}", "latency=50", "protocols=tcp", "!", "rtpjpegdepay", "!",
               "identity", f"eos-after={FRAMES}", "!", "filesink", f"location={file}"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={"PATH": "/usr/local/bin:/usr/bin:/bin", "GST_REGISTRY_UPDATE": "no"})
    try:
        if killed:
            # In the middle of what it gets.
            wait_for_frames(file, 1)
            client.kill()
        said, _ = client.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        client.kill()
        return "a client does not end"
    if killed:
        return None if frames(file) else "a client got no frame before it was killed"
    # Not its exit code: one that has all its frames may hear that the server has closed the connection when it says that it goes.
    return None if frames(file) >= FRAMES - 1 else f"{client.returncode}, {frames(file)} frames: {said}"


def frames(file):
    """Pictures that have arrived in a client's file."""
    return file.read_bytes().count(b"\xff\xd8\xff") if file.exists() else 0


def wait_for_frames(file, count):
    deadline = time.monotonic() + PATIENCE_S
    while frames(file) < count and time.monotonic() < deadline:
        time.sleep(0.05)


def serve(clients, folder):
    """Runs the server in GLib's loop, and clients in threads. Returns what was wrong."""
    loop = GLib.MainLoop()
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service="0")
    mounts, wrong = server.get_mount_points(), []
    for name, shared in (("shared", True), ("own", False)):
        mounts.add_factory(f"/{name}", Factory(folder, shared))
    source = server.attach(None)
    url = f"rtsp://127.0.0.1:{server.get_bound_port()}"

    def visit(numbers):
        for number in numbers:
            wrong.extend(filter(None, [watch(f"{url}/{('shared', 'own')[number % 2]}", number % 5 == 4, Path(folder, f"client-{number}"))]))

    def visit_all():
        # Three at a time.
        threads = [threading.Thread(target=visit, args=(range(first, clients, 3),)) for first in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Sessions of the killed ones are found dead when the connection is.
        GLib.idle_add(loop.quit)

    visitor = threading.Thread(target=visit_all)
    visitor.start()
    loop.run()
    visitor.join()
    server.client_filter(lambda _server, _client: GstRtspServer.RTSPFilterResult.REMOVE)
    GLib.Source.remove(source)
    # Medias are taken down in threads of the server's.
    context = GLib.MainContext.default()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        context.iteration(False)
        time.sleep(0.01)
    GstRtspServer.RTSPThreadPool.cleanup()
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    options = parser.parse_args()
    Gst.init(None)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="swsync-rtsp-") as folder:
        wrong = serve(options.clients, folder)
    gc.collect()
    if wrong:
        sys.exit("rtsp: " + "; ".join(wrong))
    print(f"rtsp: {options.clients} clients came and went in {time.monotonic() - begun:.0f} s", flush=True)
    # The leaks tracer says now what is left.
    Gst.deinit()


main()
