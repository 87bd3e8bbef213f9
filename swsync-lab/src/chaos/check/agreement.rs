//! No clock says that it is synced and is not: devices that were asked together, and have the same time, agree within what they say of their
//! uncertainty.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use swsync_core::time::{Host, Span, Timestamp};

use super::{Finding, Runs, When};
use crate::chaos::device;
use crate::chaos::reading::{Reading, Whose};
use crate::network::Side;
use crate::stats::quantile;

/// Uncertainties within which a clock must be: so many standard deviations.
const SIGMAS: i64 = 3;
/// What two clocks may be apart in addition, half of it: as much as `swsyncsrc` tolerates of phase error anyhow. Delays of packets that
/// differ by direction, as they do on a busy machine, are in no clock's uncertainty.
const TOLERANCE: Span = Span::from_micros(20);

/// The clock of one of several devices that are compared.
pub struct Member {
    pub device: usize,
    /// Rig time minus true time.
    pub offset: Span,
    /// Uncertainty, 1 sigma, as the device says.
    pub sigma: Span,
}

/// Devices that were asked together.
pub struct Compared {
    pub at: Timestamp<Host>,
    pub side: Side,
    /// Whether all were synced, and to the same leader. Else they have a time scale in common.
    pub is_synced: bool,
    /// The largest difference of their clocks.
    pub apart: Span,
}

/// How far the devices agree.
pub struct Agreement {
    compared: Vec<Compared>,
    /// How often synced devices were within their uncertainties alone.
    covered: usize,
    violations: Vec<String>,
}

impl Agreement {
    /// Compares all readings of devices that were asked together.
    pub fn of(runs: &Runs, when: &When) -> Self {
        let mut synced: BTreeMap<(u64, Whose), Vec<&Reading>> = BTreeMap::new();
        let mut in_use: BTreeMap<(u64, u64), Vec<&Reading>> = BTreeMap::new();
        for reading in runs.readings.values().flatten().filter(|reading| reading.is_in_use()) {
            let Some(whose) = reading.whose else { continue };
            if reading.sync.is_synced() {
                synced.entry((reading.round, whose)).or_default().push(reading);
            }
            in_use.entry((reading.round, whose.timescale)).or_default().push(reading);
        }
        let mut agreement = Self { compared: Vec::new(), covered: 0, violations: Vec::new() };
        for readings in synced.values() {
            let what = format!("at {}", when.seconds(readings[0].at));
            let members = members(readings);
            agreement.violations.extend(contradiction(&what, &members, TOLERANCE));
            let is_covered = contradiction(&what, &members, Span::ZERO).is_none();
            agreement.covered += usize::from(members.len() > 1 && is_covered);
            agreement.compared.extend(compare(readings, true));
        }
        agreement.compared.extend(in_use.values().filter_map(|readings| compare(readings, false)));
        agreement.compared.sort_by_key(|compared| compared.at);
        agreement
    }

    /// The largest difference from `from` to `until` between devices on `side`, or on either: of devices synced to one leader, or of all of
    /// one time scale whose clocks are in use.
    pub fn worst(
        &self,
        from: Timestamp<Host>,
        until: Timestamp<Host>,
        side: Option<Side>,
        is_synced: bool,
    ) -> Option<Span> {
        let begin = self.compared.partition_point(|compared| compared.at < from);
        let within = self.compared[begin..].iter().take_while(|compared| compared.at < until);
        let of = within.filter(|compared| compared.is_synced == is_synced);
        of.filter(|compared| side.is_none_or(|side| compared.side == side))
            .map(|compared| compared.apart)
            .max()
    }

    /// The result.
    pub fn finding(&self) -> Finding {
        let of = |is_synced| {
            let of = self.compared.iter().filter(|compared| compared.is_synced == is_synced);
            let mut apart: Vec<_> = of.map(|compared| compared.apart).collect();
            apart.sort();
            apart
        };
        let (synced, in_use) = (of(true), of(false));
        Finding {
            what: "no clock says synced that is not",
            figures: format!(
                "asked {} times, {} apart, {} times within 3 sigma alone; with those in holdover {}",
                synced.len(),
                describe(&synced),
                self.covered,
                describe(&in_use)
            ),
            json: json!({ "asked": synced.len(), "within_3_sigma": self.covered, "apart": figures(&synced), "with_holdover": figures(&in_use) }),
            violations: self.violations.clone(),
        }
    }
}

