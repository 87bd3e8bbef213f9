"""The LED panel for a Raspberry Pi Pico: slots of exactly 200 us, by PIO. MicroPython.

Copy it to the board as main.py (`mpremote cp panel.py :main.py`). It runs as soon as the board has power, without a
computer. README.md has the wiring, and what can be proven with it.

One column of the fast array is lit at a time, for SLOT_US. The slow row has ten LEDs, each lit for a period of the fast
array. The two state machines keep that to a cycle of the crystal, whatever Python does meanwhile.
"""

import machine
import rp2

SLOT_US = 200
# Ten pins in a row each.
FAST_PINS = 0
SLOW_PINS = 10

# Cycles of the program `fast` per slot.
CYCLES = 200


@rp2.asm_pio(out_init=(rp2.PIO.OUT_LOW,) * 10, in_shiftdir=rp2.PIO.SHIFT_LEFT)
def fast():
    wrap_target()
    set(x, 1)  # column 0
    set(y, 9)
    irq(4)  # a period begins: the slow row moves on, one cycle early
    label("show")
    mov(pins, x)[31]
    mov(isr, x)[31]
    in_(null, 1)[31]  # the next column
    mov(x, isr)[31]
    nop()[31]
    nop()[4]
    jmp(y_dec, "pause")[31]
    wrap()
    label("pause")
    nop()[1]  # as long as the three instructions above "show"
    jmp("show")


@rp2.asm_pio(out_init=(rp2.PIO.OUT_LOW,) * 10, in_shiftdir=rp2.PIO.SHIFT_LEFT)
def slow():
    wrap_target()
    set(x, 1)
    set(y, 9)
    label("next")
    wait(1, irq, 4)
    mov(pins, x)
    mov(isr, x)
    in_(null, 1)
    mov(x, isr)
    jmp(y_dec, "next")
    wrap()


# The slow row waits for the fast array, so it starts first.
slow_row = rp2.StateMachine(1, slow, out_base=machine.Pin(SLOW_PINS))
slow_row.active(1)
fast_array = rp2.StateMachine(0, fast, freq=CYCLES * 1_000_000 // SLOT_US, out_base=machine.Pin(FAST_PINS))
fast_array.active(1)

machine.Pin("LED", machine.Pin.OUT).on()  # it runs
