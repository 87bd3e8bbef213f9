//! Whether the devices of a rig agree on time scale, leader, clock and frame rate.

use std::collections::{BTreeMap, BTreeSet};

use super::{ClockStatus, Status, TimeScaleChange};
use crate::frame::SyncState;
use crate::grid::FrameGrid;
use crate::message::TimeScale;
use crate::name::DeviceId;
use crate::order::Disagreement;
use crate::order::groups::{Groups, Rate, list, timescale_name};
use crate::time::Span;

/// Tolerance when clocks that were read over a network are compared, in addition to their round trips.
const READING_TOLERANCE: Span = Span::from_millis(1);

/// Clocks differ by more than they state if their readings differ by more than so many of their uncertainties.
const SIGMAS: i64 = 3;

/// A status, with the reading of its clock compared to the clock of the device that asked.
#[derive(Debug, Clone, Copy)]
pub struct TimedStatus<'a> {
    /// The status.
    pub status: &'a Status,
    /// Rig time minus the asker's clock, at the middle between question and answer.
    pub offset: Span,
    /// Half the time between question and answer.
    pub slack: Span,
}

impl TimedStatus<'_> {
    /// How far its clock may be from what it states, as far as is known.
    fn tolerance(&self) -> Span {
        let uncertainty = self.status.clock.and_then(|clock| clock.uncertainty_ns).unwrap_or(Span::ZERO);
        self.slack + uncertainty * SIGMAS
    }
}

/// What the devices of a rig have in common: the values of the majority, and who differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RigAgreement {
    timescales: Groups<Option<TimeScale>>,
    /// The same of those devices only whose clock is synced.
    synced: Groups<Option<TimeScale>>,
    /// Who follows which leader, on each time scale. A leader follows itself.
    leaders: BTreeMap<TimeScale, Groups<u64>>,
    /// The devices that lead, by their ids as leaders.
    names: BTreeMap<u64, DeviceId>,
    /// Devices that have left another time scale lately.
    changes: BTreeMap<DeviceId, TimeScaleChange>,
    rates: Groups<Rate>,
    /// Devices whose clock reads something else than the others', and the difference.
    clock_errors: BTreeMap<DeviceId, Span>,
}

/// Whether this clock defines the rig time that it reads.
fn leads(clock: &ClockStatus) -> bool {
    clock.source.is_some_and(|source| source.stratum == 0)
}