/// The clocks at the instant at which the first of them was read.
fn members(readings: &[&Reading]) -> Vec<Member> {
    let first = readings.iter().map(|reading| reading.at).min().unwrap_or(Timestamp::ZERO);
    let member = |reading: &&Reading| Member {
        device: reading.device,
        offset: reading.offset_at(first),
        sigma: reading.sigma,
    };
    readings.iter().map(member).collect()
}

fn compare(readings: &[&Reading], is_synced: bool) -> Option<Compared> {
    let [first, _, ..] = readings else { return None };
    let members = members(readings);
    let offsets = || members.iter().map(|member| member.offset);
    Some(Compared { at: first.at, side: first.side, is_synced, apart: offsets().max()? - offsets().min()? })
}

/// The two of `members` that contradict each other most, if any do: they are further apart than they say, and than twice `tolerance`.
pub fn contradiction(what: &str, members: &[Member], tolerance: Span) -> Option<String> {
    let bound = |member: &Member| member.sigma * SIGMAS + tolerance;
    let low = members.iter().min_by_key(|member| member.offset + bound(member))?;
    let high = members.iter().max_by_key(|member| member.offset - bound(member))?;
    let apart = high.offset - low.offset;
    let micros = |span: Span| span.as_micros_f64();
    (apart > bound(low) + bound(high)).then(|| {
        format!(
            "{what}: {} and {} are {:.1} us apart, and say +-{:.1} and +-{:.1} (1 sigma)",
            device::name(low.device),
            device::name(high.device),
            micros(apart),
            micros(low.sigma),
            micros(high.sigma)
        )
    })
}

/// The distribution of differences, in words.
pub fn describe(sorted: &[Span]) -> String {
    if sorted.is_empty() {
        return "nothing".into();
    }
    let micros = |percent| quantile(sorted, percent).as_micros_f64();
    format!("{:.1} / {:.1} / {:.1} us (median, 95 %, largest)", micros(50), micros(95), micros(100))
}

/// The same for programs.
pub fn figures(sorted: &[Span]) -> Value {
    let at = |percent| (!sorted.is_empty()).then(|| quantile(sorted, percent));
    json!({ "median_ns": at(50), "p95_ns": at(95), "largest_ns": at(100) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::reading::testing::reading;

    fn member(device: usize, offset_us: i64, sigma_us: i64) -> Member {
        Member { device, offset: Span::from_micros(offset_us), sigma: Span::from_micros(sigma_us) }
    }

    #[test]
    fn clocks_further_apart_than_they_say_are_found() {
        let apart = |members: &[Member]| contradiction("then", members, TOLERANCE);
        assert_eq!(apart(&[member(0, 0, 0), member(1, 40, 10)]), None);
        assert_eq!(apart(&[member(0, 0, 0), member(1, 4_000, 2_000)]), None);
        assert!(apart(&[member(0, 0, 0), member(1, 80, 10)]).unwrap().contains("device0 and device1"));
        // An uncertain clock between them excuses none of the two.
        let three = [member(0, 0, 1), member(1, 50, 500), member(2, 100, 1)];
        assert!(apart(&three).unwrap().contains("device0 and device2"));
    }

    #[test]
    fn only_clocks_of_the_same_time_are_compared() {
        let mine = reading(0, 1_000, Span::ZERO);
        let whose = Some(Whose { timescale: 1, leader: 2 });
        let others = Reading { whose, ..reading(1, 1_000, Span::from_millis(5)) };
        let later = Reading { round: 2, ..reading(3, 1_200, Span::from_millis(9)) };
        let readings = [mine, others, later].map(|reading| ((reading.device, 0), vec![reading])).into();
        let agreement = Agreement::of(&Runs { readings, ..Runs::default() }, &When(Timestamp::ZERO));
        assert!(agreement.violations.is_empty(), "{:?}", agreement.violations);
        let (from, until) = (Timestamp::ZERO, Timestamp::from_nanos(2_000_000_000));
        assert_eq!(agreement.worst(from, until, None, true), None);
        assert_eq!(agreement.worst(from, until, Some(Side::Main), false), Some(Span::from_millis(5)));
    }

    #[test]
    fn clocks_are_compared_at_one_instant() {
        let early = Reading { rate: 40e-6, ..reading(0, 1_000, Span::ZERO) };
        let late = Reading { rate: 40e-6, ..reading(1, 1_100, Span::from_micros(4)) };
        assert_eq!(compare(&[&early, &late], true).unwrap().apart, Span::ZERO);
    }
}
