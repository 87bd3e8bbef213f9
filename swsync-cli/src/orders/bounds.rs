//! `--max-error`: whether the frames of an order are proven to be of the same instants.

use std::str::FromStr;

use clap::Args;
use swsync_core::certificate::{AnsweredBounds, DEFAULT_MAX_ERROR, DeviceBound};
use swsync_core::time::Span;

use crate::duration;
use crate::table::micros_unsigned;

/// How far pictures may be apart.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct MaxErrorArgs {
    /// How far pictures of one number may be apart at most, by what is known of clocks and cameras; if they may be further, or it is
    /// not known, the exit code is 6. `none`: any distance will do.
    #[arg(long, value_name = "DURATION|none", env = "SWSYNC_MAX_ERROR", default_value = "250us")]
    max_error: MaxError,
}

impl MaxErrorArgs {
    /// The limit; `None`: none.
    pub const fn limit(self) -> Option<Span> {
        self.max_error.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MaxError(Option<Span>);

impl FromStr for MaxError {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            text => Ok(Self(Some(duration::positive(text)?.into()))),
        }
    }
}

impl Default for MaxError {
    fn default() -> Self {
        Self(Some(DEFAULT_MAX_ERROR))
    }
}

/// How far pictures may be apart, to follow the last line; empty if it is not known.
pub fn text(bounds: &AnsweredBounds) -> String {
    let Some(worst) = bounds.worst_ns else { return String::new() };
    let what =
        if bounds.devices.len() > 1 { "pictures of one number" } else { "pictures and their instants" };
    format!("; {what} are at most {} us apart", micros_unsigned(worst))
}

/// Why the limit is not proven to be kept; empty if it is, or if there is none.
pub fn shortfalls(bounds: &AnsweredBounds) -> Vec<String> {
    let Some(limit) = bounds.max_error_ns.filter(|_| !bounds.passes) else { return Vec::new() };
    let limit = micros_unsigned(limit);
    if bounds.worst_ns.is_some() {
        let mut devices: Vec<_> = bounds.devices.iter().filter_map(known).collect();
        devices.sort_by_key(|(_, worst)| std::cmp::Reverse(*worst));
        let list: Vec<_> = devices
            .iter()
            .take(2)
            .map(|(device, worst)| format!("{device} by up to {} us", micros_unsigned(*worst)))
            .collect();
        return vec![format!(
            "not proven to be within {limit} us of each other: {} off the instants of their numbers (--max-error sets the limit)",
            list.join(" and ")
        )];
    }
    let unknown = bounds.devices.iter().filter_map(|device| Some((&device.device, device.why.as_ref()?)));
    unknown
        .map(|(device, why)| {
            format!("not proven to be within {limit} us of the others: {device}: {why} (--max-error none does not ask)")
        })
        .collect()
}

fn known(device: &DeviceBound) -> Option<(&str, Span)> {
    Some((device.device.as_str(), device.worst_ns?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn bounds(devices: &[(&str, Option<i64>)], max_us: Option<i64>) -> AnsweredBounds {
        let devices: Vec<_> = devices
            .iter()
            .map(|(device, us)| DeviceBound {
                device: name(device),
                worst_ns: us.map(Span::from_micros),
                why: us.is_none().then(|| "its clock was unsynced".into()),
            })
            .collect();
        let known: Option<Vec<_>> = devices.iter().map(|device| device.worst_ns).collect();
        let worst = known.map(|known| known.into_iter().fold(Span::ZERO, |sum, bound| sum + bound));
        let max = max_us.map(Span::from_micros);
        let passes = max.is_none_or(|max| worst.is_some_and(|worst| worst <= max));
        AnsweredBounds { max_error_ns: max, worst_ns: worst, passes, devices }
    }

    #[test]
    fn what_is_proven_is_said_and_what_is_not_has_its_reason() {
        let good = bounds(&[("a", Some(40)), ("b", Some(60))], Some(250));
        assert_eq!(text(&good), "; pictures of one number are at most 100.0 us apart");
        assert!(shortfalls(&good).is_empty());
        let far = bounds(&[("a", Some(140)), ("b", Some(160))], Some(250));
        let [why] = &shortfalls(&far)[..] else { panic!() };
        assert!(
            why.contains("250.0 us") && why.contains("b by up to 160.0 us and a by up to 140.0 us"),
            "{why}"
        );
        let unknown = bounds(&[("a", Some(40)), ("b", None)], Some(250));
        assert_eq!(text(&unknown), "");
        let [why] = &shortfalls(&unknown)[..] else { panic!() };
        assert!(why.contains("b: its clock was unsynced"), "{why}");
        assert!(shortfalls(&bounds(&[("b", None)], None)).is_empty());
    }

    #[test]
    fn a_limit_is_a_length_of_time_or_none() {
        assert_eq!("250us".parse(), Ok(MaxError::default()));
        assert_eq!("none".parse(), Ok(MaxError(None)));
        assert!("0us".parse::<MaxError>().is_err() && "soon".parse::<MaxError>().is_err());
    }
}
