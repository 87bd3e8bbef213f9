//! A leader that is lost is replaced in time, and the new one goes on where the old one was.

use serde_json::json;
use swsync_core::time::{Host, Span, Timestamp};

use super::{Agreement, Finding, When};
use crate::chaos::event::BusMessage;
use crate::chaos::record::{FaultEntry, Record};
use crate::chaos::timeline::{Presence, Timeline};
use crate::network::Side;

/// How long a rig may be without a leader.
const MAX_LEADERLESS: Span = Span::from_secs(3);
/// How long after the loss the devices are compared.
const COMPARED: Span = Span::from_secs(15);
/// How far apart synced devices may be meanwhile: the demo's limit for synchronized.
const MAX_APART: Span = Span::from_micros(250);

/// What became of a lost leader's rig.
pub struct HandOver {
    /// How long it took until another device led. `None`: none did.
    pub took: Option<Span>,
    /// The largest difference of two synced devices on the side that had lost its leader.
    pub apart: Option<Span>,
    /// The same of all devices whose clocks were in use.
    pub apart_in_use: Option<Span>,
}

/// What became of the rig in a fault that took its leader away.
pub fn hand_over(
    fault: &FaultEntry,
    timeline: &Timeline,
    record: &Record,
    agreement: &Agreement,
) -> Option<HandOver> {
    let side = fault.leaderless?;
    let until = fault.began + COMPARED;
    let worst = |is_synced| agreement.worst(fault.began, until, Some(side), is_synced);
    Some(HandOver {
        took: new_leader(fault, side, timeline, record).map(|at| at - fault.began),
        apart: worst(true),
        apart_in_use: worst(false),
    })
}

/// When another device was known to lead on `side`.
fn new_leader(
    fault: &FaultEntry,
    side: Side,
    timeline: &Timeline,
    record: &Record,
) -> Option<Timestamp<Host>> {
    let until = fault.began + COMPARED;
    let says_so = record.bus.iter().filter(|entry| entry.at > fault.began && entry.at < until);
    let says_so = says_so
        .filter(|entry| entry.message == BusMessage::State("leading".into()))
        .filter(|entry| timeline.at(entry.device, entry.at) == Presence::Up(side))
        .map(|entry| entry.at);
    let heard = record.readings.iter().filter(|reading| reading.at > fault.began && reading.at < until);
    let heard = heard
        .filter(|reading| reading.leads() && reading.side == side && Some(reading.device) != fault.leader)
        .map(|reading| reading.at);
    says_so.chain(heard).min()
}

/// Checks all hand-overs; `hand_overs` are those of the faults, in their order.
pub fn check(record: &Record, hand_overs: &[Option<HandOver>], when: &When) -> Finding {
    let mut violations = Vec::new();
    let mut took: Vec<Span> = Vec::new();
    let (mut apart, mut apart_in_use, mut losses) = (Span::ZERO, Span::ZERO, 0);
    for (fault, hand_over) in record.faults.iter().zip(hand_overs) {
        let Some(hand_over) = hand_over else { continue };
        losses += 1;
        let at = when.seconds(fault.began);
        match hand_over.took {
            Some(span) => {
                took.push(span);
                if span > MAX_LEADERLESS {
                    violations.push(format!("{} at {at}: a new leader after {span:?} only", fault.kind));
                }
            }
            None => violations.push(format!("{} at {at}: no new leader within {COMPARED:?}", fault.kind)),
        }
        if let Some(worst) = hand_over.apart {
            apart = apart.max(worst);
            if worst > MAX_APART {
                violations
                    .push(format!("{} at {at}: synced devices {worst:?} apart at the hand-over", fault.kind));
            }
        }
        apart_in_use = apart_in_use.max(hand_over.apart_in_use.unwrap_or_default());
    }
    took.sort();
    let seconds = |span: Option<&Span>| span.map_or(0.0, |span| span.as_secs_f64());
    let (median, last) = (seconds(took.get(took.len() / 2)), seconds(took.last()));
    Finding {
        what: "a lost leader is replaced within 3 s",
        figures: format!(
            "{losses} lost, {} replaced, after {median:.1} / {last:.1} s (median, last); synced devices at most {:.1} us apart \
             meanwhile, and those in holdover {:.1}",
            took.len(),
            apart.as_micros_f64(),
            apart_in_use.as_micros_f64()
        ),
        json: json!({
            "lost": losses, "replaced": took.len(), "median_s": median, "last_s": last, "apart_ns": apart,
            "apart_with_holdover_ns": apart_in_use,
        }),
        violations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::check::Runs;
    use crate::chaos::reading::Reading;
    use crate::chaos::reading::testing::reading;
    use crate::chaos::record::BusEntry;
    use swsync_core::frame::SyncState;

    fn at(millis: i64) -> Timestamp<Host> {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// What is wrong if device 0 leads and is lost at 10 s, and `device` says at `millis` that it leads.
    fn violations(device: usize, millis: i64, on_bus: bool) -> Vec<String> {
        let mut timeline = Timeline::new(2);
        for device in 0..2 {
            timeline.change(device, at(0), Presence::Up(Side::Main));
        }
        timeline.change(0, at(10_000), Presence::Down);
        let message = BusMessage::State("leading".into());
        let leading = Reading { sync: SyncState::Leading, ..reading(device, millis, Span::ZERO) };
        let mut record = Record::default();
        match on_bus {
            true => record.bus.push(BusEntry { device, at: at(millis), message }),
            false => record.readings.push(leading),
        }
        record.faults.push(FaultEntry {
            kind: "leader-killed",
            what: String::new(),
            began: at(10_000),
            repaired: None,
            leaderless: Some(Side::Main),
            apart: Vec::new(),
            leader: Some(0),
        });
        let when = When(Timestamp::ZERO);
        let agreement = Agreement::of(&Runs::default(), &when);
        let hand_over = hand_over(&record.faults[0], &timeline, &record, &agreement);
        check(&record, &[hand_over], &when).violations
    }

    #[test]
    fn another_device_must_lead_within_3_s() {
        for on_bus in [true, false] {
            assert!(violations(1, 12_900, on_bus).is_empty());
            assert!(violations(1, 13_100, on_bus)[0].contains("after 3"));
            assert!(violations(1, 9_900, on_bus)[0].contains("no new leader"));
            assert!(violations(0, 12_000, on_bus)[0].contains("no new leader"));
        }
    }
}
