"""The LED panel for a Raspberry Pi Pico and a chain of 115 WS2812 LEDs: slots of 5 ms, for errors of milliseconds.

Copy it to the board as main.py (`mpremote cp panel_ws2812.py :main.py`). README.md has the wiring, and why this panel
cannot prove microseconds.

Order of the chain: the fast array row by row, each from left to right (100), the slow row from left to right (10), the
corner lights top left, top right, bottom right, bottom left (4), the fifth light (1).
"""

import time

import machine
import neopixel

SLOT_US = 5_000
PIN = 0
COLUMNS = ROWS = 10
MARKERS = 5
# Full brightness is the only one at which an LED does not flicker: it dims by switching itself off for a while.
ON = (255, 0, 0)
OFF = (0, 0, 0)

chain = neopixel.NeoPixel(machine.Pin(PIN), COLUMNS * ROWS + COLUMNS + MARKERS)


def prepared():
    """The bytes of all 100 pictures, so that a slot takes no longer than sending them: 115 LEDs of 30 us each."""
    pictures = []
    for slot in range(COLUMNS * COLUMNS):
        for row in range(ROWS):
            for column in range(COLUMNS):
                chain[row * COLUMNS + column] = ON if column == slot % COLUMNS else OFF
        for column in range(COLUMNS):
            chain[ROWS * COLUMNS + column] = ON if column == slot // COLUMNS else OFF
        for marker in range(MARKERS):
            chain[ROWS * COLUMNS + COLUMNS + marker] = ON
        pictures.append(bytes(chain.buf))
    return pictures


def main():
    pictures = prepared()
    slot = 0
    due = time.ticks_us()
    while True:
        while time.ticks_diff(due, time.ticks_us()) > 0:
            pass
        chain.buf[:] = pictures[slot]
        chain.write()
        slot = (slot + 1) % len(pictures)
        due = time.ticks_add(due, SLOT_US)


main()
