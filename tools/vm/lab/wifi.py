"""A rig over WiFi: mac80211_hwsim's radios, hostapd, wpa_supplicant. Two access points, three stations, the leader wired behind them."""

import json
import subprocess
import sys
import time

from common import HERE, MULTICAST, PATIENT, SCRATCH, Device, Errors, Results, backwards, sh, uptime, wait_for, wait_for_end, wait_for_frames

STATIONS = (1, 2, 3)
SECONDS = 6
# Frames a second: what a camera sees is worked out by the machine.
RATE = 2
KEY = "0123456789abcdef" * 4
CAMERA = "swsyncsrc backend=simulated simulated-seed={seed} simulated-skew-ppm={skew} ! video/x-raw,width=160,height=120,framerate={rate}/1 ! videoconvert ! jpegenc ! swsyncsink location={location}"
SUPPLICANT = f'ctrl_interface=/run/wpa{{0}}\nap_scan=1\nnetwork={{{{\n ssid="swsync"\n key_mgmt=WPA-PSK\n psk={KEY}\n}}}}\n'
ACCESS_POINT = f"""interface=wlan{{0}}
bridge=br0
driver=nl80211
ctrl_interface=/run/hostapd
ssid=swsync
hw_mode=g
channel={{1}}
ieee80211n=1
wmm_enabled=1
dtim_period=2
wpa=2
wpa_key_mgmt=WPA-PSK
rsn_pairwise=CCMP
wpa_psk={KEY}
{{2}}
"""


def radio(index):
    return f"wlan{index + 1}"


def start_access_points(extra=""):
    for index, channel in [(0, 1), (1, 6)]:
        (SCRATCH / f"hostapd{index}.conf").write_text(ACCESS_POINT.format(index, channel, extra))
        sh(f"ip netns exec ap hostapd -B -f {SCRATCH}/hostapd{index}.log -P /run/hostapd{index}.pid {SCRATCH}/hostapd{index}.conf")


def stop_access_points():
    sh("kill $(cat /run/hostapd0.pid) $(cat /run/hostapd1.pid)")
    wait_for("the access points to end", lambda: not sh("pgrep -x hostapd", check=False))


def set_up():
    SCRATCH.mkdir(exist_ok=True)
    sh(f"modprobe mac80211_hwsim radios={2 + len(STATIONS)}; modprobe bridge; modprobe veth; ip netns add ap; ip -n ap link set lo up")
    wait_for("the radios", lambda: "wlan4" in sh("ip -o link"))
    for index in (0, 1):
        sh(f"iw phy $(basename $(readlink /sys/class/net/wlan{index}/phy80211)) set netns name ap")
    sh(f"""ip -n ap link add br0 type bridge mcast_snooping 0; ip -n ap addr add 10.0.0.1/24 dev br0; ip -n ap link set br0 up
        ip -n ap route add {MULTICAST} dev br0
        ip netns add wired; ip link add eth0 netns wired type veth peer name wired netns ap; ip -n ap link set wired master br0 up
        ip -n wired link set lo up; ip -n wired addr add 10.0.0.2/24 dev eth0; ip -n wired link set eth0 up
        ip -n wired route add {MULTICAST} dev eth0""")
    start_access_points()
    for index in STATIONS:
        wlan = radio(index)
        (SCRATCH / f"wpa{index}.conf").write_text(SUPPLICANT.format(index))
        sh(f"""ip netns add sta{index}; iw phy $(basename $(readlink /sys/class/net/{wlan}/phy80211)) set netns name sta{index}
            ip -n sta{index} link set lo up; ip -n sta{index} addr add 10.0.0.1{index}/24 dev {wlan}
            ip netns exec sta{index} wpa_supplicant -B -i {wlan} -c {SCRATCH}/wpa{index}.conf -f {SCRATCH}/wpa{index}.log -P /run/wpa{index}.pid
            ip -n sta{index} link set {wlan} up; ip -n sta{index} route replace {MULTICAST} dev {wlan}
            ip netns exec sta{index} iw dev {wlan} set power_save off""")
    wait_for("the stations to be connected", connected)