impl RigAgreement {
    /// Compares all devices that answered.
    #[must_use]
    pub fn of(answered: &[TimedStatus<'_>]) -> Self {
        let mut agreement = Self::default();
        for TimedStatus { status, .. } in answered {
            agreement.add(status);
        }
        let timescale = agreement.timescale();
        // The leader's clock defines rig time.
        let trust = |timed: &&TimedStatus| {
            (!timed.status.clock.is_some_and(|clock| leads(&clock)), timed.tolerance())
        };
        let in_majority =
            |timed: &&TimedStatus| agreement.timescales.contains(timescale, &timed.status.device);
        if let Some(reference) = answered.iter().filter(in_majority).min_by_key(trust) {
            let is_known = |timed: &&TimedStatus| known(timed.status).is_some();
            for other in answered.iter().filter(is_known) {
                let difference = other.offset - reference.offset;
                if difference.abs() > other.tolerance() + reference.tolerance() + READING_TOLERANCE {
                    agreement.clock_errors.insert(other.status.device.clone(), difference);
                }
            }
        }
        agreement
    }

    fn add(&mut self, status: &Status) {
        let device = &status.device;
        if let Some(clock) = known(status) {
            self.timescales.add(clock.timescale(), device);
            if clock.quality.is_synced() {
                self.synced.add(clock.timescale(), device);
            }
            if let Some(source) = clock.source {
                self.leaders.entry(TimeScale(source.timescale)).or_default().add(source.leader, device);
                if leads(&clock) {
                    self.names.insert(source.leader, device.clone());
                }
            }
        }
        if let Some(change) = status.timescale_change {
            self.changes.insert(device.clone(), change);
        }
        if let Some(frames) = &status.frames {
            self.rates.add(Rate(frames.rate), device);
        }
    }

    /// The time scale of most devices whose clocks are synced, or else of most; of two with as many the lesser. `None`: no device
    /// states one.
    #[must_use]
    pub fn timescale(&self) -> Option<TimeScale> {
        let of = |groups: &Groups<Option<TimeScale>>| groups.majority(Option::is_some).flatten();
        of(&self.synced).or_else(|| of(&self.timescales))
    }

    /// The frame rate of most devices.
    #[must_use]
    pub fn rate(&self) -> Option<FrameGrid> {
        self.rates.majority(|_| true).map(|rate| rate.0)
    }

    /// The leader with this id: the name of the device if it answered, or else the id.
    #[must_use]
    pub fn leader_name(&self, leader: u64) -> String {
        self.names.get(&leader).map_or_else(|| format!("{leader:016x}"), ToString::to_string)
    }

    /// The leaders of each time scale, and who follows them.
    pub fn leaders(&self) -> impl Iterator<Item = (TimeScale, Vec<(u64, &BTreeSet<DeviceId>)>)> {
        self.leaders.iter().map(|(timescale, groups)| (*timescale, groups.iter().collect()))
    }

    /// `text` with the leader behind each time scale that it mentions.
    #[must_use]
    pub fn with_leaders(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for timescale in self.leaders.keys() {
            text = text.replace(&timescale.to_string(), &self.name(&Some(*timescale)));
        }
        text
    }

    /// A time scale, with its leaders.
    fn name(&self, timescale: &Option<TimeScale>) -> String {
        let leaders = timescale.and_then(|timescale| self.leaders.get(&timescale));
        let names: Vec<_> =
            leaders.into_iter().flat_map(Groups::keys).map(|leader| self.leader_name(leader)).collect();
        let word = if names.len() > 1 { "leaders" } else { "leader" };
        match &names[..] {
            [] => timescale_name(timescale),
            names => format!("{} ({word} {})", timescale_name(timescale), names.join(", ")),
        }
    }

    /// How the device with `status` differs from the others, as text for the operator. Empty: no difference is known.
    #[must_use]
    pub fn objections(&self, status: &Status) -> Vec<String> {
        let mut objections = Vec::new();
        match (known(status).map(|clock| clock.timescale()), self.timescale()) {
            (Some(Some(own)), Some(most)) if own != most => {
                let [own, most] = [own, most].map(|timescale| self.name(&Some(timescale)));
                objections.push(format!("its clock is on time scale {own}, and others are on {most}"));
            }
            (Some(None), Some(most)) => {
                let most = self.name(&Some(most));
                objections.push(format!(
                    "it does not say which time scale its clock is on, and others are on {most}"
                ));
            }
            (Some(_), _) | (None, _) => {
                let error = self.clock_errors.get(&status.device).map(|error| error.as_secs_f64());
                objections
                    .extend(error.map(|error| format!("its clock is {error:+.3} s from that of the others")));
            }
        }
        objections.extend(self.moving(status));
        let rate = status.frames.as_ref().map(|frames| frames.rate);
        if let (Some(own), Some(most)) = (rate, self.rate())
            && own != most
        {
            objections.push(format!("it takes {} frames per second, and others {}", Rate(own), Rate(most)));
        }
        objections
    }

    /// Why the clock of the device with `status` is not in its time scale yet, if it has left another one for that.
    fn moving(&self, status: &Status) -> Option<String> {
        let change = status.timescale_change?;
        let clock = status.clock.filter(|clock| !clock.quality.is_synced())?;
        (clock.timescale() == Some(change.to)).then(|| {
            let to = self.name(&Some(change.to));
            let seconds = change.ago_ns.as_secs_f64();
            format!(
                "its clock has left time scale {} for {to} {seconds:.0} s ago and is not synced yet",
                change.from
            )
        })
    }

    /// The devices of the common time scale whose clocks read something else than the others'.
    #[must_use]
    pub fn clock_disagreements(&self) -> Vec<Disagreement> {
        let timescale = self.timescale();
        let common = |device: &DeviceId| self.timescales.contains(timescale, device);
        let errors = self.clock_errors.iter().filter(|(device, _)| common(device));
        let of = |(device, error): (&DeviceId, &Span)| Disagreement {
            what: format!("the clock of {device} is {:+.3} s from that of the others", error.as_secs_f64()),
            devices: [device.clone()].into(),
        };
        errors.map(of).collect()
    }

    /// Which devices have which time scale and frame rate, if they differ, as text for the operator.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let timescales = self.timescales.describe("time scale", |timescale| self.name(timescale));
        let rates = self.rates.describe("frame rate", Rate::to_string);
        timescales.into_iter().chain(self.two_rigs()).chain(rates).collect()
    }

