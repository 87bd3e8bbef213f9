use super::*;
use crate::frame::{FrameDetails, FrameInfo, LockState, SyncQuality};
use crate::name::Name;
use crate::order::{GRACE, OrderError};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn desk() -> Desk<FrameNumber> {
    let mut desk = Desk::new(name("pi"), Limits { bytes: 1_000, time: Span::MAX });
    desk.set_grid(grid());
    desk
}

fn frame(number: FrameNumber) -> Entry<FrameNumber> {
    Entry { number, time: grid().instant(number), bytes: 100, payload: number }
}

fn order(id: &str, first: FrameNumber, count: u32) -> Order {
    // Somewhat off the grid, as a person's finger is.
    Order::burst(name(id), grid().instant(first) + Span::from_millis(7), count).unwrap()
}

fn saved(number: FrameNumber) -> Fate {
    Fate::Saved {
        file: format!("{number}.jpg"),
        bytes: 1,
        info: FrameInfo {
            number,
            rig_time_ns: grid().instant(number),
            phase_error_ns: Span::ZERO,
            clock_uncertainty_ns: None,
            sync: SyncQuality::Synced,
            lock: LockState::Locked,
            exposure_ns: None,
            analogue_gain: None,
            sensor_time_ns: None,
            details: FrameDetails::default(),
        },
    }
}

/// Plays the writer: everything to save is saved at once. Returns the answers.
fn write_all(desk: &mut Desk<FrameNumber>, mut actions: Vec<Action<FrameNumber>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(action) = actions.pop() {
        match action {
            Action::Save { order, number, payload } => {
                assert_eq!(number, payload);
                actions.extend(desk.handle_written(&order, number, saved(number)));
            }
            Action::Answer(answer) => answers.push(answer),
        }
    }
    answers
}

fn numbers(answer: &Answer) -> Vec<FrameNumber> {
    answer.frames.iter().map(|frame| frame.first).collect()
}

#[test]
fn past_frames_come_out_of_the_ring() {
    let mut desk = desk();
    for number in 100..110 {
        let actions = desk.handle_frame(frame(number));
        assert!(actions.is_empty());
    }
    let actions = desk.handle_order(order("o", 103, 2));
    let answers = write_all(&mut desk, actions);
    assert!(answers[0].is_complete());
    assert_eq!(numbers(&answers[0]), [103, 104]);
    assert_eq!(desk.totals(), (2, 0));
}

#[test]
fn future_frames_are_saved_as_they_come() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    assert!(desk.handle_order(order("o", 102, 2)).is_empty());
    assert!(desk.handle_frame(frame(101)).is_empty());
    let actions = desk.handle_frame(frame(102));
    assert!(write_all(&mut desk, actions).is_empty());
    let actions = desk.handle_frame(frame(103));
    assert!(write_all(&mut desk, actions)[0].is_complete());
}

#[test]
fn frames_older_than_the_ring_are_missed_with_its_range() {
    let mut desk = desk();
    for number in 100..120 {
        desk.handle_frame(frame(number));
    }
    let actions = desk.handle_order(order("o", 50, 1));
    let answers = write_all(&mut desk, actions);
    let Fate::Missed { why } = &answers[0].frames[0].fate else { panic!("{answers:?}") };
    assert!(why.contains("110 to 119"), "{why}");
}

#[test]
fn a_dropped_frame_is_missed_once_later_ones_arrive() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    desk.handle_order(order("o", 102, 1));
    for number in [101, 103, 104, 105, 106] {
        assert!(desk.handle_frame(frame(number)).is_empty());
    }
    let actions = desk.handle_frame(frame(107));
    let answers = write_all(&mut desk, actions);
    assert!(matches!(answers[0].frames[0].fate, Fate::Missed { .. }));
}

#[test]
fn a_silent_camera_is_given_up_after_the_grace() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    desk.handle_order(order("o", 130, 1));
    let due = grid().instant(131) + GRACE;
    assert!(desk.handle_timeout(due - Span::from_millis(100)).is_empty());
    let actions = desk.handle_timeout(due + Span::from_millis(100));
    assert!(!write_all(&mut desk, actions)[0].is_complete());
    assert_eq!(desk.open_orders(), 0);
}

