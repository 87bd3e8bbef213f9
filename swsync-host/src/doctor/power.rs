//! Supply voltage, throttling and temperature.

use swsync_core::doctor::{Check, Finding, Problem};
use swsync_core::status::HOT_CELSIUS;

use super::kernel_log::{self, KernelLog};
use crate::HostRoot;
use crate::temperature::processor_celsius;
use crate::throttling::Throttling;

const PLATFORM: &str = "/sys/devices/platform";

const UNDERVOLTAGE: u32 = 1 << 0;
const SLOWED: u32 = 1 << 1 | 1 << 2 | 1 << 3;

/// Whether the board has enough voltage, and runs at full speed.
///
/// A Raspberry Pi's firmware says whether that is so now (`vcgencmd get_throttled`, bits 0 to 3) and was so since it started (bits 16 to
/// 19). The kernel's driver `rpi_volt` clears the latter every two seconds, and leaves a line in the kernel's log.
pub(super) fn supply(root: &HostRoot, log: &KernelLog) -> Check {
    const ID: &str = "power-supply";
    let firmware = match firmware(root) {
        Ok(firmware) => firmware,
        Err(why) => return Check::unknown(ID, why, "vcgencmd get_throttled: 0x0 is good"),
    };
    let known = Throttling::read(root);
    let mut findings = match &firmware {
        Some((file, bits)) => judge(file, *bits),
        None => Vec::new(),
    };
    let has =
        |findings: &[Finding], problem: Problem| findings.iter().any(|finding| finding.id == problem.id());
    if known.undervoltage == Some(true) && !has(&findings, Problem::Undervoltage) {
        findings.push(undervoltage("in0_lcrit_alarm of the hwmon rpi_volt: 1".to_owned()));
    }
    if known.throttled == Some(true) && !has(&findings, Problem::Throttled) {
        findings.push(throttled(
            "a cooling device in /sys/class/thermal slows the CPU down: its cur_state is not 0".to_owned(),
        ));
    }
    let model = root.known_text("/proc/device-tree/model").unwrap_or_default();
    let is_pi = model.contains("Raspberry Pi");
    let said = log.lines.iter().flatten().find(|line| line.to_lowercase().contains("voltage detected"));
    if let Some(line) = said.filter(|_| !has(&findings, Problem::Undervoltage)) {
        findings.retain(|finding| finding.id != Problem::UndervoltageSinceBoot.id());
        findings.push(undervoltage_before(format!("the kernel's log: {line}")));
    }
    if !findings.is_empty() {
        return Check::found(ID, findings, "");
    }
    if is_pi && firmware.is_none() && known.undervoltage.is_none() {
        return Check::unknown(
            ID,
            format!("neither {PLATFORM}/soc/soc:firmware/get_throttled nor an hwmon named rpi_volt is there"),
            "vcgencmd get_throttled: 0x0 is good",
        );
    }
    match (is_pi, &log.lines) {
        (true, Err(why)) => Check::unknown(
            ID,
            format!("the voltage is good now; whether it was since the start is not known: {why}"),
            kernel_log::REMEDY,
        ),
        (true, Ok(_)) => Check::ok(ID, "good now, and since the start"),
        (false, _) if known == Throttling::default() => {
            Check::ok(ID, "this board does not measure its supply")
        }
        (false, _) => Check::ok(ID, "not slowed down"),
    }
}

/// The file and bits of the firmware; `None`: this board has none.
fn firmware(root: &HostRoot) -> Result<Option<(String, u32)>, String> {
    // soc/soc:firmware, and soc@107c000000/soc@107c000000:firmware on a Raspberry Pi 5.
    for soc in root.names(PLATFORM, |name| name.starts_with("soc")) {
        let file = format!("{PLATFORM}/{soc}/{soc}:firmware/get_throttled");
        match root.text(&file) {
            Ok(Some(text)) => {
                let bits = u32::from_str_radix(text.trim_start_matches("0x"), 16);
                let bits =
                    bits.map_err(|_| format!("{file} has {text:?}, which is no hexadecimal number"))?;
                return Ok(Some((file, bits)));
            }
            Ok(None) => {}
            Err(error) => return Err(format!("{file} cannot be read: {error}")),
        }
    }
    Ok(None)
}

fn judge(file: &str, bits: u32) -> Vec<Finding> {
    let (now, since) = (bits & 0xf, bits >> 16 & 0xf);
    let found = format!("{file}: {bits:#x}");
    let mut findings = Vec::new();
    if now & UNDERVOLTAGE != 0 {
        findings.push(undervoltage(found.clone()));
    } else if since & UNDERVOLTAGE != 0 {
        findings.push(undervoltage_before(found.clone()));
    }
    if now & SLOWED != 0 {
        findings.push(throttled(found));
    } else if since & SLOWED != 0 {
        findings.push(Problem::ThrottledSinceBoot.finding(
            "the board has slowed its CPU down since it started, for heat or voltage",
            found,
            "cool it (a heat sink, a fan), or mend its supply; the mark goes with the next start",
        ));
    }
    findings
}

fn undervoltage(found: String) -> Finding {
    Problem::Undervoltage.finding(
        "the supply voltage is too low: the board slows down, and cameras drop frames",
        found,
        "use the supply that is made for the board, and a short thick cable; take USB devices off it",
    )
}

fn undervoltage_before(found: String) -> Finding {
    Problem::UndervoltageSinceBoot.finding(
        "the supply voltage was too low since the board started: it slows down then, and cameras and SD cards fail",
        found,
        "use the supply that is made for the board, and a short thick cable; then start it again, and look again under load",
    )
}

fn throttled(found: String) -> Finding {
    Problem::Throttled.finding(
        "the board has slowed its CPU down at this moment, for heat or voltage: frames and packets are handled late",
        found,
        "cool it (a heat sink, a fan), or mend its supply",
    )
}

/// How hot the board is.
pub(super) fn temperature(root: &HostRoot) -> Check {
    const ID: &str = "temperature";
    let Some(celsius) = processor_celsius(root) else {
        return Check::ok(ID, "this host does not measure it");
    };
    let finding = (celsius >= HOT_CELSIUS).then(|| {
        Problem::TooHot.finding(
            "the board is hot: it slows down, and its oscillator drifts while it heats up",
            format!("/sys/class/thermal, sensor of the processor: {celsius:.1} degrees Celsius; {HOT_CELSIUS} is too hot"),
            "cool it: a heat sink, a fan, air around it; a lower rate or mode also helps",
        )
    });
    Check::found(ID, finding.into_iter().collect(), format!("{celsius:.0} degrees Celsius"))
}
