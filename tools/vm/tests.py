#!/usr/bin/env python3
"""The tests that need a real kernel, each in a virtual machine of its own: what `./x vm test [--at-once N] [NAME...]` calls.

Prints a table a test, and leaves all rows as results.json and results.md. Exit code 1 if anything is not as expected.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
FOLDER = pathlib.Path(os.environ["SWSYNC_VM_FOLDER"])
# Name, its program and arguments in the machine, how the machine is to be, seconds until it is ended: several times as long as it
# takes, as the computer may be busy. The tests themselves go by the machine's clock.
TESTS = {
    "links": (["links.py"], [], 1800),
    "clocks": (["clocks.py"], [], 2700),
    "wifi": (["wifi.py"], [], 2700),
    "power": (["power.py", "ext4"], ["--power"], 1800),
    "power-vfat": (["power.py", "vfat"], ["--power"], 1800),
    "power-exfat": (["power.py", "exfat"], ["--power"], 1800),
    "suspend": (["suspend.py"], ["--real-time"], 900),
    "suspend-one": (["suspend_one.py"], ["--two"], 900),
    "camera": (["camera.py"], [], 1800),
    "overload": (["overload.py"], [], 1800),
}


def start_machine(program, options, seconds, out):
    command = [sys.executable, HERE / "machine.py", "--out", out, "--timeout", str(seconds), *options]
    return subprocess.Popen([*command, "python3", str(HERE / "lab" / program[0]), *program[1:]])


def run_machine(program, options, seconds, out):
    return start_machine(program, options, seconds, out).wait()


def run_two(program, seconds, out):
    """Two machines with a wire between them: a leader and a client. The client's word counts; the leader goes when it has ended."""
    with tempfile.TemporaryDirectory(prefix="wire-", dir=FOLDER) as folder:
        ends = [f"{folder}/leader", f"{folder}/client"]
        leader = start_machine([*program, "leader"], ["--real-time", "--wire", *ends], seconds, out.with_name(f"{out.name}-leader"))
        try:
            return run_machine([*program, "client"], ["--real-time", "--wire", *reversed(ends)], seconds, out)
        finally:
            leader.terminate()
            leader.wait()


def run_power(name, program, seconds, out):
    """In the machine the disk is written to; what a power cut makes of it is looked at here, or where only the kernel can read it in another machine."""
    disks = [FOLDER / f"{name}-disk.img", FOLDER / f"{name}-writes.img"]
    again = FOLDER / "tests" / f"{name}-replay"
    try:
        for disk, size in zip(disks, (128 << 20, 2 << 30)):
            with disk.open("wb") as file:
                file.truncate(size)
        options = [word for disk in disks for word in ("--disk", str(disk))]
        code = run_machine(program, options, seconds, out)
        kind, replay = program[1], HERE / "lab" / "power_replay.py"
        if code == 0 and kind == "exfat":
            code = run_machine([replay.name, kind, *map(str, disks), str(out)], [], seconds, again)
            for file in again.glob("*.json"):
                shutil.copy(file, out)
        elif code == 0:
            code = subprocess.run([sys.executable, replay, kind, *disks, out], cwd=out).returncode
        return code
    finally:
        for path in [*disks, out / "current.img", out / "copy.img"]:
            path.unlink(missing_ok=True)


def run_test(name):
    """The rows of a test. One that did not come to its end has a row that says so."""
    program, options, seconds = TESTS[name]
    out, begun = FOLDER / "tests" / name, time.monotonic()
    print(f"\n==> {name}", flush=True)
    if options == ["--power"]:
        code = run_power(name, program, seconds, out)
    elif options == ["--two"]:
        code = run_two(program, seconds, out)
    else:
        code = run_machine(program, options, seconds, out)
    files = sorted(out.glob("*.json"))
    rows = [row for file in files for row in json.loads(file.read_text())["rows"]]
    if not rows or (code != 0 and all(row["ok"] for row in rows)):
        rows.append(dict(fault="the test itself", expected="it comes to its end", observed=f"exit code {code}: see {out}", ok=False, figures={}))
    return dict(test=name, seconds=round(time.monotonic() - begun), rows=rows)


def table(result):
    """The rows as a table of Markdown."""
    lines = [f"### {result['test']}", "", f"`./x vm test {result['test']}` ({result['seconds']} s)", "", "| fault | expected | observed | |", "| --- | --- | --- | --- |"]
    lines += [f"| {row['fault']} | {row['expected']} | {row['observed']} | {'ok' if row['ok'] else '**not so**'} |" for row in result["rows"]]
    return "\n".join(lines) + "\n"


def keep(results, result):
    """Takes down a result, so that a run that is ended has shown something."""
    results[result["test"]] = result
    (FOLDER / "results.json").write_text(json.dumps(list(results.values()), indent=1))
    (FOLDER / "results.md").write_text("\n".join(map(table, results.values())))


def main(arguments):
    parser = argparse.ArgumentParser(prog="x vm test", add_help=False)
    parser.add_argument("--at-once", type=int, default=min(2, os.cpu_count() or 1), metavar="N")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys(options.names)) or list(TESTS)
    if unknown := [name for name in names if name not in TESTS]:
        sys.exit(f"x: there is no test {unknown[0]}; there are {', '.join(TESTS)}")
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    results = {}
    # A machine has one processor. Those that keep pace with this computer run alone.
    at_once = [name for name in names if TESTS[name][1] not in (["--real-time"], ["--two"])]
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, options.at_once)) as pool:
        for result in pool.map(run_test, at_once):
            keep(results, result)
    for name in names:
        if name not in results:
            keep(results, run_test(name))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    results = [results[name] for name in names]
    print("\n" + "\n".join(map(table, results)))
    print(f"x: {len(results)} tests took {time.monotonic() - begun:.0f} s, {processor:.0f} s of processor time", file=sys.stderr)
    print(f"x: also in {FOLDER}/results.md and results.json", file=sys.stderr)
    sys.exit(0 if all(row["ok"] for result in results for row in result["rows"]) else 1)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
