"""Checks examples/pico: runs the PIO programs of panel.py cycle by cycle, and compiles the other one.

Usage: pico_panel.py FOLDER-OF-THE-EXAMPLES. Only instructions that panel.py uses are known here (RP2040 datasheet,
section 3.4): a change of the program that needs others fails.
"""

import sys
import types
from pathlib import Path

SLOT_NS = 200_000


class Instruction:
    def __init__(self, name, arguments):
        self.name, self.arguments, self.delay = name, arguments, 0

    def __getitem__(self, delay):
        assert 0 <= delay <= 31, f"a delay of {delay} does not fit into five bits"
        self.delay = delay
        return self


class Program:
    """What rp2.asm_pio makes of a function."""

    def __init__(self, function):
        self.code, self.labels, self.target, self.end = [], {}, 0, None
        names = ["x", "y", "pins", "isr", "null", "y_dec"]
        scope = {name: name for name in names}
        for name in ("set", "mov", "in_", "nop", "jmp", "wait", "irq"):
            scope[name] = self.recorder(name)
        scope["label"] = lambda name: self.labels.__setitem__(name, len(self.code))
        scope["wrap_target"] = lambda: setattr(self, "target", len(self.code))
        scope["wrap"] = lambda: setattr(self, "end", len(self.code) - 1)
        exec_in = types.FunctionType(function.__code__, scope)
        exec_in()

    def recorder(self, name):
        def record(*arguments):
            instruction = Instruction(name, arguments)
            self.code.append(instruction)
            return instruction

        return record


class Machine:
    """One state machine."""

    def __init__(self, program, period_ns):
        self.program, self.period_ns = program, period_ns
        self.at, self.now_ns, self.pins = program.target, 0, 0
        self.registers = {"x": 0, "y": 0, "isr": 0, "null": 0}

    def step(self, flags, changes):
        instruction = self.program.code[self.at]
        after = self.program.target if self.at == self.program.end else self.at + 1
        match instruction.name, instruction.arguments:
            case "set", (register, value):
                self.registers[register] = value
            case "mov", ("pins", register):
                self.pins = self.registers[register] & 0x3FF
                changes.append((self.now_ns, self.pins))
            case "mov", (to, register):
                self.registers[to] = self.registers[register]
            case "in_", ("null", bits):
                self.registers["isr"] = self.registers["isr"] << bits & 0xFFFF_FFFF
            case "nop", ():
                pass
            case "irq", (flag,):
                flags.add(flag)
            case "wait", (1, _, flag):
                if flag not in flags:
                    self.now_ns += self.period_ns
                    return
                flags.discard(flag)
            case "jmp", ("y_dec", label):
                if self.registers["y"]:
                    after = self.program.labels[label]
                self.registers["y"] = (self.registers["y"] - 1) & 0xFFFF_FFFF
            case "jmp", (label,):
                after = self.program.labels[label]
            case other:
                raise AssertionError(f"unknown instruction {other}")
        self.now_ns += self.period_ns * (1 + instruction.delay)
        self.at = after


def load(path):
    """Runs panel.py with stand-ins for the board's modules. Returns the programs and frequencies of its state machines."""
    machines = {}

    class StateMachine:
        def __init__(self, number, program, freq=125_000_000, out_base=None):
            machines[number] = (program, freq, out_base)

        def active(self, on):
            assert on == 1

    rp2 = types.ModuleType("rp2")
    rp2.PIO = types.SimpleNamespace(OUT_LOW=0, SHIFT_LEFT=0)
    rp2.asm_pio = lambda **_: Program
    rp2.StateMachine = StateMachine

    class Pin:
        OUT = 1

        def __init__(self, name, _mode=None):
            self.name = name

        def on(self):
            pass

    machine = types.ModuleType("machine")
    machine.Pin = Pin
    sys.modules.update(rp2=rp2, machine=machine)
    scope = {}
    # `irq` is both an instruction and what `wait` waits for: only the call counts.
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return machines


def main():
    folder = Path(sys.argv[1])
    (fast, hz, fast_pins), (slow, slow_hz, slow_pins) = (load(folder / "panel.py")[i] for i in (0, 1))
    assert len(fast.code) + len(slow.code) <= 32, "both programs share one memory"
    assert (fast_pins.name, slow_pins.name) == (0, 10)
    assert 125_000_000 % hz == 0, "the divider is whole: slots do not jitter"
    machines = [Machine(fast, 1_000_000_000 // hz), Machine(slow, 1_000_000_000 // slow_hz)]
    flags, changes = set(), ([], [])
    while machines[0].now_ns < 250 * SLOT_NS:
        first = min((0, 1), key=lambda i: machines[i].now_ns)
        machines[first].step(flags, changes[first])
    for i, (at, pins) in enumerate(changes[0]):
        assert pins == 1 << i % 10, f"slot {i}: {pins:b}"
        assert at == changes[0][0][0] + i * SLOT_NS, f"slot {i} begins at {at} ns"
    assert len(changes[0]) > 240
    # Each period of the fast array begins with the next LED of the slow row, within two microseconds.
    assert len(changes[1]) >= 24, changes[1]
    for i, (at, pins) in enumerate(changes[1]):
        assert pins == 1 << i % 10, f"period {i}: {pins:b}"
        assert abs(at - changes[0][10 * i][0]) < 2_000, f"period {i} begins at {at} ns"
    other = folder / "panel_ws2812.py"
    compile(other.read_text(), str(other), "exec")
    print("the panel keeps its slots")


main()
