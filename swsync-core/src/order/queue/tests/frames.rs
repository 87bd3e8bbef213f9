//! Saving, missing and losing frames.

use super::*;

#[test]
fn past_frames_are_saved_from_the_ring() {
    let mut queue = queue();
    for number in 100..110 {
        let actions = queue.handle_frame(frame(number));
        assert!(actions.is_empty());
    }
    let actions = queue.handle_order(order("o", 103, 2)).unwrap();
    let answers = write_all(&mut queue, actions);
    assert!(answers[0].is_complete());
    assert_eq!(numbers(&answers[0]), [103, 104]);
    assert_eq!(queue.totals(), (2, 0));
}

#[test]
fn future_frames_are_saved_as_they_come() {
    let mut queue = queue();
    queue.handle_frame(frame(100));
    assert!(visible(queue.handle_order(order("o", 102, 2)).unwrap()).is_empty());
    assert!(queue.handle_frame(frame(101)).is_empty());
    let actions = queue.handle_frame(frame(102));
    assert!(write_all(&mut queue, actions).is_empty());
    let actions = queue.handle_frame(frame(103));
    assert!(write_all(&mut queue, actions)[0].is_complete());
}

#[test]
fn frames_older_than_the_ring_are_missed_with_its_range() {
    let mut queue = queue();
    for number in 100..120 {
        queue.handle_frame(frame(number));
    }
    let actions = queue.handle_order(order("o", 50, 1)).unwrap();
    let answers = write_all(&mut queue, actions);
    let FrameOutcome::Missed { why } = &answers[0].frames[0].outcome else { panic!("{answers:?}") };
    assert!(why.contains("110 to 119"), "{why}");
}

#[test]
fn a_dropped_frame_is_missed_when_a_later_one_arrives() {
    let mut queue = queue();
    queue.handle_frame(frame(100));
    queue.handle_order(order("o", 102, 1)).unwrap();
    assert!(queue.handle_frame(frame(101)).is_empty());
    let actions = queue.handle_frame(frame(103));
    let answers = write_all(&mut queue, actions);
    assert!(matches!(answers[0].frames[0].outcome, FrameOutcome::Missed { .. }));
}

#[test]
fn frames_of_a_silent_camera_are_missed_after_the_grace() {
    let mut queue = queue();
    queue.handle_frame(frame(100));
    queue.handle_order(order("o", 130, 1)).unwrap();
    let due = grid().instant(131) + GRACE;
    assert!(queue.handle_timeout(due - Span::from_millis(100)).is_empty());
    let actions = queue.handle_timeout(due + Span::from_millis(100));
    assert!(!write_all(&mut queue, actions)[0].is_complete());
    assert_eq!(queue.open_orders().count(), 0);
}

#[test]
fn frames_are_waited_for_as_long_as_the_latency_explains() {
    let second = Span::from_secs(1);
    let (due, before) = (grid().instant(131) + GRACE, Span::from_millis(100));
    // By what upstream states, and by what was seen.
    for stated in [true, false] {
        let mut queue = queue();
        if stated {
            queue.set_latency(second * 3);
        } else {
            queue.handle_age(second * 3);
        }
        queue.handle_frame(frame(100));
        queue.handle_order(order("o", 130, 1)).unwrap();
        assert!(queue.handle_timeout(due + second * 3 - before).is_empty(), "{stated}");
        assert!(!queue.handle_timeout(due + second * 3 + before).is_empty(), "{stated}");
    }
    // One long delay, or a step of the clock, does not make it wait for ever.
    let mut queue = queue();
    queue.handle_age(second * 20);
    queue.handle_age(second * 1_000_000);
    for _ in 0..1000 {
        queue.handle_age(before);
    }
    assert_eq!(queue.latency(), before);
    // An exposure may last a period.
    queue.set_grid(FrameGrid::new(1, 5).unwrap());
    assert_eq!(queue.latency(), second * 5);
}

#[test]
fn a_device_without_frames_answers_unnumbered() {
    let mut queue = OrderQueue::<FrameNumber>::new(name("pi"), RingLimits { bytes: 1, time: Span::ZERO });
    assert!(visible(queue.handle_order(order("o", 130, 3)).unwrap()).is_empty());
    let actions = queue.handle_timeout(grid().instant(134) + GRACE);
    let answers = write_all(&mut queue, actions);
    assert!(answers[0].unnumbered.is_some() && answers[0].frames.is_empty());
}

