#!/usr/bin/env python3
"""Whether machine.py and tests.py do what they say, without a virtual machine: a program of this test's own stands in for QEMU.

Run by `./x test` (tools/check-x.sh).
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).parent
# Finds the folder that the machine shares with its host among its arguments.
QEMU = """#!/bin/sh
for word; do case $word in *,id=job,path=*) job=${word#*,id=job,path=};; esac; done
echo $$ >"$FAKE/pid"
%s
"""


class Machine(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for name in ("bin", "built", "vm", "kernel"):
            (self.folder / name).mkdir()
        for name in ("swsync", "swsync-media", "swsync-device", "swsync-lab", "libgstswsync.so"):
            (self.folder / "built" / name).touch()
        self.program("gst-inspect-1.0", "#!/bin/sh\n")
        self.program("strip", '#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\ncp -p "$2" "$1"\n')
        self.environment = dict(os.environ, PATH=f"{self.folder}/bin:{os.environ['PATH']}", FAKE=str(self.folder), SWSYNC_VM_KERNEL=str(self.folder / "kernel"),
                                SWSYNC_VM_FOLDER=str(self.folder / "vm"), SWSYNC_VM_BUILT=str(self.folder / "built"))

    def program(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def command(self, *arguments):
        return [sys.executable, str(HERE / "machine.py"), *arguments]

    def run_machine(self, qemu, *arguments):
        self.program("qemu-system-x86_64", QEMU % qemu)
        return subprocess.run(self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=60)

    def nothing_is_left(self):
        pid = int((self.folder / "pid").read_text())
        self.assertFalse(pathlib.Path(f"/proc/{pid}").exists(), "QEMU is left")
        self.assertEqual(list((self.folder / "vm").glob("job-*")), [], "the machine's folder is left")

    def test_output_files_and_exit_code_come_back(self):
        out = self.folder / "out"
        ran = self.run_machine('grep -q "exec uname -a" "$job/run.sh" || exit 1; echo said >>"$job/stdout"; echo kept >"$job/out/file"; echo 7 >"$job/code"', "--out", str(out), "uname", "-a")
        self.assertEqual((ran.returncode, ran.stdout), (7, "said\n"), ran.stderr)
        self.assertEqual((out / "file").read_text(), "kept\n")
        self.nothing_is_left()

    def test_a_machine_that_ends_early_fails_with_what_its_console_said(self):
        ran = self.run_machine('echo "kernel panic" >"$job/console"', "true")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("the machine ended before the command did", ran.stderr)
        self.assertIn("kernel panic", ran.stderr)
        self.nothing_is_left()

    def test_a_machine_that_does_not_end_is_ended(self):
        ran = self.run_machine("exec sleep 60", "--timeout", "0.5", "true")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("(--timeout)", ran.stderr)
        self.nothing_is_left()

    def test_interrupts_leave_nothing(self):
        self.program("qemu-system-x86_64", QEMU % "exec sleep 60")
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            (self.folder / "pid").unlink(missing_ok=True)
            process = subprocess.Popen(self.command("true"), env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            end = time.monotonic() + 60
            while not ((self.folder / "pid").exists() and (self.folder / "pid").read_text()) and time.monotonic() < end:
                time.sleep(0.01)
            process.send_signal(number)
            self.assertEqual((process.communicate(timeout=60)[1], process.returncode), ("", code))
            self.nothing_is_left()

    def test_without_qemu_it_says_so(self):
        for name in ("gst-inspect-1.0", "strip"):
            (self.folder / "bin" / name).unlink()
        self.environment["PATH"] = str(self.folder / "bin")
        ran = subprocess.run(self.command("true"), env=self.environment, capture_output=True, text=True)
        self.assertEqual(ran.returncode, 1)
        self.assertIn("there is no qemu-system-x86_64", ran.stderr)
        self.assertIn("tools/packages-vm.txt", ran.stderr)

    def test_bad_arguments_say_what_is_possible(self):
        for arguments, text in [(["--disk", "nowhere", "true"], "truncate -s 256M nowhere"), ([], "there is no command to run"), (["--memory", "much", "true"], "--memory")]:
            ran = subprocess.run(self.command(*arguments), env=self.environment, capture_output=True, text=True)
            self.assertEqual(ran.returncode, 2)
            self.assertIn(text, ran.stderr)
        ran = subprocess.run([sys.executable, str(HERE / "tests.py"), "weather"], env=self.environment, capture_output=True, text=True)
        self.assertEqual(ran.returncode, 1)
        self.assertIn("there is no test weather; there are links", ran.stderr)


if __name__ == "__main__":
    unittest.main()