    /// Two time scales that both have a leader: two rigs of one name have met, or one has two leaders that do not know of each
    /// other.
    fn two_rigs(&self) -> Option<String> {
        let of = |(_, leaders): &(TimeScale, Vec<(u64, &BTreeSet<DeviceId>)>)| {
            let names: Vec<_> = leaders.iter().filter_map(|(leader, _)| self.names.get(leader)).collect();
            let devices: BTreeSet<_> =
                leaders.iter().flat_map(|(_, devices)| devices.iter().cloned()).collect();
            let leader = names.first()?;
            Some(format!("{} (leader {leader})", list(&devices)))
        };
        let rigs: Vec<_> = self.leaders().filter_map(|rig| of(&rig)).collect();
        (rigs.len() > 1).then(|| two_rigs(&rigs.join("; ")))
    }

    /// What the operator should know although all agree now: two rigs of one name have met lately, and have become one.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let now = self.timescale()?;
        let came: BTreeMap<_, _> = self.changes.iter().filter(|(_, change)| change.to == now).collect();
        let ago = came.values().map(|change| change.ago_ns).min()?;
        // Without devices that were there before, the time scale of one rig has begun anew.
        let settled = self.leaders.get(&now)?.all().filter(|device| !came.contains_key(device));
        let settled: BTreeSet<_> = settled.cloned().collect();
        let came: BTreeSet<_> = came.into_keys().cloned().collect();
        let seconds = ago.as_secs_f64();
        let rigs =
            format!("{}, on another time scale until {seconds:.0} s ago; {}", list(&came), list(&settled));
        (!settled.is_empty()).then(|| two_rigs(&rigs))
    }

    /// One time scale has several leaders: which devices follow which, as text for the operator. While one device takes over
    /// from another that is so for a moment. If it lasts, the rig is split, and the clocks of its parts drift apart.
    #[must_use]
    pub fn split(&self) -> Option<LeaderSplit> {
        let (timescale, groups) = self.leaders.iter().find(|(_, groups)| groups.keys().len() > 1)?;
        let part = |(leader, devices): (u64, &BTreeSet<DeviceId>)| {
            format!("{} on {}", self.leader_name(leader), list(devices))
        };
        let parts: Vec<_> = groups.iter().map(part).collect();
        let mut what = format!("leaders of time scale {timescale} differ: {}", parts.join("; "));
        let apart = groups.all().filter_map(|device| self.clock_errors.get(device)).map(|error| error.abs());
        let apart = apart.max();
        if let Some(apart) = apart {
            let ms = apart.as_secs_f64() * 1e3;
            what.push_str(&format!("; their clocks are up to {ms:.1} ms apart"));
        }
        Some(LeaderSplit { what, devices: groups.minority(|_| true), is_apart: apart.is_some() })
    }
}

/// One time scale has several leaders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderSplit {
    /// Which devices follow which, as text for the operator.
    pub what: String,
    /// The devices that follow another leader than most.
    pub devices: BTreeSet<DeviceId>,
    /// Whether the clocks of these devices differ by more than they state.
    pub is_apart: bool,
}

fn two_rigs(rigs: &str) -> String {
    format!(
        "two rigs of this name seem to have met: {rigs}. If they are two, give one of them another name with rig="
    )
}

