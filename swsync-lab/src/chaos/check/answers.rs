//! Every order is answered by every device that lives: at once if nothing was done to it meanwhile, and else in the end.

use std::collections::BTreeMap;

use serde_json::json;
use swsync_core::time::Span;

use super::{Finding, When};
use crate::chaos::device;
use crate::chaos::network::Side;
use crate::chaos::record::{GivenOrder, Record};
use crate::chaos::rig::Rig;
use crate::chaos::timeline::Presence;
use crate::stats::quantile;

/// How long after an order was given its answers must be there. Its last frame is 1.2 s away at most, and a device waits some seconds for
/// frames that it lacks.
const ANSWER_LIMIT: Span = Span::from_secs(10);

/// Checks the answers to all orders.
pub fn check(rig: &Rig, record: &Record, when: &When, is_whole: bool) -> Finding {
    let mut violations = Vec::new();
    let (mut at_once, mut later, mut open) = (Vec::new(), 0_usize, 0_usize);
    let (mut saved, mut lost) = (0, BTreeMap::<String, u64>::new());
    for (id, given) in &record.orders {
        for index in 0..rig.devices.len() {
            let obliged = is_obliged(rig, given, index);
            match given.answers.get(&index) {
                Some(answer) => {
                    let took = answer.at - given.at;
                    match obliged {
                        true if took > ANSWER_LIMIT => violations.push(format!(
                            "{id} of {}: {} answered only after {took:?}",
                            when.seconds(given.at),
                            device::name(index)
                        )),
                        true => at_once.push(took),
                        false => later += 1,
                    }
                    saved += answer.what.saved();
                    for run in &answer.what.frames {
                        if let Some(why) = run.why() {
                            // Reasons that name numbers count as one.
                            let why: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
                            *lost.entry(why).or_default() += run.count - run.saved();
                        }
                    }
                }
                None => {
                    open += 1;
                    let why = given.silent.get(&index).map_or("it was not heard of", String::as_str);
                    let is_up = matches!(rig.timeline.now(index), Presence::Up(_));
                    if obliged || is_whole && is_up {
                        let name = device::name(index);
                        violations
                            .push(format!("{id} of {}: no answer of {name}: {why}", when.seconds(given.at)));
                    }
                }
            }
        }
    }
    for (id, at, why) in &record.not_given {
        violations.push(format!("{id} of {} could not be given: {why}", when.seconds(*at)));
    }
    at_once.sort();
    let seconds = |percent| if at_once.is_empty() { 0.0 } else { quantile(&at_once, percent).as_secs_f64() };
    let (orders, apart) =
        (record.orders.len(), record.orders.values().filter(|given| given.side == Side::Apart).count());
    let missed: u64 = lost.values().sum();
    let reasons: Vec<_> = lost.iter().map(|(why, count)| format!("{count} {why}")).collect();
    Finding {
        what: "every order is answered by every device that lives",
        figures: format!(
            "{orders} orders ({apart} of them given apart), {} answers of devices that were left alone, after {:.1} / {:.1} / {:.1} s \
             (median, 95 %, last); {later} of others, {open} never; {saved} frames saved, {missed} missed: {}",
            at_once.len(),
            seconds(50),
            seconds(95),
            seconds(100),
            reasons.join("; ")
        ),
        json: json!({
            "orders": orders, "given_apart": apart, "answers": at_once.len(), "median_s": seconds(50), "p95_s": seconds(95),
            "last_s": seconds(100), "answers_of_disturbed": later, "never": open, "saved": saved, "missed": lost,
        }),
        violations,
    }
}

/// Whether a device had to answer an order at once: it was up on the order's side all the time, and known there.
fn is_obliged(rig: &Rig, given: &GivenOrder, device: usize) -> bool {
    let answered = given.answers.get(&device).map(|answer| answer.at);
    let until = answered.unwrap_or(given.at + ANSWER_LIMIT).min(given.at + ANSWER_LIMIT);
    rig.timeline.is_undisturbed(device, given.side, given.at, until)
}
