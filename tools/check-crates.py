#!/usr/bin/env python3
"""Checks what docs/architecture.md says of the crates and the compiler does not check.

Which crate may import which, what none may depend on, and that each can be packaged. Run by `./x lint`
from the top of the checkout. Reads `cargo metadata` and `cargo tree`, and runs `cargo package`.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

# Which of our crates each of them may import, outside its tests.
ARROWS = {
    "swsync-core": [],
    "swsync-sim": ["swsync-core"],
    "swsync-time": ["swsync-core"],
    "swsync-files": ["swsync-core"],
    "swsync-host": ["swsync-core"],
    "swsync-rig": ["swsync-core", "swsync-files"],
    "swsync-client": ["swsync-core", "swsync-files", "swsync-rig"],
    "gst-plugin-swsync": ["swsync-core", "swsync-time", "swsync-files", "swsync-host", "swsync-rig"],
    "swsync-cli": ["swsync-core", "swsync-files", "swsync-host", "swsync-client"],
    "swsync-media": ["swsync-core", "swsync-files", "swsync-client", "swsync-cli"],
    "swsync-dashboard": ["swsync-core", "swsync-client", "swsync-cli"],
    "swsync-device": [],
    "swsync-lab": None,  # everything
    "swsync-example": ["swsync-client"],
    "swsync-fuzz-properties": ["swsync-core", "swsync-files"],
    "swsync-tests": None,
}

# The crates that may have swsync-sim as well, but only by their feature `simulation`.
SIMULATED = ["swsync-time", "gst-plugin-swsync"]

GSTREAMER = ["gstreamer", "libcamera"]
PICTURES = ["image", "embedded-graphics"]

# What must not be in the whole tree of a crate's dependencies: (crate, cargo's options, crates by the beginning of their names).
FORBIDDEN = [
    ("swsync-core", [], GSTREAMER + PICTURES + ["tokio", "zenoh", "rustix", "nix", "socket2"]),
    ("swsync-sim", [], GSTREAMER + PICTURES + ["tokio", "zenoh", "rustix", "nix", "socket2"]),
    ("swsync-time", [], GSTREAMER + PICTURES + ["zenoh", "swsync-sim"]),
    ("swsync-files", [], GSTREAMER + PICTURES + ["tokio", "zenoh", "swsync-sim"]),
    ("swsync-host", [], GSTREAMER + PICTURES + ["tokio", "zenoh", "swsync-sim"]),
    ("swsync-rig", [], GSTREAMER + PICTURES + ["swsync-sim"]),
    ("swsync-client", [], GSTREAMER + PICTURES + ["swsync-sim"]),
    ("swsync-cli", [], GSTREAMER + PICTURES + ["swsync-sim"]),
    ("swsync-media", [], ["swsync-sim", "libcamera"]),
    ("swsync-dashboard", [], GSTREAMER + ["swsync-sim"]),
    ("gst-plugin-swsync", ["--no-default-features"], PICTURES + ["swsync-sim", "libcamera"]),
    ("gst-plugin-swsync", ["--no-default-features", "--features", "libcamera"], PICTURES + ["swsync-sim"]),
    ("gst-plugin-swsync", ["--no-default-features", "--features", "simulation"], PICTURES + ["libcamera"]),
]


def cargo(*args):
    return subprocess.run(["cargo", *args], check=True, stdout=subprocess.PIPE, text=True).stdout


def check_arrows(packages):
    """Yields what is wrong with the direct dependencies of the workspace's packages."""
    names = {package["name"] for package in packages}
    for name in sorted(names ^ ARROWS.keys()):
        yield f"{name} is in one of Cargo.toml and tools/check-crates.py only"
    for package in packages:
        name, allowed = package["name"], ARROWS.get(package["name"])
        for dependency in package["dependencies"]:
            other = dependency["name"]
            if other not in names or dependency["kind"] is not None or allowed is None or other in allowed:
                continue
            if other != "swsync-sim" or name not in SIMULATED:
                yield f"{name} imports {other}"
            elif not dependency["optional"]:
                yield f"{name} imports {other} without its feature `simulation`"


def check_features(packages):
    """Yields the features that bring swsync-sim in, but for `simulation`."""
    for package in packages:
        if ARROWS.get(package["name"]) is None:
            continue
        for feature, enabled in package["features"].items():
            if feature != "simulation" and any(what.split("/")[0] in ("dep:swsync-sim", "swsync-sim") for what in enabled):
                yield f"{package['name']}: feature {feature} brings swsync-sim in"


def check_trees():
    """Yields what is in a tree of dependencies that must not be there."""
    for name, options, forbidden in FORBIDDEN:
        tree = cargo("tree", "--package", name, "--edges", "normal", "--prefix", "none", *options)
        found = {line.split()[0] for line in tree.splitlines() if line.strip()} - {name}
        for other in sorted(found):
            if any(other == start or other.startswith(start + "-") for start in forbidden):
                yield f"{' '.join([name, *options])} depends on {other}"


def check_includes(packages):
    """Yields files that a crate includes from outside its folder: its package would not have them."""
    for package in packages:
        folder = Path(package["manifest_path"]).parent
        for source in folder.rglob("*.rs"):
            for included in re.findall(r'include(?:_str|_bytes)?!\(\s*"([^"]+)"', source.read_text()):
                if not (source.parent / included).resolve().is_relative_to(folder):
                    yield f"{source.relative_to(folder.parent)} includes {included}, which is not in {package['name']}'s folder"


def check_packaging():
    """Yields what `cargo package` says if it fails. Building the packages again would show nothing more."""
    made = subprocess.run(
        ["cargo", "package", "--workspace", "--no-verify", "--allow-dirty", "--quiet"], stderr=subprocess.PIPE, text=True
    )
    if made.returncode != 0:
        yield f"cargo package: {made.stderr.strip()}"


def main():
    packages = json.loads(cargo("metadata", "--no-deps", "--format-version", "1"))["packages"]
    wrong = [
        *check_arrows(packages),
        *check_features(packages),
        *check_trees(),
        *check_includes(packages),
        *check_packaging(),
    ]
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    if wrong:
        sys.exit("The crates and their arrows: docs/architecture.md. The rules: tools/check-crates.py.")


if __name__ == "__main__":
    main()
