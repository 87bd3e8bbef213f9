//! Changes of frame rate, rig time and time scale.

use super::*;
use crate::message::TimeScale;

#[test]
fn new_rig_time_ends_open_orders() {
    let mut queue = queue();
    queue.handle_frame(frame(200_000));
    let actions = queue.handle_order(order("o", 200_000, 2)).unwrap();
    assert!(write_all(&mut queue, actions).is_empty());
    // A held clock, or frames in coding order, go back by a second at most. An hour means new rig time.
    let actions = queue.handle_frame(frame(199_980));
    assert!(write_all(&mut queue, actions).is_empty() && queue.ring().len() == 2);
    let actions = queue.handle_frame(frame(92_000));
    let answers = write_all(&mut queue, actions);
    assert!(matches!(answers[0].frames[0].outcome, FrameOutcome::Saved { .. }));
    assert!(answers[0].frames[1].why().unwrap().starts_with("rig time began anew"), "{answers:?}");
    assert_eq!(queue.ring().len(), 1);
    let actions = queue.handle_order(order("p", 92_000, 1)).unwrap();
    assert!(matches!(write_all(&mut queue, actions)[0].frames[0].outcome, FrameOutcome::Saved { .. }));
}

#[test]
fn another_grid_empties_the_ring() {
    let mut queue = queue();
    queue.handle_frame(frame(100));
    queue.set_grid(grid());
    assert_eq!(queue.ring().len(), 1);
    queue.set_grid(FrameGrid::new(60, 1).unwrap());
    assert!(queue.ring().is_empty());
}

#[test]
fn a_change_of_rate_ends_an_open_take_with_the_frames_so_far() {
    let mut queue = queue();
    let actions = queue.handle_order(take("t", 100, None)).unwrap();
    write_all(&mut queue, actions);
    for number in 100..105 {
        let actions = queue.handle_frame(frame(number));
        write_all(&mut queue, actions);
    }
    let actions = queue.set_grid(FrameGrid::new(60, 1).unwrap());
    let answers = write_all(&mut queue, actions);
    assert_eq!(numbers(&answers[0]), (100..105).collect::<Vec<_>>());
    assert!(!answers[0].is_complete(), "the order goes on without it: {answers:?}");
}

const OTHER_SCALE: &str =
    "another time scale: the order is of 0000000000000008, and this device is on 0000000000000007";

