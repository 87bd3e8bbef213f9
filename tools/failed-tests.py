#!/usr/bin/env python3
"""Which tests failed, of what `cargo test --no-fail-fast` printed.

Usage: failed-tests.py LOG. Prints a line for each test binary with a failure: the arguments for cargo test, then `--exact` and
the failed tests' names. Prints nothing and exits with 1 if one of the failures is a fault for certain: a binary that ended
early, a documentation test, or a test that knows no other time than the simulated one.
"""

import re
import sys
from pathlib import Path

# Crates whose tests do the same whatever else the machine does.
TIMELESS = ("swsync-core", "swsync-sim", "swsync-fuzz-properties")


def failed(log):
    """Yields (arguments of cargo, names of tests) for each binary with a failure."""
    names = []
    for line in log.splitlines():
        if line == "failures:":
            # Comes twice: with the output of each test, then as the bare list.
            names = []
        elif re.fullmatch(r"    \S+", line):
            names.append(line.strip())
        elif result := re.match(r"test result: FAILED\. \d+ passed; (\d+) failed;", line):
            if len(names) != int(result[1]):
                names = []
        elif again := re.match(r"error: test failed, to rerun pass `(.*)`", line):
            yield again[1].split(), names
            names = []


def main():
    found = list(failed(Path(sys.argv[1]).read_text(errors="replace")))
    if not found:
        sys.exit(1)
    for arguments, names in found:
        if not names or "--doc" in arguments or any(crate in arguments for crate in TIMELESS):
            sys.exit(1)
    for arguments, names in found:
        # Of all crates: for one alone cargo would choose other features of dependencies, and build them all again.
        which = arguments[2:] if arguments[0] == "-p" else arguments
        print("--workspace", *which, "--", "--exact", *names)


main()
