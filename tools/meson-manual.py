#!/usr/bin/env python3
"""Installs the manual pages and what makes shells complete, for meson: asks the built swsync for them."""

import os
import subprocess
import sys
from pathlib import Path

# The shells, and where under the data folder each looks for its file.
COMPLETIONS = {
    "bash": "bash-completion/completions/swsync",
    "zsh": "zsh/site-functions/_swsync",
    "fish": "fish/vendor_completions.d/swsync.fish",
}


def main():
    swsync, mandir, datadir = sys.argv[1:]
    root = Path(os.environ["MESON_INSTALL_DESTDIR_PREFIX"])
    subprocess.run([swsync, "man", "--out", root / mandir / "man1"], check=True)
    for shell, name in COMPLETIONS.items():
        path = root / datadir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(subprocess.run([swsync, "completions", shell], check=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