def access_point_of(index):
    """The address of the access point that a station is connected to, or nothing."""
    said = sh(f"ip netns exec sta{index} iw dev {radio(index)} link", check=False).split()
    return said[2] if said[:2] == ["Connected", "to"] else ""


def connected():
    return all(access_point_of(index) for index in STATIONS)


def power_save(on):
    for index in STATIONS:
        sh(f"ip netns exec sta{index} iw dev {radio(index)} set power_save {'on' if on else 'off'}")


def deauthenticate():
    address = sh("ip netns exec sta1 cat /sys/class/net/wlan2/address")
    for index in (0, 1):
        sh(f"ip netns exec ap hostapd_cli -p /run/hostapd -i wlan{index} deauthenticate {address}", check=False)


def scan():
    for _ in range(3):
        sh("ip netns exec sta1 iw dev wlan2 scan", check=False)


def roam():
    """Station 1 to the other access point, which is on another channel."""
    scan_results = "ip netns exec sta1 wpa_cli -p /run/wpa1 -i wlan2 "
    before = access_point_of(1)
    addresses = [sh(f"ip netns exec ap cat /sys/class/net/wlan{index}/address") for index in (0, 1)]
    other = next(address for address in addresses if address != before)
    sh(scan_results + "scan")
    wait_for("the other access point in the scan", lambda: other in sh(scan_results + "scan_results"))
    sh(scan_results + f"roam {other}")
    wait_for("station 1 to have roamed", lambda: access_point_of(1) == other)


def restart_access_points(extra=""):
    stop_access_points()
    time.sleep(5)
    start_access_points(extra)
    wait_for("the stations to be connected again", connected, 60)


class Rig:
    def __init__(self, results):
        self.results = results
        self.leader = self.device("leader", "wired", "role=leader", 1, 10)
        self.leader.wait_until_synced()
        begin = uptime()
        self.stations = [self.device(f"sta{i}", f"sta{i}", f"role=client {PATIENT}", 1 + i, 12 - 9 * i,
                                     "offset=2.5s,skew=31ppm" if i == 2 else None) for i in STATIONS]
        for station in self.stations:
            station.wait_until_synced()
        took = (uptime() - begin) / 1e9
        results.add("discovery by multicast over the access point", "three stations synced within 30 s of their start", f"all synced after {took:.1f} s",
                    took < 30, synced_after_s=round(took, 1))

    @staticmethod
    def device(name, namespace, clock, seed, skew, simulated_clock=None):
        camera = CAMERA.format(rate=RATE, seed=seed, skew=skew, location=SCRATCH / "takes" / name)
        return Device(name, f"swsyncclock name=clock {clock} {camera}", namespace, simulated_clock)

    def event(self, fault, act, limit_us=30.0, seconds=SECONDS):
        begin = uptime()
        act()
        for station in self.stations:
            station.wait_until_synced()
        time.sleep(seconds)
        worst = max((Errors(self.leader, station, begin) for station in self.stations), key=lambda errors: errors.worst)
        back = backwards([self.leader, *self.stations])
        self.results.add(fault, f"error below {limit_us:.0f} us and within 2 u and the asymmetry bound; never backwards; synced in the end", worst.text(),
                         worst.worst <= limit_us and worst.within(True) == 100 and back == 0, **worst.figures())


def record(seconds):
    return subprocess.Popen(["ip", "netns", "exec", "wired", "swsync", "record", "--for", f"{seconds}s", "--in", "1s", "--id", "wifi", "--max-error", "none"],
                            stdout=(SCRATCH / "record.log").open("w"), stderr=subprocess.STDOUT)


def check_take(results, code, seconds):
    """Every device has the frames of the whole take, or says which ones it lacks."""
    expected, said, ok = RATE * seconds, [], True
    manifests = sorted(SCRATCH.glob("takes/*/**/*frames.jsonl"))
    for manifest in manifests:
        frames = [json.loads(line) for line in manifest.read_text().splitlines()]
        take = json.loads(next(manifest.parent.glob("*take.json")).read_text())
        holes = sum(hole["count"] for hole in take.get("holes", []))
        why = sorted({hole.get("why", "?") for hole in take.get("holes", [])})
        there = sum((manifest.parent / frame["file"]).exists() for frame in frames)
        said.append(f"{take.get('device', manifest.parent.name)}: {there} saved, {holes} named as missing{f' ({why[0]})' if why else ''}")
        ok &= there == len(frames) and abs(there + holes - expected) <= 2
    said.append(f"swsync record: exit code {code}")
    if not manifests:
        said.append((SCRATCH / "record.log").read_text()[-300:])
    results.add(f"a take of {seconds} s throughout", f"each of 4 devices: {expected} frames saved, or named as missing", "; ".join(said), ok and len(said) == 5)


