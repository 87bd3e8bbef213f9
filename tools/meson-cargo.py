#!/usr/bin/env python3
"""Runs cargo for meson: builds the workspace and hands meson the named files.

cargo alone knows which sources a file was built from. It is asked anew whenever one of them
changes, by the dependency file that this writes for ninja; so `meson install`, which is often
run as root, finds nothing to do and needs no cargo.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path


def dependencies(path):
    """The words after the colon of cargo's `target: source source`, spaces still escaped."""
    line = path.read_text().splitlines()[0]
    return line.split(": ", 1)[1] if ": " in line else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cargo", required=True)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--features", default="")
    parser.add_argument("--target-dir", required=True)
    parser.add_argument("--built", default="", help="a folder that has the files already: cargo is not run")
    parser.add_argument("--depfile", required=True)
    parser.add_argument("outputs", nargs="+", help="files wanted, in meson's build folder")
    args = parser.parse_args()

    if args.built:
        for output in map(Path, args.outputs):
            shutil.copy(Path(args.built) / output.name, output)
        Path(args.depfile).write_text(f"{' '.join(args.outputs)}:\n")
        return

    # A target folder set from outside is shared with other builds on purpose.
    target_dir = Path(os.environ.get("CARGO_TARGET_DIR", args.target_dir)).absolute()
    manifest = Path(args.manifest).absolute()
    command = [
        args.cargo, "build", "--workspace", "--locked", "--no-default-features",
        "--features", args.features,
        "--manifest-path", str(manifest),
        "--profile", args.profile,
        "--target-dir", str(target_dir),
    ]
    if "swsync-lab" not in args.outputs:
        command += ["--exclude", "swsync-lab"]
    # cargo looks for .cargo/config.toml from where it runs: it has what crates are compiled with and, in a tarball of `./x dist`, where they are.
    status = subprocess.run(command, cwd=manifest.parent).returncode
    if status != 0:
        sys.exit(status)

    built = target_dir / ("debug" if args.profile == "dev" else args.profile)
    for output in map(Path, args.outputs):
        shutil.copy(built / output.name, output)
    sources = " ".join(dependencies(built / Path(output).with_suffix(".d").name) for output in args.outputs)
    Path(args.depfile).write_text(f"{' '.join(args.outputs)}: {sources}\n")


if __name__ == "__main__":
    main()
