#!/usr/bin/env python3
"""The dashboard's page in a real Chromium, beside a rig that runs.

    tests/dashboard_browser.py URL DEVICES [--kill COMMAND] [--pictures FOLDER] [--axe axe.min.js]

URL: where the page is (`./x demo --dashboard`). DEVICES: how many cameras the rig has. COMMAND ends one device of the rig, which has to
turn on the page. With --pictures, screenshots are written there. Needs Playwright for Python, and Debian's chromium ($CHROMIUM).
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import TimeoutError as TimeoutError_
from playwright.sync_api import sync_playwright

# From the press to the last picture of that instant, in 95 % of all presses.
MOST_MS = 1000
# What devices say if the machine is too busy for their simulated cameras: a frame was lost, or came so late that it was not on the grid.
BUSY = re.compile(r"the camera dropped this frame|the camera was not on the frame grid")
# What the page says of a camera that is set, though not as it should be.
OFF = re.compile(r"off the frame grid since frame \d+|it took effect at frame \d+|it used all of it from frame \d+ on")
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1, "has_touch": True}
DESK = {"viewport": {"width": 1280, "height": 860}}
VIEWS = {"shoot": "#shutter", "devices": ".tile", "takes": "#takes table", "settings": "#settings-used table", "plots": "svg.plot"}


def evaluate(page, expression):
    """What `expression` is on the page. By Chromium's own protocol: what Playwright evaluates, and waits for, is text that it has the page
    evaluate, which the page's policy (no unsafe-eval) rightly forbids."""
    session = page.context.new_cdp_session(page)
    try:
        answer = session.send("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
    finally:
        session.detach()
    if "exceptionDetails" in answer:
        raise RuntimeError(f"{expression[:80]}: {answer['exceptionDetails'].get('exception', {}).get('description', answer)}")
    return answer["result"].get("value")


def wait_until(page, expression, timeout=30.0):
    """Waits until `expression` is true on the page. `timeout` in seconds."""
    deadline = time.monotonic() + timeout
    while not evaluate(page, expression):
        if time.monotonic() > deadline:
            raise TimeoutError_(f"not within {timeout} s: {expression}")
        page.wait_for_timeout(30)  # lets Playwright handle what happens on the page meanwhile


class Check:
    def __init__(self, browser, args):
        self.browser, self.args, self.wrong = browser, args, []

    def open(self, **options):
        page = self.browser.new_context(**options).new_page()
        page.on("console", lambda said: self.check_console(said))
        page.on("pageerror", lambda error: self.wrong.append(f"error on the page: {error}"))
        page.on("request", lambda request: self.check_request(request.url))
        page.goto(self.args.url)
        page.wait_for_selector("#readiness .good", timeout=60_000)
        return page

    def check_console(self, said):
        """What the page's policy forbids is told there."""
        if said.type == "error" and "Content Security Policy" in said.text:
            self.wrong.append(f"against the page's policy: {said.text}")

    def check_request(self, url):
        """Nothing may come from elsewhere."""
        own = self.args.url.split("#")[0].rstrip("/")
        if not url.startswith((own, "data:", "blob:")):
            self.wrong.append(f"a request to {url}")

    def go(self, page, view, selector):
        page.click(f'nav a[href="#{view}"]')
        page.wait_for_selector(f"#view-{view} {selector}" if not selector.startswith("#") else selector, timeout=30_000)

    def accessible(self, page, what):
        if not self.args.axe:
            return
        evaluate(page, f"if (!window.axe) {{ {Path(self.args.axe).read_text()} }}")
        for violation in evaluate(page, "axe.run().then((found) => JSON.parse(JSON.stringify(found.violations)))"):
            targets = [node["target"] for node in violation["nodes"]][:3]
            self.wrong.append(f"{what}: axe {violation['id']} ({violation['impact']}): {targets}")

    def picture(self, page, name):
        if self.args.pictures:
            page.screenshot(path=os.path.join(self.args.pictures, f"dashboard-{name}.png"))

    def shoot(self, page):
        """Presses the shutter once. Returns after how many ms all was shown, and how many devices have a picture of that instant; each of the
        others has to say why it has none."""
        known = page.locator("#results article")
        known = known.first.get_attribute("data-order") if known.count() else ""
        shown = self.press(page, f"#results article:first-child:not([data-order='{known}'])")
        first = page.locator("#results article").first
        alts = [image.get_attribute("alt") for image in first.locator("img").all()]
        instants = {re.match(r"frame (\d+) of ", alt).group(1) for alt in alts}
        loaded = evaluate(page, "[...document.querySelectorAll('#results article:first-child img')].every((image) => image.complete && image.naturalWidth > 100)")
        said = [missed.inner_text() for missed in first.locator(".picture.missed").all()]
        self.expect(f"pictures of several instants side by side: {alts}", len(instants) <= 1)
        self.expect(f"a picture is counted as shown and is not: {alts}", loaded)
        self.expect(f"{len(alts)} pictures and {said} of {self.args.devices} devices: {first.inner_text()}", len(alts) + len(said) == self.args.devices)
        for why in said:
            # What a busy machine does to a simulated camera, which then says so. Any other reason is a fault.
            self.expect(f"a frame is missing, and not because the machine is busy: {why}", BUSY.search(why))
        return int(shown.get_attribute("data-elapsed")), len(alts)

    def press(self, page, article):
        """Presses, and waits for the result. If a device is not ready in that very moment nothing is taken, which the page has to say; then again."""
        for _ in range(5):
            page.wait_for_selector("#readiness .good", timeout=60_000)
            page.click("#shutter")
            done = f"{article}[data-stage=done] [data-elapsed]"
            wait_until(page, f"(document.querySelector({json.dumps(done)}) || document.querySelector('#readiness .bad')) !== null")
            if page.locator(done).count():
                return page.locator(done).first
            why = page.inner_text("#readiness .bad")
            print(f"a press is refused: {why}")
            self.expect(f"a press is refused without a device's reason: {why}", re.match(r"Not taken\. \w+: .", why))
        raise RuntimeError("five presses were refused")

    def shoot_again_and_again(self, page, times):
        """Nearly all presses give a picture of each device, and each press its result within a second. Whatever else runs on the machine only
        adds to that: the best of three rounds counts, and there is a second one only if the first was too slow."""
        for _ in range(3):
            all_ = [self.shoot(page) for _ in range(times)]
            whole = sum(pictures == self.args.devices for _, pictures in all_)
            elapsed = sorted(took for took, _ in all_)
            at = elapsed[math.ceil(times * 0.95) - 1]
            print(f"press to last picture: median {elapsed[times // 2]} ms, 95 % within {at} ms, of {times}; {whole} of {times} presses gave {self.args.devices} pictures of one instant; load {os.getloadavg()[0]:.1f}")
            if at <= MOST_MS:
                break
        self.expect(f"95 % of the presses took {at} ms, which is not within {MOST_MS} ms: {elapsed}", at <= MOST_MS)
        self.expect(f"only {whole} of {times} presses gave a picture of each device", whole >= times * 0.8)

    def record(self, page):
        page.click("text=Video")
        page.click("#shutter")
        page.wait_for_selector("#shutter-text:has-text('Stop')", timeout=20_000)
        wait_until(page, "/^0:0[1-9]/.test(document.getElementById('shutter-timer').textContent)")
        page.click("#shutter")
        page.wait_for_selector("#results article:first-child[data-order^=take][data-stage=done] [data-elapsed]", timeout=60_000, state="attached")
        stills = page.locator("#results article:first-child img").count()
        self.expect(f"a still of the video of {stills} of {self.args.devices} devices: {page.inner_text('#results article:first-child')}", stills == self.args.devices)
        self.picture(page, "video-desk")
        page.click("text=Photo")

    def take(self, page):
        """A reload in a take comes back to its frame."""
        self.go(page, "takes", "#takes table")
        page.click("#takes tbody tr:first-child a")
        page.wait_for_selector("#takes figure", timeout=30_000)
        page.wait_for_selector("#certificate table", state="attached", timeout=30_000)
        back = page.locator("#takes [aria-label='One frame on']")
        if back.count():
            back.click()
        number = page.get_attribute("#takes .frames", "data-number")
        page.reload()
        page.wait_for_selector("#takes figure", timeout=30_000)
        if page.get_attribute("#takes .frames", "data-number") != number:
            self.wrong.append("a reload in a take does not come back to its frame")
        self.accessible(page, "take")
        self.picture(page, "take")
        self.report(page)

    def report(self, page):
        """The report is made, opens in a page of its own under a policy of its own, and leaves no files behind."""
        page.click("#make-report")
        page.wait_for_selector("#open-report", timeout=120_000)
        self.expect(f"the report lacks something: {page.inner_text('#report-said')!r}", page.inner_text("#report-said") == "")
        with page.context.expect_page() as opened:
            page.click("#open-report")
        report = opened.value
        listen = lambda said: self.check_console(said)
        report.on("console", listen)
        report.wait_for_selector("h1", timeout=30_000)
        text = report.inner_text("body")
        self.expect(f"the report is not one: {text[:200]!r}", "One instant on all devices" in text and "Over time" in text)
        pictures = evaluate(report, "[...document.images].filter((image) => image.naturalWidth > 50).length")
        self.expect(f"the report has {pictures} pictures", pictures >= self.args.devices)
        report.remove_listener("console", listen)
        stolen = evaluate(report, "fetch('/api/v1/status').then(() => 'an answer', () => '')")
        self.expect(f"the report's scripts get {stolen} from the dashboard", not stolen)
        self.picture(report, "report-desk")
        report.close()
        left = [folder for root in ("/var/tmp", "/tmp") for folder in os.listdir(root) if folder.startswith("swsync-report-")]
        self.expect(f"files of the report are left: {left}", not left)

    def used(self, page, control):
        """What each camera uses, as the API says."""
        document = evaluate(page, "fetch('/api/v1/settings').then((answer) => answer.json())")
        return {device["device"]: device["used"].get(control) for device in document["devices"]}

    def set(self, page, to, field, text, button="Set at one frame"):
        """Sets a field, and returns what the page says of it, and whether it says that as good."""
        page.select_option("#settings-to", to)
        for name in ("exposure-time", "analogue-gain", "colour-gains", "lens-position"):
            page.fill(f"#set-{name}", text if name == field else "")
        page.click(f"#settings button:has-text('{button}') >> nth=0")
        wait_until(page, "[...document.querySelectorAll('#settings-said p')].some((line) => line.className !== 'faint')")
        said = page.inner_text("#settings-said")
        # On a busy machine a camera may lose its lock meanwhile, or do it a frame early or late. That is not what was asked for, and is said.
        return said, page.locator("#settings-said p.bad").count() == 0 or OFF.search(said) is not None

    def expect(self, what, is_so):
        if not is_so:
            self.wrong.append(what)

    def settings(self, page):
        """All cameras, a group, one; refused values; lock 3A; presets."""
        devices = sorted(self.used(page, "exposure-time"))
        group = devices[:2]
        for place, device in enumerate(group):
            self.args.swsync("name", device, "--group", "left", "--place", str(place))
        wait_until(page, "fetch('/api/v1/settings').then(() => true)")
        page.wait_for_timeout(2500)  # the page hears of groups once a second
        self.go(page, "shoot", "#shutter")
        self.go(page, "settings", "#settings-used table")
        page.wait_for_selector("#settings-to optgroup[label=Groups] option[value=left]", state="attached", timeout=10_000)

        expected = dict.fromkeys(devices, 6000)
        for to, value, meant in (("", 6000, devices), ("left", 5000, group), (devices[-1], 4000, devices[-1:])):
            said, good = self.set(page, to, "exposure-time", str(value))
            expected.update(dict.fromkeys(meant, value))
            used = self.used(page, "exposure-time")
            self.expect(f"exposure {value} for {to or 'all'}: {said!r}, and cameras use {used}", good and f"of {len(meant)} camera" in said
                        and all(abs(used[device] - expected[device]) < 100 for device in devices))
        self.accessible(page, "settings that were set")
        self.picture(page, "settings-set-desk")
        said, good = self.set(page, "", "analogue-gain", "2")
        self.expect(f"gain for all: {said!r}, {self.used(page, 'analogue-gain')}", good and all(abs(gain - 2) < 0.1 for gain in self.used(page, "analogue-gain").values()))

        for text, why in (("999999999", "exposure-time"), ("soon", "is no number")):
            said, good = self.set(page, "", "exposure-time", text)
            self.expect(f"an exposure of {text} is not refused in words: {said!r}", not good and why in said)
            self.expect(f"an exposure of {text} was refused and set all the same: {self.used(page, 'exposure-time')}", self.used(page, "exposure-time")[devices[-1]] == used[devices[-1]])
            if text != "soon":
                self.expect(f"who refuses is not named: {said!r}", all(device in said for device in devices))
                self.accessible(page, "a refused value")
                self.picture(page, "settings-refused-desk")

        said, good = self.set(page, "", None, "", "Lock 3A")
        locked = self.used(page, "exposure-time")
        self.expect(f"lock 3A: {said!r}, {locked}", good and f"of {len(devices)} cameras report the change" in said and len(set(map(round, locked.values()))) == 1)
        page.fill("#preset-name", "noon")
        page.click("#settings button:has-text('Save')")
        page.wait_for_selector("#presets b:has-text('noon')", timeout=20_000)
        self.expect(f"saving a preset: {page.inner_text('#settings-said')!r}", f"noon is saved: what {len(devices)} cameras used." in page.inner_text("#settings-said"))
        said, good = self.set(page, "", "exposure-time", "3000")
        self.expect(f"after lock 3A: {said!r}", good)
        page.select_option("#settings-to", "")
        page.click("#presets p:has-text('noon') button")
        wait_until(page, "[...document.querySelectorAll('#settings-said p')].some((line) => line.className !== 'faint')")
        self.expect(f"applying a preset: {page.inner_text('#settings-said')!r}", re.search(rf"noon from frame \d+ on, for {len(devices)} cameras", page.inner_text("#settings-said")))
        self.expect(f"the preset: {self.used(page, 'exposure-time')} for {locked}",
                    all(abs(value - locked[device]) < 100 for device, value in self.used(page, "exposure-time").items()))
        self.picture(page, "settings-preset-desk")
        said, good = self.set(page, "", None, "", "Unlock 3A")
        self.expect(f"unlock 3A: {said!r}", good and "Unlocked from frame" in said and f"{len(devices)} cameras" in said)

    def live(self, page):
        """Each device has a picture, and another one soon after."""
        wait_until(page, f"document.querySelectorAll('.tile img:not([hidden])').length === {self.args.devices}")
        source = page.get_attribute(".tile:first-child img", "src")
        wait_until(page, f"document.querySelector('.tile:first-child img').getAttribute('src') !== {source!r}")

    def kill(self, page):
        self.go(page, "devices", ".tile")
        page.wait_for_selector(".tile.ready", timeout=10_000)
        ready = page.locator(".tile.ready").count()
        os.system(self.args.kill)
        wait_until(page, f"document.querySelectorAll('.tile.ready').length === {ready - 1}", 60)
        page.click("nav a[href='#shoot']")
        page.wait_for_selector("#readiness .warn", timeout=10_000)
        if page.locator("#shutter").is_enabled():
            self.wrong.append("the shutter is armed although a device is gone")
        self.picture(page, "lost")

    def run(self):
        desk = self.open(**DESK)
        other = self.open(**PHONE, color_scheme="dark")
        self.shoot(desk)
        # Two operators see one truth.
        other.wait_for_selector("#results article[data-stage=done] img", timeout=10_000)
        self.picture(other, "phone-dark")
        self.accessible(other, "phone, dark")
        self.picture(desk, "shoot")
        self.shoot_again_and_again(desk, 40)
        desk.focus("#shutter")
        desk.keyboard.press("Enter")
        self.record(desk)
        self.take(desk)
        self.settings(desk)
        for view, selector in VIEWS.items():
            self.go(desk, view, selector)
            if view == "devices":
                self.live(desk)
            if view == "plots":
                desk.wait_for_selector(".plot .dot", state="attached", timeout=20_000)
            time.sleep(2)  # the first values are there; some more make a picture of plots
            self.accessible(desk, view)
            self.picture(desk, f"{view}-desk")
        self.go(other, "devices", ".tile")
        other.wait_for_selector(".tile img:not([hidden])", timeout=20_000)
        self.picture(other, "devices-phone-dark")
        if self.args.kill:
            self.kill(desk)


def launch(playwright):
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    return playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("devices", type=int)
    parser.add_argument("--kill")
    parser.add_argument("--pictures")
    parser.add_argument("--axe")
    args = parser.parse_args()
    # For the rig that the environment names (SWSYNC_RIG, SWSYNC_CONNECT).
    args.swsync = lambda *words: subprocess.run(["swsync", *words], check=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        check = Check(browser, args)
        check.run()
        browser.close()
    for what in check.wrong:
        print(f"error: {what}", file=sys.stderr)
    sys.exit(bool(check.wrong))


if __name__ == "__main__":
    main()