#[test]
fn frames_of_an_order_of_another_time_scale_are_missed() {
    let [own, other] = [7, 8].map(|id| Some(TimeScale(id)));
    let mut queue = queue();
    queue.set_timescale(own);
    queue.handle_frame(frame(100));
    let foreign = order("foreign", 100, 1).on_timescale(other);
    let actions = queue.handle_order(foreign.clone()).unwrap();
    let [OrderAction::Answer(answer)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((numbers(answer), answer.saved()), (vec![100], 0));
    assert_eq!(answer.frames[0].why(), Some(OTHER_SCALE));
    assert_eq!(answer.basis, TimeBasis { timescale: own, rate: Some(grid()) });
    // How far a take without an end goes is not known yet.
    let endless = queue.handle_order(take("endless", 100, None).on_timescale(other)).unwrap();
    let [OrderAction::Answer(answer)] = &endless[..] else { panic!("{endless:?}") };
    assert_eq!((answer.unnumbered.as_deref(), answer.frames.len()), (Some(OTHER_SCALE), 0));
    // Orders of its own time scale, and of none.
    for order in [order("own", 100, 1).on_timescale(own), order("unsaid", 100, 1)] {
        let actions = queue.handle_order(order).unwrap();
        assert!(write_all(&mut queue, actions)[0].is_complete());
    }
    // Once its clock is on that time scale, it serves the order.
    queue.set_timescale(other);
    queue.handle_frame(frame(100));
    let actions = queue.handle_order(foreign).unwrap();
    assert!(write_all(&mut queue, actions)[0].is_complete());
}

/// An order of each kind, of three frames from 100 on, or without an end.
fn one_of_each_kind() -> [Order; 4] {
    let every = OrderKind::Still { every: Some(grid().period()), count: Some(3) };
    let mut ended = take("ended", 100, None);
    ended.stop_at(grid().instant(103));
    [
        order("burst", 100, 3),
        Order::new(name("stills"), grid().instant(100), None, every).unwrap(),
        ended,
        take("endless", 100, None),
    ]
}

/// Hands `order` to a queue on time scale 8 whose newest frame is 100, and changes to time scale 7. Returns the answer.
fn answer_after_change(order: Order) -> Answer {
    let mut queue = queue();
    let mut answers = Vec::new();
    queue.set_timescale(Some(TimeScale(8)));
    let mut actions = queue.handle_order(order).unwrap();
    actions.extend(queue.handle_frame(frame(100)));
    answers.extend(write_all(&mut queue, actions));
    assert_eq!(answers, [], "it is open");
    let actions = queue.set_timescale(Some(TimeScale(7)));
    answers.extend(write_all(&mut queue, actions));
    for number in 101..200 {
        let actions = queue.handle_frame(frame(number));
        answers.extend(write_all(&mut queue, actions));
    }
    let [answer] = <[_; 1]>::try_from(answers).unwrap();
    answer
}

#[test]
fn the_rest_of_an_order_is_missed_when_its_time_scale_ends() {
    let named = |order: Order| order.on_timescale(Some(TimeScale(8)));
    // An order that does not say is of the time scale that the device was on when it got it.
    for order in one_of_each_kind().into_iter().flat_map(|order| [named(order.clone()), order]) {
        let answer = answer_after_change(order.clone());
        assert_eq!((answer.saved(), numbers(&answer)[0]), (1, 100), "{answer:?}");
        let why: Vec<_> = answer.frames[1..].iter().map(|run| (run.count, run.why())).collect();
        if order.ends_at(grid().period()).is_some() {
            assert_eq!((why, &answer.unfinished), (vec![(2, Some(OTHER_SCALE))], &None), "{answer:?}");
        } else {
            assert_eq!(why, []);
            assert!(answer.unfinished.as_deref().unwrap().ends_with(OTHER_SCALE), "{answer:?}");
        }
        assert_eq!(answer.basis.timescale, Some(TimeScale(7)));
        assert_eq!(crate::order::disagreements(&named(order), [&answer]).len(), 1, "the operator is told");
    }
}

#[test]
fn an_order_that_waits_for_the_first_frame_ends_with_its_time_scale() {
    let mut queue = OrderQueue::<FrameNumber>::new(name("pi"), RingLimits { bytes: 1_000, time: Span::MAX });
    queue.set_timescale(Some(TimeScale(8)));
    queue.handle_order(order("o", 100, 1)).unwrap();
    let actions = queue.set_timescale(Some(TimeScale(7)));
    let answers = write_all(&mut queue, actions);
    assert_eq!((answers[0].unnumbered.as_deref(), &answers[0].unfinished), (Some(OTHER_SCALE), &None));
    assert_eq!(queue.open_orders().count(), 0);
}

#[test]
fn a_clock_that_is_lost_for_a_while_ends_no_order() {
    let mut queue = queue();
    queue.set_timescale(Some(TimeScale(8)));
    let actions = queue.handle_order(order("o", 100, 3)).unwrap();
    assert!(write_all(&mut queue, actions).is_empty());
    let mut answers = Vec::new();
    for (number, timescale) in [(100, Some(8)), (101, None), (102, Some(8))] {
        let mut actions = queue.set_timescale(timescale.map(TimeScale));
        actions.extend(queue.handle_frame(frame(number)));
        answers.extend(write_all(&mut queue, actions));
    }
    assert!(answers[0].is_complete() && answers[0].basis.timescale == Some(TimeScale(8)), "{answers:?}");
    // The next order ends: a clock that is lost, and is on another time scale when it is back, is no exception.
    queue.handle_order(order("p", 103, 3)).unwrap();
    queue.set_timescale(None);
    let actions = queue.set_timescale(Some(TimeScale(7)));
    assert_eq!(write_all(&mut queue, actions)[0].frames[0].why(), Some(OTHER_SCALE));
}

#[test]
fn frames_of_two_time_scales_are_never_in_one_order() {
    let mut queue = queue();
    let of = |number, id| RingFrame { timescale: Some(TimeScale(id)), ..frame(number) };
    queue.set_timescale(Some(TimeScale(8)));
    for number in 90..95 {
        queue.handle_frame(of(number, 8));
    }
    queue.set_timescale(Some(TimeScale(7)));
    let actions = queue.handle_order(order("past", 93, 10)).unwrap();
    let mut answers = write_all(&mut queue, actions);
    // The encoder had held back some.
    for frame in (95..98).map(|number| of(number, 8)).chain((98..103).map(|number| of(number, 7))) {
        let actions = queue.handle_frame(frame);
        answers.extend(write_all(&mut queue, actions));
    }
    assert_eq!((answers[0].saved(), answers[0].named()), (5, 10));
    let why = answers[0].frames[0].why().unwrap();
    assert!(why.starts_with("another time scale: frames of then are of 0000000000000008"), "{why}");
    assert_eq!(queue.ring().range(), Some((98, 102)));
}

#[test]
fn what_was_open_before_a_restart_ends_if_the_time_scale_is_another_one_then() {
    let mut journal = Journal::default();
    let mut before = queue();
    for action in before.set_timescale(Some(TimeScale(8))) {
        let OrderAction::Journal(record) = action else { panic!("{action:?}") };
        journal.apply(record);
    }
    place(&mut before, &mut journal, order("o", 100, 3));
    assert_eq!(journal.open()[0].order.timescale(), Some(TimeScale(8)), "it is remembered");
    let mut queue = queue();
    let on_disk = FrameRun::one(100, saved(100));
    let actions = queue.restore(journal, |_| vec![on_disk.clone()]);
    assert!(write_all(&mut queue, actions).is_empty());
    let actions = queue.set_timescale(Some(TimeScale(7)));
    let answers = write_all(&mut queue, actions);
    assert_eq!((answers[0].saved(), answers[0].frames[1].why()), (1, Some(OTHER_SCALE)), "{answers:?}");
}

#[test]
fn a_take_on_disk_is_accounted_for_whatever_the_time_scale_is_now() {
    let mut queue = queue();
    queue.set_timescale(Some(TimeScale(7)));
    let on_disk: Vec<_> = (100..103).map(|number| FrameRun::one(number, saved(number))).collect();
    let asked = order("o", 100, 3).on_timescale(Some(TimeScale(8)));
    let actions = queue.handle_order_on_disk(asked, on_disk).unwrap();
    assert_eq!(write_all(&mut queue, actions)[0].saved(), 3);
}
