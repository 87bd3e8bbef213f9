//! Whether the processor is held down, and whether the supply voltage is too low.
//!
//! Raspberry Pi: the firmware slows the processor down by itself, and cpufreq does not show it. Bits of `get_throttled` (the
//! downstream kernel's file; its first reading since boot leaves a line in the kernel's log): 0 low voltage, 1 frequency capped,
//! 2 throttled, 3 soft temperature limit, all of them now. Bits 16 to 19 say that it has been so; the hwmon driver clears them, so
//! they are not used. hwmon's `rpi_volt` asks the firmware every two seconds whether the voltage was too low since.
//!
//! Elsewhere the kernel's thermal framework holds the processor down through cooling devices.

use crate::HostRoot;

const CHIPS: &str = "/sys/class/hwmon";
const PLATFORM: &str = "/sys/devices/platform";
const COOLING: &str = "/sys/class/thermal";
const CPUS: &str = "/sys/devices/system/cpu";

/// Bit of `get_throttled`: the voltage is too low now.
const LOW_VOLTAGE: u32 = 1;
/// Bits of `get_throttled`: the processor is slowed down now.
const SLOWED: u32 = 0b1110;

/// What is known of throttling.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Throttling {
    /// Whether processor speed is held down now.
    pub throttled: Option<bool>,
    /// How often the processor has throttled itself since boot.
    pub count: Option<u64>,
    /// Whether the supply voltage is too low now, or was within about two seconds.
    pub undervoltage: Option<bool>,
    /// The highest frequency that the processor may take, relative to the highest that it can. The least of all cores.
    pub frequency_limit: Option<f64>,
}

impl Throttling {
    /// Reads it.
    #[must_use]
    pub fn read(root: &HostRoot) -> Self {
        let firmware = firmware(root);
        let by_firmware = firmware.map(|bits| bits & SLOWED != 0);
        Self {
            throttled: either(by_firmware, cooled(root)),
            count: throttle_count(root),
            undervoltage: either(voltage_alarm(root), firmware.map(|bits| bits & LOW_VOLTAGE != 0)),
            frequency_limit: frequency_limit(root),
        }
    }

    /// With a count that has grown since `before`, the processor has throttled itself since.
    #[must_use]
    pub fn since(self, before: Option<u64>) -> Self {
        let grown = self.count.zip(before).map(|(now, before)| now > before);
        Self { throttled: either(self.throttled, grown), ..self }
    }
}

/// Whether one of two says so; not known if neither says anything.
fn either(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one || other),
        (known, None) | (None, known) => known,
    }
}

/// The bits of a Raspberry Pi's firmware.
fn firmware(root: &HostRoot) -> Option<u32> {
    // soc/soc:firmware, and soc@107c000000/soc@107c000000:firmware on a Raspberry Pi 5.
    root.names(PLATFORM, |name| name.starts_with("soc")).into_iter().find_map(|soc| {
        let text = root.known_text(format!("{PLATFORM}/{soc}/{soc}:firmware/get_throttled"))?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    })
}

/// The alarm of a Raspberry Pi's voltage.
fn voltage_alarm(root: &HostRoot) -> Option<bool> {
    let chip = root.names(CHIPS, |_| true).into_iter().find(|chip| {
        root.known_text(format!("{CHIPS}/{chip}/name")).is_some_and(|name| name == "rpi_volt")
    })?;
    match root.number::<u8>(format!("{CHIPS}/{chip}/in0_lcrit_alarm"))? {
        0 => Some(false),
        _ => Some(true),
    }
}

/// Whether a cooling device of the processor is at work. Fans are none.
fn cooled(root: &HostRoot) -> Option<bool> {
    let states = root.names(COOLING, |name| name.starts_with("cooling_device")).into_iter();
    let states = states.filter_map(|device| {
        let kind = root.known_text(format!("{COOLING}/{device}/type"))?;
        let slows =
            kind == "Processor" || kind.starts_with("thermal-cpufreq") || kind.starts_with("cpufreq-cpu");
        slows.then_some(())?;
        root.number::<i64>(format!("{COOLING}/{device}/cur_state"))
    });
    states.max().map(|state| state > 0)
}

