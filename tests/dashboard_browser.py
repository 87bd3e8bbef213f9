#!/usr/bin/env python3
"""The dashboard's page in a real Chromium, beside a rig that runs.

    tests/dashboard_browser.py URL DEVICES [--kill COMMAND] [--pictures FOLDER] [--axe axe.min.js]

URL: where the page is (`./x demo --dashboard`). DEVICES: how many cameras the rig has. COMMAND ends one device of the rig, which has to
turn on the page. With --pictures, screenshots are written there. Needs Playwright for Python, and Debian's chromium ($CHROMIUM).
"""

import argparse
import os
import sys
import time

from playwright.sync_api import TimeoutError as TimeoutError_
from playwright.sync_api import sync_playwright

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1, "has_touch": True}
DESK = {"viewport": {"width": 1280, "height": 860}}
VIEWS = {"shoot": "#shutter", "devices": ".tile", "takes": "#takes table", "settings": "#settings-used table", "plots": "svg.plot"}


class Check:
    def __init__(self, browser, args):
        self.browser, self.args, self.wrong = browser, args, []

    def open(self, **options):
        # The page's own policy is on, but for axe, which has to be added to the page.
        page = self.browser.new_context(bypass_csp=bool(self.args.axe), **options).new_page()
        page.on("pageerror", lambda error: self.wrong.append(f"error on the page: {error}"))
        page.on("request", lambda request: self.check_request(request.url))
        page.goto(self.args.url)
        page.wait_for_selector("#readiness .good", timeout=60_000)
        return page

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
        page.evaluate(open(self.args.axe).read())
        for violation in page.evaluate("axe.run()")["violations"]:
            targets = [node["target"] for node in violation["nodes"]][:3]
            self.wrong.append(f"{what}: axe {violation['id']} ({violation['impact']}): {targets}")

    def picture(self, page, name):
        if self.args.pictures:
            page.screenshot(path=os.path.join(self.args.pictures, f"dashboard-{name}.png"))

    def shoot(self, page):
        """Presses the shutter: five cameras, five files, five pictures. Cameras drop a frame now and then, and the page says so; then again."""
        for attempt in range(5):
            known = page.locator("#results article")
            known = known.first.get_attribute("data-order") if known.count() else ""
            self.press(page, f"#results article:first-child:not([data-order='{known}'])")
            first = page.locator("#results article").first
            shown = first.locator("img").count()
            missed = first.locator(".picture.missed").count()
            if shown == self.args.devices:
                return
            if shown + missed != self.args.devices:
                break
        self.wrong.append(f"{shown} pictures of {self.args.devices} devices: {first.inner_text()}")

    def press(self, page, article):
        """Presses until there is a result. On a busy machine a device may not be ready for a moment: then nothing is taken, and the page says why."""
        for attempt in range(5):
            page.wait_for_selector("#readiness .good", timeout=60_000)
            page.click("#shutter")
            try:
                return page.wait_for_selector(f"{article}[data-stage=done] [data-elapsed]", timeout=20_000)
            except TimeoutError_ as error:
                print(f"attempt {attempt}: no result: {page.locator('.press').inner_text()!r}, {page.locator('#results article').first.inner_text()!r}")
                last = error
        raise last

    def press_again_and_again(self, page, times):
        elapsed = []
        for _ in range(times):
            known = page.locator("#results article").first.get_attribute("data-order")
            self.press(page, f"#results article:first-child:not([data-order='{known}'])")
            elapsed.append(int(page.locator("#results [data-elapsed]").first.get_attribute("data-elapsed")))
        elapsed.sort()
        print(f"press to last picture: median {elapsed[len(elapsed) // 2]} ms, 95 % within {elapsed[int(len(elapsed) * 0.95)]} ms, of {times}")

    def record(self, page):
        page.click("text=Video")
        page.click("#shutter")
        page.wait_for_selector("#shutter-text:has-text('Stop')", timeout=20_000)
        page.wait_for_function("/^0:0[1-9]/.test(document.getElementById('shutter-timer').textContent)", timeout=20_000)
        page.click("#shutter")
        page.wait_for_selector("#results article:first-child[data-order^=take][data-stage=done]", timeout=60_000)
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

    def live(self, page):
        """Each device has a picture, and another one soon after."""
        page.wait_for_function(f"document.querySelectorAll('.tile img:not([hidden])').length === {self.args.devices}", timeout=20_000)
        source = page.get_attribute(".tile:first-child img", "src")
        page.wait_for_function(f"document.querySelector('.tile:first-child img').src !== {source!r}", timeout=10_000)

    def kill(self, page):
        self.go(page, "devices", ".tile")
        page.wait_for_selector(".tile.ready", timeout=10_000)
        ready = page.locator(".tile.ready").count()
        os.system(self.args.kill)
        page.wait_for_function(f"document.querySelectorAll('.tile.ready').length === {ready - 1}", timeout=60_000)
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
        self.press_again_and_again(desk, 20)
        desk.focus("#shutter")
        desk.keyboard.press("Enter")
        self.record(desk)
        self.take(desk)
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
