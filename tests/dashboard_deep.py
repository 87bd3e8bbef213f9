#!/usr/bin/env python3
"""The dashboard as people and programs use it, in a real Chromium: a step of `./x check --deep`.

    dashboard_deep.py [--pictures FOLDER] [--stubs PROGRAM] [PART...]

Parts, all of them if none is named:
  demo    `swsync demo --dashboard` as a newcomer types it: five files of one press, a killed device, a reload in a take, two operators, a lost
          connection, sleep; axe finds nothing; Ctrl-C leaves no process running (tests/dashboard_browser.py)
  date    a rig whose clocks are seven years behind is told the date by a browser, and no frame moves
  stubs   30 devices without cameras (PROGRAM: the test program `dashboard` of swsync-dashboard), looked at on a phone and a desk
  api     schemathesis: what the server answers to made-up requests is what /api/v1/openapi.json says
  qr      the QR code of the terminal, read from a rendering of it, and the login by it

Needs what tools/python-dashboard.txt names, Debian's chromium ($CHROMIUM), and swsync's programs in PATH.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

import dashboard_browser
from dashboard_browser import DESK, PHONE, Check, evaluate, wait_until

# Only a failure waits so long.
PATIENCE_S = 90


class Program:
    """A program whose lines are read until it says where its page is. All that it starts is ended with it."""

    def __init__(self, command, **options):
        self.lines = []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, **options)
        self.url = None
        self.found = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self.found.wait(PATIENCE_S) or self.url is None:
            self.end()
            raise SystemExit("error: no page within time: " + "".join(self.lines))

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            match = re.search(r"https?://\S+", line)
            if match and not self.found.is_set():
                self.url = match.group(0).rstrip('",}')
                self.found.set()
        self.found.set()

    def descendants(self):
        """Processes of its session, by the command that each runs."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(stat[3]) == self.process.pid and stat[0] != "Z":
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (OSError, ValueError, IndexError):
                continue
        return found

    def interrupt(self):
        """Ctrl-C: the terminal sends it to the whole group. Returns what is still running when the program has ended."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=60)
        deadline = time.monotonic() + 10
        while (left := self.descendants()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def end(self):
        for pid in self.descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


class Wire:
    """A TCP relay that can be cut without a word, as WiFi is out of reach: nothing gets through, and nothing is closed."""

    def __init__(self, host, port):
        self.to = (host, port)
        self.open = threading.Event()
        self.open.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(self.to)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        try:
            while data := one.recv(65536):
                self.open.wait()
                other.sendall(data)
        except OSError:
            pass
        finally:
            for end in (one, other):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def lost_connection(check, browser, url):
    """The page says within seconds that it knows nothing any more, and catches up by itself; also after sleep."""
    host, port = re.match(r"http://([\d.]+):(\d+)", url).groups()
    wire = Wire(host, int(port))
    page = browser.new_context(**PHONE).new_page()
    page.goto(f"http://127.0.0.1:{wire.port}/")
    page.wait_for_selector("#readiness .good", timeout=60_000)
    wire.open.clear()
    page.wait_for_selector("#banner:not([hidden])", timeout=15_000)
    if page.locator("#shutter").is_enabled():
        check.wrong.append("the shutter is armed although nothing is known")
    check.picture(page, "no-news-phone")
    wire.open.set()
    page.wait_for_selector("#banner[hidden]", state="attached", timeout=30_000)
    page.wait_for_selector("#readiness .good", timeout=30_000)
    # Sleep: the page is frozen, and the network is gone meanwhile.
    session = page.context.new_cdp_session(page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    wire.open.clear()
    time.sleep(6)  # as long as the phone sleeps
    wire.open.set()
    session.send("Page.setWebLifecycleState", {"state": "active"})
    wait_until(page, "document.getElementById('banner').hidden && !!document.querySelector('#readiness .good')")
    page.context.close()


def cost_of_pictures(program, url):
    """What live pictures take of a device's processor: the same seconds without and with one picture a second."""
    pid, command = next((pid, command) for pid, command in program.descendants().items() if command.startswith("gst-launch-1.0"))
    device = re.search(r"device-id=(\S+)", command).group(1)

    def processor():
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    percent, sizes = {False: 0.0, True: 0.0}, []
    for looks in (False, True, False, True):
        before, begun = processor(), time.monotonic()
        for _ in range(10):
            if looks:
                with urllib.request.urlopen(f"{url}api/v1/devices/{device}/thumbnail?width=320") as answer:
                    sizes.append(len(answer.read()))
            time.sleep(1)  # the time over which it is measured
        percent[looks] += 50 * (processor() - before) / (time.monotonic() - begun)
    print(f"live pictures: a device takes {percent[False]:.1f} % of a core without, {percent[True]:.1f} % with one a second of {sum(sizes) // len(sizes)} bytes")


