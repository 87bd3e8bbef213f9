//! Every order is answered by every device that lives: at once if nothing was done to it meanwhile, and else in the end.

use std::collections::BTreeMap;

use serde_json::json;
use swsync_core::order::Answer;
use swsync_core::time::Span;

use super::{Finding, When};
use crate::chaos::device;
use crate::chaos::record::{GivenOrder, Record};
use crate::chaos::timeline::{Presence, Timeline};
use crate::network::Side;
use crate::stats::quantile;

/// How long after an order was given its answers must be there. Its last frame is 1.2 s away at most, and a device waits some seconds for
/// frames that it lacks.
const ANSWER_LIMIT: Span = Span::from_secs(10);

/// All answers.
#[derive(Default)]
struct Answers {
    /// How long after the order those came of devices to which nothing was done.
    at_once: Vec<Span>,
    /// How many came from others.
    of_others: usize,
    never: usize,
    saved: u64,
    /// Missed frames, by reason.
    missed: BTreeMap<String, u64>,
    violations: Vec<String>,
}

/// Checks the answers to all orders.
pub fn check(timeline: &Timeline, record: &Record, when: &When, is_whole: bool) -> Finding {
    let mut answers = Answers::default();
    for given in record.orders.values() {
        for device in 0..timeline.devices() {
            answers.check(timeline, given, device, when, is_whole);
        }
    }
    for (id, at, why) in &record.not_given {
        answers.violations.push(format!("{id} at {} could not be given: {why}", when.seconds(*at)));
    }
    let apart = record.orders.values().filter(|given| given.side == Side::Apart).count();
    answers.finding(record.orders.len(), apart)
}

impl Answers {
    fn check(&mut self, timeline: &Timeline, given: &GivenOrder, device: usize, when: &When, is_whole: bool) {
        let is_obliged = is_obliged(timeline, given, device);
        let (id, at, name) = (given.order.id(), when.seconds(given.at), device::name(device));
        let why = given.silent.get(&device).map_or("its observer did not know it".to_owned(), |why| {
            format!("{} at {}", why.what, when.seconds(why.at))
        });
        let Some(answer) = given.answers.get(&device) else {
            self.never += 1;
            let is_up = matches!(timeline.now(device), Presence::Up(_));
            if is_obliged || is_whole && is_up {
                self.violations.push(format!("{id} at {at}: no answer of {name}: {why}"));
            }
            return;
        };
        self.count(&answer.what);
        let took = answer.at - given.at;
        match is_obliged {
            true if took > ANSWER_LIMIT => {
                let took = took.as_secs_f64();
                self.violations.push(format!("{id} at {at}: {name} answered only after {took:.1} s: {why}"));
            }
            true => self.at_once.push(took),
            false => self.of_others += 1,
        }
    }

    fn count(&mut self, answer: &Answer) {
        self.saved += answer.saved();
        for run in &answer.frames {
            if let Some(why) = run.why() {
                // Reasons that name numbers count as one.
                let why: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
                *self.missed.entry(why).or_default() += run.count - run.saved();
            }
        }
    }

    fn finding(self, orders: usize, apart: usize) -> Finding {
        let Self { mut at_once, of_others, never, saved, missed, violations } = self;
        at_once.sort();
        let seconds =
            |percent| if at_once.is_empty() { 0.0 } else { quantile(&at_once, percent).as_secs_f64() };
        let all_missed: u64 = missed.values().sum();
        let reasons: Vec<_> = missed.iter().map(|(why, count)| format!("{count} {why}")).collect();
        Finding {
            what: "every order is answered by every device that lives",
            figures: format!(
                "{orders} orders ({apart} of them given apart); {} answers of devices that were left alone, after {:.1} / \
                 {:.1} / {:.1} s (median, 95 %, last); {of_others} of others, {never} never; {saved} frames saved, \
                 {all_missed} missed: {}",
                at_once.len(),
                seconds(50),
                seconds(95),
                seconds(100),
                reasons.join("; ")
            ),
            json: json!({
                "orders": orders, "given_apart": apart, "answers": at_once.len(), "median_s": seconds(50),
                "p95_s": seconds(95), "last_s": seconds(100), "answers_of_others": of_others, "never": never,
                "saved": saved, "missed": missed,
            }),
            violations,
        }
    }
}

/// Whether a device had to answer an order at once: it was up on the order's side all the time, and known there.
fn is_obliged(timeline: &Timeline, given: &GivenOrder, device: usize) -> bool {
    let answered = given.answers.get(&device).map(|answer| answer.at);
    let until = answered.unwrap_or(given.at + ANSWER_LIMIT).min(given.at + ANSWER_LIMIT);
    timeline.is_undisturbed(device, given.side, given.at, until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::protocol::Heard;
    use swsync_cli::testing::name;
    use swsync_core::order::Order;
    use swsync_core::time::{Host, Timestamp};

    fn at(seconds: i64) -> Timestamp<Host> {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    /// What is wrong if devices 0 and 1, of which `stopped` is stopped meanwhile, answer an order of 10 s at these times.
    fn violations(answered: [Option<i64>; 2], stopped: Option<usize>) -> Vec<String> {
        let mut timeline = Timeline::new(2);
        for device in 0..2 {
            timeline.change(device, at(1), Presence::Up(Side::Main));
            timeline.see(device, at(2), Side::Main);
        }
        if let Some(device) = stopped {
            timeline.change(device, at(11), Presence::Stopped);
            timeline.change(device, at(15), Presence::Up(Side::Main));
        }
        let answer = || Answer {
            order: name("o"),
            device: name("a"),
            frames: Vec::new(),
            unnumbered: None,
            unfinished: None,
            basis: Default::default(),
        };
        let answered = answered.iter().enumerate();
        let answers =
            answered.filter_map(|(device, when)| Some((device, Heard { at: at((*when)?), what: answer() })));
        let order = Order::still(name("o"), Timestamp::from_nanos(1)).unwrap();
        let given = GivenOrder {
            order,
            side: Side::Main,
            at: at(10),
            answers: answers.collect(),
            silent: BTreeMap::new(),
            going: 0,
        };
        let record = Record { orders: [(name("o"), given)].into(), ..Record::default() };
        check(&timeline, &record, &When(Timestamp::ZERO), true).violations
    }

    #[test]
    fn only_a_disturbed_device_may_answer_late_and_none_never() {
        assert!(violations([Some(11), Some(19)], None).is_empty());
        assert!(violations([Some(11), Some(40)], Some(1)).is_empty());
        assert!(violations([Some(11), Some(40)], None)[0].contains("device1 answered only after 30.0 s"));
        assert!(violations([None, Some(12)], None)[0].contains("no answer of device0"));
        assert!(violations([Some(12), None], Some(1))[0].contains("no answer of device1"));
    }
}