#[test]
fn a_device_without_frames_says_so() {
    let mut desk = Desk::<FrameNumber>::new(name("pi"), Limits { bytes: 1, time: Span::ZERO });
    assert!(desk.handle_order(order("o", 130, 3)).is_empty());
    let actions = desk.handle_timeout(grid().instant(134) + GRACE);
    let answers = write_all(&mut desk, actions);
    assert!(answers[0].unnumbered.is_some() && answers[0].frames.is_empty());
}

#[test]
fn an_order_that_arrives_again_is_not_served_again() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    let actions = desk.handle_order(order("o", 100, 1));
    assert!(desk.handle_order(order("o", 100, 1)).is_empty()); // while the writer is busy
    let answers = write_all(&mut desk, actions);
    let again = desk.handle_order(order("o", 100, 1));
    assert_eq!(again, [Action::Answer(answers[0].clone())]);
    assert_eq!(desk.totals(), (1, 0));
}

#[test]
fn stopping_answers_what_is_open() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    let actions = desk.handle_order(order("o", 100, 2));
    let Action::Save { order, number, .. } = &actions[0] else { panic!() };
    desk.handle_written(order, *number, saved(*number));
    let actions = desk.handle_stop();
    let Action::Answer(answer) = &actions[0] else { panic!() };
    assert!(matches!(answer.frames[0].fate, Fate::Saved { .. }));
    assert!(matches!(answer.frames[1].fate, Fate::Failed { .. }));
}

#[test]
fn numbers_of_two_grids_do_not_mix() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    desk.set_grid(grid());
    assert_eq!(desk.ring().len(), 1);
    desk.set_grid(FrameGrid::new(60, 1).unwrap());
    assert!(desk.ring().is_empty());
}

#[test]
fn orders_are_checked_where_they_are_parsed() {
    assert_eq!(Order::burst(name("o"), Timestamp::ZERO, 0), Err(OrderError::Burst(0)));
    let text = r#"{"order":"o","at_ns":-5,"kind":"burst","count":1}"#;
    assert!(serde_json::from_str::<Order>(text).is_err());
}

proptest! {
    /// Whatever comes in whatever order: each order is answered once, with exactly the numbers it
    /// named, and what was captured while the ring held it is saved.
    #[test]
    fn every_order_is_accounted_for(
        orders in proptest::collection::vec((0_u64..200, 1_u32..6, 0_usize..200), 1..20),
        dropped in proptest::collection::hash_set(0_u64..200, 0..30),
    ) {
        let mut desk = desk();
        let mut answers = BTreeMap::new();
        let mut note = |new: Vec<Answer>| {
            for answer in new {
                assert!(answers.insert(answer.order.clone(), answer).is_none(), "answered twice");
            }
        };
        for now in 0..200_u64 {
            for (id, (first, count, _)) in orders.iter().enumerate().filter(|(_, o)| o.2 as u64 == now) {
                let actions = desk.handle_order(order(&format!("o{id}"), 1000 + first, *count));
                note(write_all(&mut desk, actions));
            }
            if !dropped.contains(&now) {
                let actions = desk.handle_frame(frame(1000 + now));
                note(write_all(&mut desk, actions));
            }
        }
        let actions = desk.handle_timeout(grid().instant(2000) + GRACE);
        note(write_all(&mut desk, actions));
        prop_assert_eq!(answers.len(), orders.len());
        for (id, (first, count, at)) in orders.iter().enumerate() {
            let answer = &answers[&name(&format!("o{id}"))];
            let asked: Vec<_> = (0..u64::from(*count)).map(|i| 1000 + first + i).collect();
            prop_assert_eq!(numbers(answer), asked);
            for frame in &answer.frames {
                let number = frame.first - 1000;
                let captured = number < 200 && !dropped.contains(&number);
                // Ten frames fit the ring, and the one of the order's own tick is not in it yet.
                let held = number + 10 >= *at as u64;
                if captured && number >= *at as u64 || captured && held && dropped.is_empty() {
                    prop_assert!(matches!(frame.fate, Fate::Saved { .. }), "{:?}", frame);
                }
                if !captured {
                    prop_assert!(matches!(frame.fate, Fate::Missed { .. }), "{:?}", frame);
                }
            }
        }
    }
}