def demo(browser, args, wrong):
    folder = tempfile.mkdtemp(prefix="swsync-demo-")
    # A desktop whose browser notes what it is to open. Presets are kept in the folder too.
    opened = Path(folder) / "opened"
    opener = Path(folder) / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    opener.chmod(0o755)
    environment = {**os.environ, "DISPLAY": ":99", "PATH": f"{opener.parent}:{os.environ['PATH']}", "XDG_CONFIG_HOME": f"{folder}/config"}
    program = Program(["swsync", "demo", "--dashboard", "--listen", f"127.0.0.1:{free_port()}", "--out", folder], env=environment)
    try:
        said = "".join(program.lines)
        print(said)
        deadline = time.monotonic() + 20
        while not opened.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        if not opened.exists() or opened.read_text().split() != [program.url]:
            wrong.append(f"the page of the demo is not opened on a desktop: {opened.exists() and opened.read_text()!r}")
        if "Ctrl-C" not in said:
            wrong.append(f"the demo does not say how it ends: {said}")
        devices = [pid for pid, command in program.descendants().items() if "gst-launch-1.0" in command and "setpriv" not in command.split(" ")[0]]
        page = next(command for command in program.descendants().values() if "swsync-dashboard" in command and "--connect" in command)
        rig = re.search(r"--rig (\S+) --connect (\S+)", page).groups()
        swsync = lambda *words: subprocess.run(["swsync", *words, "--rig", rig[0], "--connect", rig[1]], check=True, stdout=subprocess.DEVNULL)
        options = argparse.Namespace(url=program.url, devices=5, kill=f"kill -KILL {devices[-1]}", pictures=args.pictures, axe=args.axe, swsync=swsync)
        check = Check(browser, options)
        check.wrong = wrong
        lost_connection(check, browser, program.url)
        cost_of_pictures(program, program.url)
        check.run()
    finally:
        left = program.interrupt()
        if left:
            wrong.append(f"after Ctrl-C there still run: {left}")
        program.end()
        shutil.rmtree(folder, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def old_rig(folder):
    """Two cameras whose wall clocks are seven years behind, as those of devices without a clock chip are."""
    time_port, control = free_port(), f"tcp/127.0.0.1:{free_port()}"
    for index, role in enumerate(("role=leader", f"role=client leader=127.0.0.1:{time_port}")):
        environment = {**os.environ, "SWSYNC_SIMULATED_CLOCK": f"offset={index}.5s,wall=-220000000s", "SWSYNC_RIG": "old", "SWSYNC_MAX_ERROR": "none",
                       "SWSYNC_CONNECT" if index else "SWSYNC_LISTEN": control}
        line = f"swsyncclock {role} {'' if index else f'bind-address=127.0.0.1 port={time_port}'} swsyncsrc backend=simulated simulated-seed={index + 1} simulated-view={index + 1}"
        line += f" ! video/x-raw,width=320,height=240,framerate=30/1 ! videoconvert ! jpegenc ! swsyncsink device-id=old{index} location={folder}/shots"
        with open(f"{folder}/old{index}.log", "w") as log:
            yield subprocess.Popen(["gst-launch-1.0", "-e", *line.split()], env=environment, stdout=log, stderr=log)
    yield control


def date(browser, args, wrong):
    """The page sees that rig time is years behind, and gives its own date: takes have it from then on, and no frame moves."""
    folder = tempfile.mkdtemp(prefix="swsync-date-")
    *devices, control = old_rig(folder)
    command = ["swsync", "dashboard", "--listen", "127.0.0.1:0", "--rig", "old", "--connect", control]
    program = Program(command)
    try:
        check = Check(browser, argparse.Namespace(url=program.url, devices=2, kill=None, pictures=args.pictures, axe=args.axe))
        check.wrong = wrong
        phone, desk = check.open(**PHONE), check.open(**DESK, color_scheme="dark")
        check.shoot(desk)
        for name, page in (("phone", phone), ("desk-dark", desk)):
            page.wait_for_selector("#date.offer", timeout=20_000)
            check.accessible(page, f"the offer of a date, {name}")
            check.picture(page, f"date-offer-{name}")
        offered = phone.inner_text("#date")
        check.expect(f"how far behind is not told: {offered!r}", re.search(r"ahead of rig time", offered) and "2546 d" in offered)
        phone.click("#give-date")
        phone.wait_for_selector("#date .good", timeout=20_000)
        check.picture(phone, "date-given-phone")
        # The other operator sees it too, and is not asked any more.
        desk.wait_for_selector("#dated:not([hidden])", timeout=10_000)
        desk.wait_for_selector("#date[hidden]", state="attached", timeout=10_000)
        said = desk.inner_text("#dated")
        print(said)
        uncertainty = float(re.search(r"± ([\d.]+) ms", said).group(1))
        check.expect(f"the date is known to {uncertainty} ms, on one machine", uncertainty < 1000)
        check.shoot(desk)
        first = desk.locator("#results article").first
        check.expect(f"the result does not say that its date was told: {first.inner_text()!r}", "as browser at 127.0.0.1 said" in first.inner_text())
        order = first.get_attribute("data-order")
        for device in ("old0", "old1"):
            take = json.loads(Path(f"{folder}/shots/{order}/{device}/take.json").read_text())
            told = (take["started_ns"] + take["date"]["utc_ns"] - take["date"]["rig_time_ns"]) / 1e9
            check.expect(f"the date of {device}'s take is {told - time.time():.1f} s off", -120 < told - time.time() < 1)
            for line in Path(f"{folder}/shots/{order}/{device}/frames.jsonl").read_text().splitlines():
                frame = json.loads(line)
                check.expect(f"a frame was moved: {line}", frame["number"] == round(frame["rig_time_ns"] * 30 / 1e9) and frame["rig_time_ns"] / 1e9 < time.time() - 2e8
                             and str(frame["number"]) in frame["file"])
        for name, page in (("desk-dark", desk), ("phone", phone)):
            check.go(page, "takes", "#takes table")
            check.expect(f"takes without the date, {name}: {page.inner_text('#takes')!r}", page.locator("#takes .dated").count() == page.locator("#takes tbody tr").count() >= 2)
            check.accessible(page, f"dated takes, {name}")
            check.picture(page, f"date-takes-{name}")
        desk.click("#takes tbody tr:first-child a")
        desk.wait_for_selector("#takes figure", timeout=30_000)
        check.picture(desk, "date-take-desk-dark")
        # Another dashboard has it from the devices.
        program.end()
        program = Program(command)
        page = browser.new_context(**PHONE).new_page()
        page.goto(program.url)
        page.wait_for_selector("#dated:not([hidden])", timeout=30_000)
    finally:
        program.end()
        for device in devices:
            device.kill()
            device.wait()
        shutil.rmtree(folder, ignore_errors=True)


def stubs(browser, args, wrong):
    """30 devices: all of them are on the page of a phone and of a desk, in reading order, and their pictures are those on the screen."""
    command = [args.stubs, "--ignored", "--exact", "--nocapture", "a_rig_to_look_at"]
    program = Program(command, stdin=subprocess.PIPE, env={**os.environ, "SWSYNC_STUBS": "30"})
    try:
        check = Check(browser, argparse.Namespace(url=program.url, devices=30, kill=None, pictures=args.pictures, axe=args.axe))
        check.wrong = wrong
        for name, options in (("phone", {**PHONE}), ("desk-dark", {**DESK, "color_scheme": "dark"}), ("desk", {**DESK})):
            page = check.open(**options)
            asked = []
            page.on("request", lambda request: asked.append(request.url) if "/thumbnail" in request.url else None)
            time.sleep(1.5)  # longer than from one picture to the next
            if asked:
                wrong.append(f"{name}: pictures are asked for although no device is on the screen")
            check.go(page, "devices", ".tile")
            wait_until(page, "document.querySelectorAll('.tile').length === 30")
            page.wait_for_selector(".tile img:not([hidden])", timeout=20_000)
            check.accessible(page, f"30 devices, {name}")
            check.picture(page, f"thirty-{name}")
            if evaluate(page, "document.documentElement.scrollWidth > innerWidth"):
                wrong.append(f"{name}: 30 devices are wider than the screen")
            seen = {re.search(r"devices/([^/]+)/", url).group(1) for url in asked}
            if name == "phone" and len(seen) >= 30:
                wrong.append(f"{name}: pictures of all devices are asked for, and not of those on the screen")
            print(f"{name}: pictures of {len(seen)} of 30 devices were asked for")
            page.uncheck("#pictures input")
            page.wait_for_selector(".live[hidden]", state="attached")
            count = len(asked)
            time.sleep(1.5)
            if len(asked) > count + 1:
                wrong.append(f"{name}: pictures are asked for although they are switched off")
            page.context.close()
    finally:
        program.end()


def api(_browser, args, wrong):
    """Made-up requests, by what the description says of them, against the server."""
    command = [args.stubs, "--ignored", "--exact", "--nocapture", "a_rig_to_look_at"]
    program = Program(command, stdin=subprocess.PIPE, env={**os.environ, "SWSYNC_STUBS": "2"})
    try:
        url = program.url.split("#")[0].rstrip("/")
        schemathesis = str(Path(sys.executable).with_name("schemathesis"))
        # Events never end, and each address may ask only so often: 429 is an answer like others.
        config = str(Path(__file__).with_name("schemathesis.toml"))
        command = [schemathesis, "--config-file", config, "run", f"{url}/api/v1/openapi.json", "--exclude-path", "/api/v1/events", "--checks",
                   "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
                   "--phases", "coverage,fuzzing", "--max-examples", "15", "--rate-limit", "5/s", "--seed", "1",
                   "--request-timeout", "20", "--generation-database", "none"]
        code = subprocess.run(command, timeout=1800).returncode
        if code:
            wrong.append(f"schemathesis found differences between server and description (exit code {code})")
    finally:
        program.end()


def rendered(lines):
    """Half blocks of a terminal with light letters on black, as a picture: each pixel of the code is 8 by 8."""
    import numpy

    light = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    rows = []
    for line in lines:
        rows.append([light[letter][0] for letter in line])
        rows.append([light[letter][1] for letter in line])
    picture = numpy.array(rows, dtype=numpy.uint8) * 255
    picture = numpy.kron(picture, numpy.ones((8, 8), dtype=numpy.uint8))
    # Beyond the lines the terminal is black.
    return numpy.pad(picture, 64)


def qr(browser, args, wrong):
    import cv2

    folder = tempfile.mkdtemp(prefix="swsync-qr-")
    key = Path(folder) / "rig.key"
    subprocess.run(["swsync", "key", "new", str(key)], check=True, stdout=subprocess.DEVNULL)
    command = ["swsync", "dashboard", "--listen", "127.0.0.1:0", "--key-file", str(key)]
    program = Program(command)
    try:
        code = [line.rstrip("\n") for line in program.lines if set(line) & set("▀▄█")]
        width = max(len(line) for line in code)
        picture = rendered([line.ljust(width) for line in code])
        for name, one in (("as the terminal shows it", picture), ("inverted", 255 - picture)):
            text, *_ = cv2.QRCodeDetector().detectAndDecode(one)
            print(f"QR code {name}: {'read' if text else 'not read'}")
            if text == program.url:
                break
        else:
            wrong.append(f"the QR code does not read as {program.url}: {text!r}")
        page = browser.new_context(**PHONE).new_page()
        page.goto(text)
        # No device is there, but whoever has logged in is told so; the token does not stay in the address.
        wait_until(page, "document.getElementById('view-login').hidden && document.getElementById('summary').textContent.includes('rig')")
        if "token" in page.url:
            wrong.append("the token stays in the address")
        other = browser.new_context(**PHONE).new_page()
        other.goto(text.split("#")[0])
        other.wait_for_selector("#view-login:not([hidden])", timeout=20_000)
    finally:
        program.end()
        shutil.rmtree(folder, ignore_errors=True)


PARTS = {"demo": demo, "date": date, "stubs": stubs, "api": api, "qr": qr}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures")
    parser.add_argument("--stubs", default="dashboard-stubs")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    args = parser.parse_args()
    try:
        import axe_playwright_python

        args.axe = str(next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")))
    except (ImportError, StopIteration):
        raise SystemExit("error: axe-playwright-python is not installed (tools/python-dashboard.txt)")
    if args.pictures:
        os.makedirs(args.pictures, exist_ok=True)
    wrong = []
    with sync_playwright() as playwright:
        for part in args.parts or PARTS:
            print(f"--- {part}", flush=True)
            browser = dashboard_browser.launch(playwright)
            begun = time.monotonic()
            try:
                PARTS[part](browser, args, wrong)
            except Exception as error:  # the other parts are tried all the same
                wrong.append(f"{part}: {type(error).__name__}: {error}")
                traceback.print_exc()
            print(f"--- {part}: {time.monotonic() - begun:.0f} s", flush=True)
            browser.close()
    for what in wrong:
        print(f"error: {what}", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
