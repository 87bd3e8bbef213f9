"""A UVC camera in user space: usb_camera.py PICTURE.jpg PPM SERIAL PORT bulk|isochronous. YUYV and MJPEG, 320x240, a clock that is PPM fast.

It is plugged into the kernel by USB/IP's vhci_hcd over a pair of sockets. Most cameras have an isochronous endpoint: each request of
uvcvideo's is for some packets, of which there is one in each microframe, empty or not. Some have a bulk endpoint, where a request waits
until there is something to send. Commands come on standard input: `unplug`.
"""

import os
import pathlib
import select
import socket
import struct
import sys
import time

WIDTH, HEIGHT, PAYLOAD = 320, 240, 16384
INTERVALS = (333333, 666666, 1000000)  # of 100 ns: 30, 15 and 10 frames a second
VHCI = pathlib.Path("/sys/devices/platform/vhci_hcd.0")
HIGH_SPEED = 3
# Three times 1024 bytes in each microframe, of which there are 8000 a second.
PACKET, MICROFRAME = 3072, 1 / 8000
YUYV, MJPEG = 1, 2
pack = struct.pack


def frame_descriptor(subtype):
    return pack("<BBBBBHHIIIIB3I", 38, 0x24, subtype, 1, 0, WIDTH, HEIGHT, 29491200, 147456000, WIDTH * HEIGHT * 2, INTERVALS[0], 3, *INTERVALS)


def descriptors(isochronous):
    """The device's and its configuration's descriptor (UVC 1.1): a control interface, and a streaming one with two formats.

    An isochronous endpoint takes no bandwidth in the streaming interface's first setting: it is not there.
    """
    yuy2 = bytes.fromhex("5955593200001000800000aa00389b71")
    color = bytes([6, 0x24, 0x0D, 1, 1, 4])
    formats = pack("<BBBBB16sBBBBBB", 27, 0x24, 4, YUYV, 1, yuy2, 16, 1, 0, 0, 0, 0) + frame_descriptor(5)
    formats += pack("<11B", 11, 0x24, 6, MJPEG, 1, 1, 1, 0, 0, 0, 0) + frame_descriptor(7) + color
    stream_header = pack("<BBBBHBBBBBBBBB", 15, 0x24, 1, 2, 15 + len(formats), 0x81, 0, 3, 0, 0, 0, 1, 0, 0)
    # Of the camera's controls it has exposure mode and exposure time (bits 1 and 3).
    terminals = pack("<18B", 18, 0x24, 2, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x0A, 0, 0) + bytes([9, 0x24, 3, 3, 1, 1, 0, 1, 0])
    control_header = pack("<BBBHHIBB", 13, 0x24, 1, 0x0100, 13 + len(terminals), 48000000, 1, 1)
    body = bytes([8, 0x0B, 0, 2, 0x0E, 3, 0, 2, 9, 4, 0, 0, 0, 0x0E, 1, 0, 2]) + control_header + terminals
    if isochronous:
        body += bytes([9, 4, 1, 0, 0, 0x0E, 2, 0, 0]) + stream_header + formats
        body += bytes([9, 4, 1, 1, 1, 0x0E, 2, 0, 0]) + pack("<BBBBHB", 7, 5, 0x81, 5, 2 << 11 | 1024, 1)
    else:
        body += bytes([9, 4, 1, 0, 1, 0x0E, 2, 0, 0]) + stream_header + formats + pack("<BBBBHB", 7, 5, 0x81, 2, 512, 0)
    configuration = pack("<BBHBBBBB", 9, 2, 9 + len(body), 2, 1, 0, 0x80, 250) + body
    device = pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0xEF, 2, 1, 64, 0x1D6B, 0x0104, 0x0100, 1, 2, 3, 1)
    qualifier = pack("<BBHBBBBBB", 10, 6, 0x0200, 0xEF, 2, 1, 64, 1, 0)
    return {1: device, 2: configuration, 6: qualifier}


class Controls:
    """Answers requests to the control endpoint."""

    def __init__(self, serial, isochronous):
        self.strings = {1: "Lab", 2: "LabCam", 3: serial}
        self.descriptors = descriptors(isochronous)
        self.payload = PACKET if isochronous else PAYLOAD
        self.format, self.interval = YUYV, INTERVALS[0]
        self.exposure_mode, self.exposure = 8, 100  # by itself; 100 us units

    def answer(self, setup, data):
        """The data that a request reads, b'' where it writes, None where it is not known."""
        kind, request, value, index, length = struct.unpack("<BBHHH", setup)
        if kind == 0x80 and request == 6:
            return self.descriptor(value >> 8, value & 255, length)
        if (kind, request) in ((0x80, 0), (0x81, 0), (0x82, 0)):
            return b"\0\0"[:length]
        if kind == 0x80 and request == 8:
            return b"\1"
        if kind == 0x81 and request == 10:
            return b"\0"
        if kind in (0, 1, 2):
            return b""
        if index & 255 == 1 and value >> 8 in (1, 2):
            return self.streaming(kind, request, data, length)
        if index == 0x0100 and value >> 8 in (2, 4):
            return self.camera(value >> 8, kind, request, data)
        return None

    def descriptor(self, kind, number, length):
        found = self.descriptors.get(kind)
        if kind == 3:
            text = self.strings.get(number, "?").encode("utf-16le")
            found = bytes([4, 3, 9, 4]) if number == 0 else bytes([2 + len(text), 3]) + text
        return found[:length] if found else None

    def streaming(self, kind, request, data, length):
        """Probe and commit."""
        if kind == 0x21 and request == 1:
            self.format = data[2] if data[2] in (YUYV, MJPEG) else YUYV
            self.interval = struct.unpack_from("<I", data, 4)[0] or INTERVALS[0]
            return b""
        probe = pack("<HBBIHHHHHII", 1, self.format, 1, self.interval, 0, 0, 0, 0, 0, WIDTH * HEIGHT * 2, self.payload)
        return {0x85: pack("<H", 26), 0x86: b"\3"}.get(request, probe)[:length]

    def camera(self, control, kind, request, data):
        """Exposure mode (2) and time (4): set, read, and their limits."""
        if kind == 0x21 and request == 1:
            if control == 2:
                self.exposure_mode = data[0]
            else:
                self.exposure = struct.unpack("<I", data[:4])[0]
            return b""
        if request == 0x86:
            return b"\3"
        if control == 2:
            return bytes([{0x81: self.exposure_mode, 0x84: 1 | 8}.get(request, 8)])
        return pack("<I", {0x81: self.exposure, 0x82: 1, 0x83: 333, 0x84: 1}.get(request, 100))