def busy(seconds, how=""):
    for _ in range(4):
        subprocess.Popen(["timeout", str(seconds), "sh", "-c", f"{how} sh -c 'while :; do :; done'"])


def stamps(results):
    """How much earlier than the interface's queue user space stamps what it sends, over WiFi, where the driver stamps nothing, and wired."""
    for load, begin in (("idle", lambda: None), ("four busy processes", lambda: busy(12)), ("four real-time processes", lambda: busy(12, "exec chrt -f 50"))):
        begin()
        run = {}
        for namespace in ("sta1", "wired"):
            run[namespace] = json.loads(sh(f"ip netns exec {namespace} timeout 600 python3 {HERE}/stamps.py 10.0.0.1"))
        sta, wired = run["sta1"], run["wired"]
        text = (f"WiFi: {sta['driver']} by the driver, {sta['queue']} by the queue, {sta['queue_median_us']} us after user space (95 %: {sta['queue_95_us']}, worst {sta['queue_worst_us']}); "
                f"wired: the driver {wired['driver_median_us']} us after the queue (worst {wired['driver_worst_us']}), that {wired['queue_median_us']} us after user space (worst {wired['queue_worst_us']})")
        results.add(f"stamps of sent packets, {load}", "the queue stamps each packet, whatever the driver does", text, sta["queue"] > 380 and sta["driver"] == 0 and wired["driver"] > 380, **run)


def lead_at_access_point(results, rig):
    """A second rig whose leader is the access point itself."""
    leader = Device("at-ap", "swsyncclock name=clock role=leader rig=at port=12000", "ap")
    leader.wait_until_synced()
    client = Device("at-ap-client", f"swsyncclock name=clock role=client rig=at {PATIENT}", "sta1")
    client.wait_until_synced()
    begin = uptime()
    time.sleep(SECONDS)
    errors = Errors(leader, client, begin)
    results.add("leader at the access point", "found by multicast; error below 30 us", errors.text(), errors.worst < 30, **errors.figures())
    for device in (client, leader):
        device.stop()


EVENTS = [
    ("nothing", lambda: None),
    ("power save", lambda: power_save(True)),
    ("scans in the background", lambda: (power_save(False), scan())),
    ("deauthentication", deauthenticate),
    ("roaming to the other access point", roam),
    ("access points off for 5 s", restart_access_points),
    ("multicast_to_unicast", lambda: restart_access_points("multicast_to_unicast=1")),
    ("all processors busy (the driver stamps no sent packet)", lambda: busy(SECONDS)),
    ("four real-time busy processes, 5 % left", lambda: busy(SECONDS, "exec chrt -f 50")),
]


def main(only):
    """All events during a take, or those with one of the given words in their names, without one."""
    results = Results("wifi")
    set_up()
    rig = Rig(results)
    seconds, begun = 90, time.monotonic()
    wait_for_frames(["leader", *(station.name for station in rig.stations)], "ip netns exec wired")
    take = None if only else record(seconds)
    for name, act in EVENTS:
        if not only or any(word in name for word in only):
            rig.event(name, act, limit_us=100 if "busy" in name else 30)
    print(f"the events took {time.monotonic() - begun:.0f} s")
    code = wait_for_end(take, 120) if take else None
    if not only or "point" in only:
        lead_at_access_point(results, rig)
    for device in [*rig.stations, rig.leader]:
        device.stop()
        print(device.name, " ".join(word for word in device.stats().split(", ") if "timestamps" in word))
    if not only or "stamps" in only:
        stamps(results)
    if take:
        check_take(results, code, seconds)
    results.end()


main(sys.argv[1:])
