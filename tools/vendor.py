#!/usr/bin/env python3
"""Puts all crates that a workspace takes into a folder beside it, so that it builds without network: vendor.py WORKSPACE.

cargo wants those for other systems to be there too, though it never reads them (a third of the whole, mostly Windows'). Of
them only the manifests stay, with an empty library, as cargo-vendor-filterer does it.
"""

import json
import subprocess
import sys
from pathlib import Path

TARGETS = [f"{machine}-unknown-linux-{libc}" for libc in ("gnu", "musl") for machine in ("x86_64", "aarch64")] + [
    "armv7-unknown-linux-gnueabihf",
]


def cargo(workspace, *args):
    ran = subprocess.run(["cargo", *args], cwd=workspace, capture_output=True)
    if ran.returncode:
        sys.exit(f"cargo {args[0]}: {ran.stderr.decode()}")
    return ran.stdout


def needed(workspace):
    """The crates that building on one of the targets may take, as folders of `cargo vendor --versioned-dirs`."""
    found = set()
    for target in TARGETS:
        metadata = json.loads(cargo(workspace, "metadata", "--locked", "--format-version=1", "--filter-platform", target))
        used = {node["id"] for node in metadata["resolve"]["nodes"]}
        found |= {f"{it['name']}-{it['version']}" for it in metadata["packages"] if it["id"] in used}
    return found


def empty(crate):
    """Leaves what cargo reads to resolve dependencies."""
    checksum = crate / ".cargo-checksum.json"
    package = json.loads(checksum.read_text())["package"]
    files = [path for path in crate.rglob("*") if not path.is_dir() and path not in (checksum, crate / "Cargo.toml")]
    for path in files:
        path.unlink()
    for folder in sorted((path for path in crate.rglob("*") if path.is_dir()), reverse=True):
        folder.rmdir()
    (crate / "src").mkdir()
    (crate / "src/lib.rs").touch()
    checksum.write_text(json.dumps({"files": {}, "package": package}))


def main():
    workspace = Path(sys.argv[1])
    wanted = needed(workspace)
    # With --quiet it would not say either what belongs into the configuration.
    config = cargo(workspace, "vendor", "--locked", "--versioned-dirs", "vendor").decode()
    assert "[source." in config, config
    folders = sorted(path for path in (workspace / "vendor").iterdir() if path.is_dir())
    unused = [path for path in folders if path.name not in wanted]
    # `wanted` without any of them would mean that the names no longer agree.
    if len(folders) - len(unused) < len(folders) // 2:
        sys.exit(f"only {len(folders) - len(unused)} of {len(folders)} crates seem to be needed: cargo's folders have other names")
    for crate in unused:
        empty(crate)
    with (workspace / ".cargo/config.toml").open("a") as file:
        file.write("\n# All crates are beside this, so that no network is needed (`./x dist`).\n" + config)
    print(f"{len(folders) - len(unused)} crates, and the manifests of {len(unused)} for other systems", file=sys.stderr)


if __name__ == "__main__":
    main()
