//! Supply voltage, throttling and temperature.

use std::fs;

use swsync_core::doctor::{Check, Problem};

use crate::HostRoot;

/// What the firmware of a Raspberry Pi says, as `vcgencmd get_throttled` shows it.
const FIRMWARE: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";
/// The same on a Raspberry Pi 5.
const FIRMWARE_5: &str = "/sys/devices/platform/axi/axi:firmware/get_throttled";

/// A Raspberry Pi slows down from 80 degrees Celsius on, and most other boards some degrees later.
const HOT_MILLIDEGREES: i64 = 80_000;

const UNDERVOLTAGE: u32 = 1 << 0;
const SLOWED: u32 = 1 << 1 | 1 << 2 | 1 << 3;

/// Whether the board has enough voltage, and runs at full speed.
pub(super) fn supply(root: &HostRoot) -> Check {
    const ID: &str = "power-supply";
    for file in [FIRMWARE, FIRMWARE_5] {
        match root.text(file) {
            Ok(Some(text)) => {
                let digits = text.trim_start_matches("0x");
                return match u32::from_str_radix(digits, 16) {
                    Ok(bits) => judge(ID, file, bits),
                    Err(_) => Check::unknown(
                        ID,
                        format!("{file} has {text:?}, which is no hexadecimal number"),
                        "vcgencmd get_throttled",
                    ),
                };
            }
            Ok(None) => {}
            Err(error) => {
                return Check::unknown(
                    ID,
                    format!("{file} cannot be read: {error}"),
                    "sudo vcgencmd get_throttled: 0x0 is good",
                );
            }
        }
    }
    if let Some((file, alarm)) = voltage_alarm(root) {
        let findings = (alarm != "0").then(|| undervoltage(format!("{file}: {alarm}")));
        return Check::found(ID, findings.into_iter().collect(), "no alarm of the voltage (hwmon)");
    }
    let model = root.text("/proc/device-tree/model").ok().flatten().unwrap_or_default();
    if model.contains("Raspberry Pi") {
        return Check::unknown(
            ID,
            format!("neither {FIRMWARE} nor an hwmon named rpi_volt is there"),
            "vcgencmd get_throttled: 0x0 is good",
        );
    }
    Check::ok(ID, "this board does not measure its supply")
}

fn judge(id: &str, file: &str, bits: u32) -> Check {
    let (now, since) = (bits & 0xf, bits >> 16 & 0xf);
    let found = format!("{file}: {bits:#x}");
    let mut findings = Vec::new();
    if now & UNDERVOLTAGE != 0 {
        findings.push(undervoltage(found.clone()));
    } else if since & UNDERVOLTAGE != 0 {
        findings.push(Problem::UndervoltageSinceBoot.finding(
            "the supply voltage was too low since the board started: it slows down then, and cameras and SD cards fail",
            found.clone(),
            "use the supply that is made for the board, and a short thick cable; then start it again, and look again under load",
        ));
    }
    if now & SLOWED != 0 {
        findings.push(Problem::Throttled.finding(
            "the board has slowed its CPU down at this moment, for heat or voltage: frames and packets are handled late",
            found,
            "cool it (a heat sink, a fan), or mend its supply; `vcgencmd measure_temp` shows how hot it is",
        ));
    } else if since & SLOWED != 0 {
        findings.push(Problem::ThrottledSinceBoot.finding(
            "the board has slowed its CPU down since it started, for heat or voltage",
            found,
            "cool it (a heat sink, a fan), or mend its supply; the mark goes with the next start",
        ));
    }
    Check::found(id, findings, format!("throttled={bits:#x}"))
}

fn undervoltage(found: String) -> swsync_core::doctor::Finding {
    Problem::Undervoltage.finding(
        "the supply voltage is too low: the board slows down, and cameras drop frames",
        found,
        "use the supply that is made for the board, and a short thick cable; take USB devices off it",
    )
}

/// The file and value of the alarm that the driver `rpi_volt` gives.
fn voltage_alarm(root: &HostRoot) -> Option<(String, String)> {
    let mut names: Vec<_> = fs::read_dir(root.path("/sys/class/hwmon"))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names.into_iter().find_map(|name| {
        let folder = format!("/sys/class/hwmon/{name}");
        let is_voltage = root.text(format!("{folder}/name")).ok()?? == "rpi_volt";
        let file = format!("{folder}/in0_lcrit_alarm");
        let alarm = root.text(&file).ok()??;
        is_voltage.then_some((file, alarm))
    })
}

/// How hot the board is.
pub(super) fn temperature(root: &HostRoot) -> Check {
    const ID: &str = "temperature";
    let zones = fs::read_dir(root.path("/sys/class/thermal")).into_iter().flatten();
    let mut zones: Vec<_> = zones
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("thermal_zone"))
        .collect();
    zones.sort();
    let read = |zone: String| {
        let file = format!("/sys/class/thermal/{zone}/temp");
        let value = root.text(&file).ok()??.parse::<i64>().ok()?;
        Some((value, file))
    };
    let Some((hottest, file)) = zones.into_iter().filter_map(read).max() else {
        return Check::ok(ID, "this host does not measure it");
    };
    let degrees = hottest / 1000;
    let finding = (hottest >= HOT_MILLIDEGREES).then(|| {
        Problem::TooHot.finding(
            format!("the board has {degrees} degrees Celsius: it slows down, and its oscillator drifts while it heats up"),
            format!("{file}: {hottest}"),
            "cool it: a heat sink, a fan, air around it; a lower rate or mode also helps",
        )
    });
    Check::found(ID, finding.into_iter().collect(), format!("{degrees} degrees Celsius"))
}