/// Of x86: throttling of the package, which each of its processors counts, and of single cores.
fn throttle_count(root: &HostRoot) -> Option<u64> {
    let cpus =
        root.names(CPUS, |name| name.strip_prefix("cpu").is_some_and(|number| number.parse::<u32>().is_ok()));
    let most = |file: &str| {
        let counts =
            cpus.iter().filter_map(|cpu| root.number::<u64>(format!("{CPUS}/{cpu}/thermal_throttle/{file}")));
        counts.max()
    };
    let (package, core) = (most("package_throttle_count"), most("core_throttle_count"));
    package.max(core)
}

fn frequency_limit(root: &HostRoot) -> Option<f64> {
    let folder = format!("{CPUS}/cpufreq");
    let limits = root.names(&folder, |name| name.starts_with("policy")).into_iter().filter_map(|policy| {
        let highest: u32 = root.number(format!("{folder}/{policy}/cpuinfo_max_freq"))?;
        let allowed: u32 = root.number(format!("{folder}/{policy}/scaling_max_freq"))?;
        (highest > 0).then(|| (f64::from(allowed) / f64::from(highest)).min(1.0))
    });
    limits.reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{host, jetson, laptop, raspberry_pi_4, raspberry_pi_5};

    #[test]
    fn a_good_raspberry_pi_is_neither_throttled_nor_short_of_voltage() {
        let good = Throttling::read(&raspberry_pi_4().root);
        let expected = Throttling {
            throttled: Some(false),
            count: None,
            undervoltage: Some(false),
            frequency_limit: Some(1.0),
        };
        assert_eq!(good, expected);
    }

    #[test]
    fn a_raspberry_pi_says_what_holds_it_down() {
        let pi = raspberry_pi_4();
        let file = "sys/devices/platform/soc/soc:firmware/get_throttled";
        for (bits, throttled, undervoltage) in [
            // All that has been, and is over.
            ("f0000", false, false),
            ("50005", true, true),
            ("50001", false, true),
            ("2", true, false),
            ("0x80008", true, false),
        ] {
            pi.write(file, bits);
            let read = Throttling::read(&pi.root);
            assert_eq!((read.throttled, read.undervoltage), (Some(throttled), Some(undervoltage)), "{bits}");
        }
        let hot = Throttling::read(&raspberry_pi_5().root);
        assert_eq!((hot.throttled, hot.undervoltage), (Some(true), Some(true)));
    }

    #[test]
    fn the_mainline_kernel_knows_the_voltage_alone() {
        let pi = host(&[
            ("sys/class/hwmon/hwmon0/name", "rpi_volt"),
            ("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1"),
        ]);
        let expected = Throttling { undervoltage: Some(true), ..Throttling::default() };
        assert_eq!(Throttling::read(&pi.root), expected);
    }

    #[test]
    fn a_laptop_counts_and_may_be_limited() {
        let now = Throttling::read(&laptop().root);
        let expected = Throttling {
            throttled: Some(false),
            count: Some(12),
            undervoltage: None,
            frequency_limit: Some(0.5),
        };
        assert_eq!(now, expected);
        assert_eq!(now.since(None).throttled, Some(false));
        assert_eq!(now.since(Some(12)).throttled, Some(false));
        assert_eq!(now.since(Some(11)).throttled, Some(true));
    }

    #[test]
    fn a_jetson_is_held_down_by_a_cooling_device_and_not_by_its_fan() {
        let jetson = jetson();
        assert_eq!(Throttling::read(&jetson.root).throttled, Some(true));
        jetson.write("sys/class/thermal/cooling_device1/cur_state", "0");
        assert_eq!(Throttling::read(&jetson.root).throttled, Some(false));
    }

    #[test]
    fn a_host_that_says_nothing_is_not_known() {
        assert_eq!(Throttling::read(&host(&[]).root), Throttling::default());
    }
}
