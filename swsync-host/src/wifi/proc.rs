//! `/proc/net/wireless`: a poor source, of kernels with wireless extensions.

use swsync_core::status::WifiStatus;

use crate::HostRoot;

/// Levels that drivers state in dBm. Others count from 0 to 255 in units of their own.
const DBM: std::ops::RangeInclusive<f64> = -120.0..=-1.0;

pub fn links(root: &HostRoot) -> Vec<WifiStatus> {
    let text = root.known_text("/proc/net/wireless").unwrap_or_default();
    // Two lines of headings.
    text.lines().skip(2).filter_map(link).collect()
}

/// `wlan0: 0000   56.  -54.  -256 ...`: interface, status, quality, level, noise. The dot says that a value is new.
fn link(line: &str) -> Option<WifiStatus> {
    let (interface, values) = line.split_once(':')?;
    let values: Vec<f64> =
        values.split_ascii_whitespace().skip(1).map_while(|value| value.parse().ok()).collect();
    let [quality, level, ..] = values[..] else { return None };
    // Without an access point the quality is 0.
    (quality > 0.0).then_some(())?;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number within the range")]
    let signal_dbm = DBM.contains(&level).then_some(level as i32);
    Some(WifiStatus { interface: interface.trim().into(), signal_dbm, ..WifiStatus::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::host;

    fn of(line: &str) -> Vec<WifiStatus> {
        links(&host(&[("proc/net/wireless", &format!("Inter-| sta-|\n face | tus |\n{line}\n"))]).root)
    }

    #[test]
    fn a_line_has_the_signal() {
        let link = &of(" wlp2s0: 0000   70.  -40.  -256        0      0      0      0      1        0")[0];
        assert_eq!((link.interface.as_str(), link.signal_dbm), ("wlp2s0", Some(-40)));
        assert_eq!((link.tx_bitrate_bps, link.power_save), (None, None));
    }

    #[test]
    fn a_level_in_other_units_is_not_known_and_no_link_is_none() {
        assert_eq!(of("wlan0: 0000   70.  170.  0 0 0 0 0 0 0")[0].signal_dbm, None);
        assert!(of("wlan0: 0000    0.  -256  -256 0 0 0 0 0 0").is_empty());
        assert!(of("wlan0: 0000").is_empty() && of("nothing").is_empty());
    }
}