/// The clock, if it knows anything of rig time.
fn known(status: &Status) -> Option<ClockStatus> {
    status.clock.filter(|clock| clock.quality != SyncState::Unsynced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::testing::{name, rate};
    use crate::status::testing::status;

    fn timed(status: &Status, offset: Span) -> TimedStatus<'_> {
        TimedStatus { status, offset, slack: Span::from_millis(2) }
    }

    #[test]
    fn the_majority_counts_and_unknown_values_agree_with_nothing() {
        let statuses = [
            status("a", Some(7), 30),
            status("b", Some(7), 30),
            status("c", Some(8), 30),
            status("d", None, 25),
            status("e", None, 30),
            status("f", None, 30),
        ];
        let all: Vec<_> = statuses.iter().map(|status| timed(status, Span::ZERO)).collect();
        let agreement = RigAgreement::of(&all);
        assert_eq!((agreement.timescale(), agreement.rate()), (Some(TimeScale(7)), Some(rate(30))));
        let objections: Vec<_> = statuses.iter().map(|status| agreement.objections(status).len()).collect();
        assert_eq!(objections, [0, 0, 1, 2, 1, 1]);
        assert_eq!(agreement.disagreements().len(), 2, "{:?}", agreement.disagreements());
        assert_eq!(RigAgreement::of(&[]).disagreements(), Vec::<String>::new());
    }

    #[test]
    fn without_time_scales_the_readings_are_compared() {
        let statuses = ["a", "b", "c"].map(|device| status(device, None, 30));
        let offset = [Span::ZERO, Span::from_millis(3), Span::from_secs(5)];
        let all: Vec<_> = statuses.iter().zip(offset).map(|(status, offset)| timed(status, offset)).collect();
        let agreement = RigAgreement::of(&all);
        assert!(
            agreement.objections(&statuses[0]).is_empty() && agreement.objections(&statuses[1]).is_empty()
        );
        assert_eq!(agreement.objections(&statuses[2]), ["its clock is +5.000 s from that of the others"]);
    }

    const SCALE_7: &str = "0000000000000007";
    const SCALE_8: &str = "0000000000000008";

    /// A device that follows `leader` on time scale `timescale`; one whose name is that of a leader leads.
    fn follows(device: &str, timescale: u64, leader: u64) -> Status {
        let mut status = status(device, Some(timescale), 30);
        let source = status.clock.as_mut().unwrap().source.as_mut().unwrap();
        (source.leader, source.stratum) = (leader, u8::from(!device.starts_with("lead")));
        status
    }

    fn of(statuses: &[Status]) -> RigAgreement {
        RigAgreement::of(&statuses.iter().map(|status| timed(status, Span::ZERO)).collect::<Vec<_>>())
    }

    #[test]
    fn synced_clocks_decide_which_time_scale_counts() {
        let mut statuses = ["a", "b", "c"].map(|device| status(device, Some(7), 30));
        for status in &mut statuses {
            status.clock.as_mut().unwrap().quality = SyncState::Holdover;
        }
        assert_eq!(of(&statuses).timescale(), Some(TimeScale(7)));
        let synced = status("d", Some(8), 30);
        let all = [&statuses[..], &[synced]].concat();
        assert_eq!(of(&all).timescale(), Some(TimeScale(8)));
        assert_eq!(of(&all).objections(&all[0]).len(), 1);
    }

    #[test]
    fn two_leaders_of_two_time_scales_are_two_rigs() {
        let all = [follows("lead-a", 7, 1), follows("b", 7, 1), follows("lead-c", 8, 2), follows("d", 8, 2)];
        let [differ, met] = <[_; 2]>::try_from(of(&all).disagreements()).unwrap();
        assert_eq!(
            differ,
            format!(
                "time scales differ: {SCALE_7} (leader lead-a) on b, lead-a; {SCALE_8} (leader lead-c) on d, lead-c"
            )
        );
        assert!(
            met.starts_with(
                "two rigs of this name seem to have met: b, lead-a (leader lead-a); d, lead-c (leader lead-c)."
            ) && met.contains("another name with rig="),
            "{met}"
        );
        let objections = of(&all).objections(&all[3]);
        let expected = "its clock is on time scale 0000000000000008 (leader lead-c), and others are on \
                        0000000000000007 (leader lead-a)";
        assert_eq!(objections, [expected]);
        // A device that has not learnt of a new time scale yet is no rig of its own.
        let late = [follows("lead-a", 7, 1), follows("b", 8, 2)];
        let [differ] = <[_; 1]>::try_from(of(&late).disagreements()).unwrap();
        assert!(differ.ends_with("; 0000000000000008 (leader 0000000000000002) on b"), "{differ}");
    }

    #[test]
    fn texts_name_the_leader_behind_a_time_scale() {
        let agreement = of(&[follows("lead-a", 7, 1), follows("b", 8, 2)]);
        let text =
            agreement.with_leaders(&format!("the order is of {SCALE_7}, and this device is on {SCALE_8}"));
        let expected = "the order is of 0000000000000007 (leader lead-a), and this device is on 0000000000000008 (leader \
             0000000000000002)";
        assert_eq!(text, expected);
        assert_eq!(agreement.with_leaders("no time scale"), "no time scale");
    }

    #[test]
    fn rigs_that_have_become_one_are_told_apart_for_a_while() {
        let change =
            |from| TimeScaleChange { from: TimeScale(from), to: TimeScale(7), ago_ns: Span::from_secs(40) };
        let mut all = [follows("lead-a", 7, 1), follows("b", 7, 1), follows("c", 7, 1), follows("d", 7, 1)];
        assert_eq!(of(&all).notice(), None);
        all[2].timescale_change = Some(change(8));
        all[3].timescale_change = Some(change(8));
        assert!(of(&all).disagreements().is_empty(), "they agree now");
        let notice = of(&all).notice().unwrap();
        assert!(
            notice.starts_with(
                "two rigs of this name seem to have met: c, d, on another time scale until 40 s ago; b, lead-a."
            ),
            "{notice}"
        );
        all[3].clock.as_mut().unwrap().quality = SyncState::Holdover;
        let objections = of(&all).objections(&all[3]);
        let expected = "its clock has left time scale 0000000000000008 for 0000000000000007 (leader lead-a) 40 s ago and \
                        is not synced yet";
        assert_eq!(objections, [expected]);
        assert!(of(&all).objections(&all[2]).is_empty(), "that one is synced");
        for status in &mut all {
            status.timescale_change = Some(change(8));
        }
        assert_eq!(of(&all).notice(), None, "the time scale of one rig has begun anew");
    }

    #[test]
    fn two_leaders_of_one_time_scale_are_a_split_rig() {
        let one = [follows("lead-a", 7, 1), follows("b", 7, 1)];
        assert_eq!(of(&one).split(), None);
        let two = [&one[..], &[follows("lead-c", 7, 2), follows("d", 7, 2)]].concat();
        let split = of(&two).split().unwrap();
        let expected =
            "leaders of time scale 0000000000000007 differ: lead-a on b, lead-a; lead-c on d, lead-c";
        assert_eq!((split.what.as_str(), split.is_apart), (expected, false));
        assert_eq!(split.devices, [name("d"), name("lead-c")].into());
        assert!(of(&two).disagreements().is_empty(), "one may be taking over from the other");
        let ms = Span::from_millis;
        let offsets = [ms(0), ms(0), ms(0), ms(9)];
        let apart: Vec<_> = two.iter().zip(offsets).map(|(status, offset)| timed(status, offset)).collect();
        let split = RigAgreement::of(&apart).split().unwrap();
        assert!(split.is_apart && split.what.ends_with("; their clocks are up to 9.0 ms apart"), "{split:?}");
        let [clock] = <[_; 1]>::try_from(RigAgreement::of(&apart).clock_disagreements()).unwrap();
        assert_eq!(clock.what, "the clock of d is +0.009 s from that of the others");
    }

    #[test]
    fn clocks_that_state_their_uncertainty_may_differ_by_it() {
        let mut statuses = ["a", "b"].map(|device| status(device, Some(7), 30));
        let objections = |statuses: &[Status; 2]| {
            let all: Vec<_> = [Span::ZERO, Span::from_millis(8)]
                .into_iter()
                .zip(statuses)
                .map(|(offset, status)| timed(status, offset))
                .collect();
            RigAgreement::of(&all).objections(&statuses[1]).len()
        };
        assert_eq!(objections(&statuses), 1);
        statuses[1].clock.as_mut().unwrap().uncertainty_ns = Some(Span::from_millis(1));
        assert_eq!(objections(&statuses), 0, "2 + 2 + 1 ms, and three times 1 ms");
    }
}