class Camera:
    def __init__(self, picture, ppm, serial, port, endpoint):
        self.picture, self.rate, self.port = picture, 1 + ppm * 1e-6, port
        self.isochronous = endpoint == "isochronous"
        self.controls = Controls(serial, self.isochronous)
        self.free = 0.0  # when the bus is, for the next isochronous request
        self.waiting, self.payloads, self.toggle, self.due, self.count = [], [], 0, 0.0, 0
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for end in (self.socket, other):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        (VHCI / "attach").write_text(f"{port} {other.fileno()} {0x10002 + port} {HIGH_SPEED}")

    def read(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            if not part:
                sys.exit(0)
            data += part
        return data

    def reply(self, sequence, status, data=b"", length=None, packets=0):
        length = len(data) if length is None else length
        self.socket.sendall(pack(">IIIIIiiiii8x", 3, sequence, 0, 0, 0, status, length, 0, packets, 0) + data)

    def handle(self):
        """A packet of the kernel: a request (1), or that one is taken back (2)."""
        header = self.read(48)
        command, sequence, _, direction, endpoint = struct.unpack_from(">IIIII", header)
        if command == 2:
            (victim,) = struct.unpack_from(">I", header, 20)
            hit = any(request[0] == victim for request in self.waiting)
            self.waiting = [request for request in self.waiting if request[0] != victim]
            self.socket.sendall(pack(">IIIIIi24x", 4, sequence, 0, 0, 0, -104 if hit else 0))
            if not self.waiting:
                self.payloads, self.due = [], 0.0
            return
        length, _, packets = struct.unpack_from(">iii", header, 24)
        data = self.read(length) if direction == 0 and length > 0 else b""
        if endpoint:
            self.waiting.append((sequence, self.read(16 * packets) if self.isochronous else b""))
            return
        answer = self.controls.answer(header[40:48], data)
        if answer is None:
            self.reply(sequence, -32)
        elif header[40] & 0x80:
            self.reply(sequence, 0, answer)
        else:
            self.reply(sequence, 0, b"", length)

    def take_frame(self, now):
        period = self.controls.interval / 1e7 / self.rate
        self.due = self.due + period if self.due and now - self.due < 1 else now + period
        shade = 16 + (self.count * 8) % 220
        picture = bytes([shade, 128]) * (WIDTH * HEIGHT) if self.controls.format == YUYV else self.picture
        self.toggle ^= 1
        self.count += 1
        size = self.controls.payload - 2
        parts = [picture[at:at + size] for at in range(0, len(picture), size)]
        last = len(parts) - 1
        self.payloads = [bytes([2, 0x80 | self.toggle | (2 if n == last else 0)]) + part for n, part in enumerate(parts)]

    def transfer(self, now):
        """Ends the requests that can be ended now."""
        if self.isochronous:
            while self.waiting and now >= self.free:
                self.transfer_isochronous(*self.waiting.pop(0), now)
            return
        while self.waiting and self.payloads:
            sequence, _ = self.waiting.pop(0)
            self.reply(sequence, 0, self.payloads.pop(0))

    def transfer_isochronous(self, sequence, wanted, now):
        """A request takes as long as its packets have microframes, with data or without."""
        data, descriptors = b"", b""
        for offset, length, _, _ in struct.iter_unpack(">IIII", wanted):
            packet = self.payloads.pop(0) if self.payloads else b""
            data += packet
            descriptors += pack(">IIIi", offset, length, len(packet), 0)
        packets = len(wanted) // 16
        self.reply(sequence, 0, data + descriptors, len(data), packets)
        self.free = (self.free if now - self.free < 0.1 else now) + packets * MICROFRAME

    def pause(self, now):
        """How long nothing is to be done, if nothing is asked."""
        if not self.waiting:
            return 1.0
        if self.isochronous:
            return max(0.0, self.free - now)
        return 0.0 if self.payloads else max(0.0, self.due - now)

    def run(self):
        while True:
            ready, _, _ = select.select([self.socket, sys.stdin], [], [], self.pause(time.monotonic()))
            if self.socket in ready:
                self.handle()
            if sys.stdin in ready:
                (VHCI / "detach").write_text(str(self.port))
                return
            now = time.monotonic()
            if self.waiting and not self.payloads and now >= self.due:
                self.take_frame(now)
            self.transfer(now)


Camera(pathlib.Path(sys.argv[1]).read_bytes(), float(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]).run()
