//! The temperature of processor or SoC.
//!
//! Thermal zones come first: their types say what they measure. Other zones and other chips of hwmon (of the disk, the WiFi
//! adapter, the battery) are left out, and so is Jetson's `PMIC-Die`, which always says 100 degrees. Only where nothing names the
//! processor does the board's own zone (`acpitz`) count.

use crate::HostRoot;

const ZONES: &str = "/sys/class/thermal";
const CHIPS: &str = "/sys/class/hwmon";

/// Parts of the types of zones that measure processor or SoC: Raspberry Pi, Jetson, Rockchip, Intel, Qualcomm.
const PROCESSOR_ZONES: [&str; 5] = ["cpu", "soc", "x86_pkg", "tj-therm", "package"];

/// Types of zones that count where no other does.
const BOARD_ZONES: [&str; 1] = ["acpitz"];

/// Names of chips of hwmon that measure the processor.
const PROCESSOR_CHIPS: [&str; 5] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal"];

/// Sensors that are switched off or not there say what is far outside of this, in thousandths of a degree.
const POSSIBLE: std::ops::RangeInclusive<i32> = -40_000..=150_000;

/// The hottest sensor of processor or SoC, in degrees Celsius.
#[must_use]
pub fn processor_celsius(root: &HostRoot) -> Option<f64> {
    let millis =
        zones(root, &PROCESSOR_ZONES).or_else(|| chips(root)).or_else(|| zones(root, &BOARD_ZONES))?;
    Some(f64::from(millis) / 1e3)
}

fn zones(root: &HostRoot, kinds: &[&str]) -> Option<i32> {
    let zones = root.names(ZONES, |name| name.starts_with("thermal_zone"));
    let measured = zones.iter().filter_map(|zone| {
        let kind = root.known_text(format!("{ZONES}/{zone}/type"))?.to_ascii_lowercase();
        kinds.iter().any(|wanted| kind.contains(wanted)).then_some(())?;
        possible(root, &format!("{ZONES}/{zone}/temp"))
    });
    measured.max()
}

fn chips(root: &HostRoot) -> Option<i32> {
    let measured = root.names(CHIPS, |_| true).into_iter().filter_map(|chip| {
        let name = root.known_text(format!("{CHIPS}/{chip}/name"))?;
        PROCESSOR_CHIPS.contains(&name.as_str()).then_some(())?;
        let inputs = root
            .names(format!("{CHIPS}/{chip}"), |file| file.starts_with("temp") && file.ends_with("_input"));
        inputs.iter().filter_map(|input| possible(root, &format!("{CHIPS}/{chip}/{input}"))).max()
    });
    measured.max()
}

fn possible(root: &HostRoot, path: &str) -> Option<i32> {
    root.number(path).filter(|millis| POSSIBLE.contains(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{host, jetson, laptop, raspberry_pi_4, raspberry_pi_5};

    #[test]
    fn each_board_has_its_processors_temperature() {
        assert_eq!(processor_celsius(&raspberry_pi_4().root), Some(61.835));
        assert_eq!(processor_celsius(&raspberry_pi_5().root), Some(84.1));
        assert_eq!(processor_celsius(&laptop().root), Some(71.0));
        assert_eq!(processor_celsius(&jetson().root), Some(52.5));
    }

    #[test]
    fn chips_count_where_no_zone_does_and_then_the_board() {
        let ryzen = host(&[
            ("sys/class/thermal/thermal_zone0/type", "acpitz"),
            ("sys/class/thermal/thermal_zone0/temp", "20000"),
            ("sys/class/hwmon/hwmon2/name", "k10temp"),
            ("sys/class/hwmon/hwmon2/temp1_input", "64250"),
            ("sys/class/hwmon/hwmon2/temp1_label", "Tctl"),
        ]);
        assert_eq!(processor_celsius(&ryzen.root), Some(64.25));
        ryzen.write("sys/class/hwmon/hwmon2/name", "nvme");
        assert_eq!(processor_celsius(&ryzen.root), Some(20.0));
    }

    #[test]
    fn a_sensor_that_is_off_says_nothing() {
        let off = host(&[
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
            ("sys/class/thermal/thermal_zone0/temp", "-256000"),
        ]);
        assert_eq!(processor_celsius(&off.root), None);
        assert_eq!(processor_celsius(&host(&[]).root), None);
    }
}
