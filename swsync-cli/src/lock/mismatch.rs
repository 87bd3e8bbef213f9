//! What the centres of the cameras' pictures still differ by.

use serde::Serialize;
use swsync_core::centre::CentreColour;
use swsync_core::name::DeviceId;

/// The two cameras that differ most in something.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Difference {
    /// In what.
    pub of: &'static str,
    /// The camera with the least value, and that.
    pub least: (DeviceId, f64),
    /// The camera with the greatest value, and that.
    pub greatest: (DeviceId, f64),
    /// How much greater the greatest is than the least, in percent.
    pub percent: f64,
}

impl Difference {
    /// The largest difference of `values`; `None` for less than two, or if the least is not positive.
    fn largest(of: &'static str, values: impl IntoIterator<Item = (DeviceId, f64)>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (least, greatest) = (values.first()?.clone(), values.last()?.clone());
        let percent = (greatest.1 / least.1 - 1.0) * 100.0;
        (values.len() > 1 && least.1 > 0.0).then_some(Self { of, least, greatest, percent })
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { of, least, greatest, percent } = self;
        let digits = if *of == BRIGHTNESS { 0 } else { 3 };
        write!(
            f,
            "{of}: {} {:.digits$} to {} {:.digits$}, {percent:.1} %",
            least.0, least.1, greatest.0, greatest.1
        )
    }
}

const BRIGHTNESS: &str = "brightness";

/// The largest differences in brightness, red and blue. What cannot be compared is left out.
pub fn differences(centres: &[(DeviceId, CentreColour)]) -> Vec<Difference> {
    let brightness = centres.iter().map(|(device, colour)| (device.clone(), f64::from(colour.brightness)));
    let ratio = |pick: fn((f64, f64)) -> f64| {
        centres.iter().filter_map(move |(device, colour)| Some((device.clone(), pick(colour.ratios()?))))
    };
    [
        Difference::largest(BRIGHTNESS, brightness),
        Difference::largest("red", ratio(|(red, _)| red)),
        Difference::largest("blue", ratio(|(_, blue)| blue)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    #[test]
    fn the_two_that_differ_most_are_named() {
        let colour = |brightness, red, green, blue| CentreColour { brightness, red, green, blue };
        let centres = [
            (name("a"), colour(100, 110, 100, 90)),
            (name("b"), colour(120, 100, 100, 100)),
            (name("c"), colour(110, 120, 120, 120)),
        ];
        let shown: Vec<_> = differences(&centres).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "brightness: a 100 to b 120, 20.0 %",
                "red: b 1.000 to a 1.100, 10.0 %",
                "blue: a 0.900 to c 1.000, 11.1 %"
            ]
        );
        assert!(differences(&centres[..1]).is_empty());
        let dark = [(name("a"), colour(0, 0, 0, 0)), (name("b"), colour(0, 0, 0, 0))];
        assert!(differences(&dark).is_empty(), "nothing can be said of black");
    }
}