#[test]
fn a_missing_frame_has_the_reason_that_its_source_reports() {
    use crate::gap::{FrameGap, GapCause, LOST_DOWNSTREAM};
    let mut queue = queue();
    let actions = queue.handle_order(order("o", 101, 9)).unwrap();
    write_all(&mut queue, actions);
    let gap = |serial, first, count, cause| Some(FrameGap { serial, first, count, cause });
    let mut answers = Vec::new();
    let clock = gap(2, 102, 3, GapCause::Clock);
    for (number, gap) in [
        (100, gap(1, 0, 100, GapCause::Started)),
        (101, gap(1, 0, 100, GapCause::Started)),
        (107, clock),
        (109, clock),
    ] {
        let actions = queue.handle_frame(RingFrame { gap, ..frame(number) });
        answers.extend(write_all(&mut queue, actions));
    }
    let runs: Vec<_> = answers[0].frames.iter().filter(|run| run.saved() == 0).collect();
    let told: Vec<_> = runs.iter().map(|run| (run.first, run.count, run.why().unwrap())).collect();
    assert_eq!(told, [(102, 3, GapCause::Clock.why()), (105, 2, LOST_DOWNSTREAM), (108, 1, LOST_DOWNSTREAM)]);
}

#[test]
fn a_slow_writer_does_not_block_and_lost_frames_are_accounted_for() {
    let mut queue = queue(); // room for ten frames in the ring, and for five with the writer
    let actions = queue.handle_order(take("t", 100, None)).unwrap();
    assert!(visible(actions).is_empty());
    let mut held = Vec::new();
    let mut holes = Vec::new();
    for number in 100..130 {
        for action in queue.handle_frame(frame(number)) {
            match action {
                OrderAction::Save { ticket, number, .. } => held.push((ticket, number)),
                OrderAction::Hole { run, .. } => holes.push(run),
                _ => {}
            }
        }
        assert!(queue.backlog().0 <= 500 && queue.ring().bytes() <= 1000);
    }
    assert_eq!(held.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [100, 101, 102, 103, 104]);
    assert_eq!(queue.backlog(), (500, 500));
    assert_eq!(holes.iter().map(|run| run.first).collect::<Vec<_>>(), (105..120).collect::<Vec<_>>());
    assert!(holes[0].why().unwrap().contains("the disk could not keep up"));
    let more = queue.handle_released(held[0].0);
    assert!(matches!(more[..], [OrderAction::Save { number: 120, .. }]), "{more:?}");
    assert_eq!((queue.progress()[0].saved, queue.progress()[0].lost), (6, 15));
}

/// As of a video, whose frames are written when their file is.
#[test]
fn frames_that_are_written_together_are_one_run_up_to_a_frame_that_is_missing() {
    let mut queue = queue();
    queue.handle_order(order("o", 101, 5)).unwrap();
    let (mut tickets, mut actions) = (Vec::new(), Vec::new());
    for number in [101, 102, 104, 105, 106] {
        for action in queue.handle_frame(frame(number)) {
            match action {
                OrderAction::Save { ticket, .. } => tickets.push(ticket),
                other => actions.push(other),
            }
        }
    }
    queue.handle_written(&name("o"), 101..=105, saved(101));
    actions.extend(tickets.into_iter().flat_map(|ticket| queue.handle_released(ticket)));
    let answers = write_all(&mut queue, actions);
    let runs: Vec<_> = answers[0].frames.iter().map(|run| (run.first, run.last, run.count)).collect();
    assert_eq!(runs, [(101, 102, 2), (103, 103, 1), (104, 105, 2)]);
}

#[test]
fn an_order_is_known_by_its_id_as_long_as_it_is_open_and_once_it_is_answered() {
    let mut queue = queue();
    queue.handle_order(order("o", 101, 1)).unwrap();
    assert!(queue.knows(&name("o")) && !queue.knows(&name("other")));
    let actions = queue.handle_frame(frame(101));
    write_all(&mut queue, actions);
    assert_eq!(queue.open_orders().count(), 0);
    assert!(queue.knows(&name("o")) && !queue.knows(&name("other")));
}

#[test]
fn a_frame_that_the_writer_did_not_report_is_not_saved() {
    let mut queue = queue();
    queue.handle_order(order("o", 101, 2)).unwrap();
    for number in 101..104 {
        queue.handle_frame(frame(number));
    }
    queue.handle_written(&name("o"), 101..=101, saved(101));
    let actions = queue.handle_closed(&name("o"));
    let answers = write_all(&mut queue, actions);
    assert_eq!((answers[0].saved(), answers[0].frames[1].why()), (1, Some("the writer ended without it")));
}
