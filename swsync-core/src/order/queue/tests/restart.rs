//! Stops, restarts, and what is on disk by then.

use super::*;

#[test]
fn a_take_is_resumed_after_a_clean_restart_and_answered_as_a_whole() {
    let (mut queue, mut journal) = (queue(), Journal::default());
    place(&mut queue, &mut journal, take("t", 100, None));
    let mut answers = Vec::new();
    for number in 100..110 {
        let actions = queue.handle_frame(frame(number));
        answers.extend(write_all(&mut queue, actions));
    }
    let mut actions = VecDeque::from(queue.handle_stop());
    let Some(OrderAction::Suspend { named, .. }) = actions.pop_front() else { panic!("{actions:?}") };
    assert_eq!((named.first(), named.end()), (100, Some(110)), "its files are closed");
    let actions = queue.handle_closed(&name("t"));
    assert!(
        !actions.iter().any(|action| matches!(action, OrderAction::Journal(_))),
        "it stays open: {actions:?}"
    );
    answers.extend(write_all(&mut queue, actions));
    assert!(answers.len() == 1 && answers[0].saved() == 10 && !answers[0].is_complete(), "{answers:?}");

    let mut again = self::queue();
    let on_disk: Vec<_> = (100..110).map(|number| FrameRun::one(number, saved(number))).collect();
    again.restore(journal, |_| on_disk.clone());
    assert!(again.handle_order(take("t", 100, None)).unwrap().is_empty(), "it is known and open");
    for number in 120..130 {
        let actions = again.handle_frame(frame(number));
        assert!(write_all(&mut again, actions).is_empty());
    }
    let (_, actions) = again.handle_command(&stop("t", 130));
    let [answer] = &write_all(&mut again, actions)[..] else { panic!() };
    assert_eq!((answer.named(), answer.saved(), answer.unfinished.as_ref()), (30, 20, None));
    let hole = answer.frames.iter().find(|run| run.saved() == 0).unwrap();
    assert_eq!((hole.first, hole.count, hole.why()), (110, 10, Some("lost in the restart of the device")));
}

#[test]
fn a_stop_of_the_device_answers_open_orders_with_their_account_so_far() {
    let mut queue = queue();
    queue.handle_frame(frame(100));
    let actions = queue.handle_order(order("o", 100, 2)).unwrap();
    assert!(write_all(&mut queue, actions).is_empty());
    let actions = queue.handle_stop();
    let answers = write_all(&mut queue, actions);
    assert!(matches!(answers[0].frames[0].outcome, FrameOutcome::Saved { .. }));
    assert_eq!(answers[0].frames[1].why(), Some("the device was stopped"));
    assert!(answers[0].unfinished.is_some() && queue.is_idle());
    assert!(queue.handle_stop().is_empty(), "it is answered once");
    // Frames arrive again: the order goes on, in the same process.
    let actions = queue.handle_frame(frame(101));
    let answers = write_all(&mut queue, actions);
    assert!(answers[0].is_complete() && numbers(&answers[0]) == [100, 101], "{answers:?}");
}

#[test]
fn a_known_id_from_before_a_restart_is_refused_for_another_order() {
    let (mut queue, mut journal) = (queue(), Journal::default());
    for number in 100..110 {
        queue.handle_frame(frame(number));
    }
    let answer = place(&mut queue, &mut journal, order("o", 103, 2)).unwrap();
    for index in 0..400 {
        place(&mut queue, &mut journal, order(&format!("p{index}"), 105, 1)).unwrap();
    }
    let text: Vec<u8> = journal.records().flat_map(|record| record.to_line()).collect();
    let mut again = self::queue();
    again.restore(Journal::parse(&text).0, |_| panic!("nothing is open"));
    for queue in [&mut queue, &mut again] {
        for other in [order("o", 108, 2), order("o", 103, 3), take("o", 103, None)] {
            assert_eq!(queue.handle_order(other), Err(OrderRefused::Id(name("o"))));
        }
        assert_eq!(queue.handle_order(order("o", 103, 2)), Ok(vec![OrderAction::Answer(answer.clone())]));
    }
}

#[test]
fn an_order_known_only_from_disk_is_answered() {
    let mut queue = queue();
    queue.handle_frame(frame(500));
    assert!(!queue.knows(&name("o")));
    let dropped = FrameRun::one(101, FrameOutcome::Missed { why: "dropped".into() });
    let on_disk = vec![FrameRun::one(100, saved(100)), dropped.clone()];
    let actions = queue.handle_order_on_disk(order("o", 100, 2), on_disk).unwrap();
    let answers = write_all(&mut queue, actions);
    assert_eq!((answers[0].saved(), &answers[0].frames[1]), (1, &dropped));
    assert!(queue.knows(&name("o")));
}

#[test]
fn an_order_survives_a_restart() {
    let mut journal = Journal::default();
    let mut first = queue();
    for action in first.handle_order(order("o", 100, 4)).unwrap() {
        let OrderAction::Journal(record) = action else { panic!() };
        journal.apply(record);
    }
    first.handle_frame(frame(100)); // and it is on disk when power fails
    let mut again = OrderQueue::new(name("pi"), RingLimits { bytes: 1_000, time: Span::MAX });
    assert!(again.restore(journal, |_| vec![FrameRun::one(100, saved(100))]).is_empty());
    assert!(visible(again.set_grid(grid())).is_empty());
    let actions = again.handle_frame(frame(102));
    assert!(matches!(actions[0], OrderAction::Begin { .. }), "{actions:?}");
    assert!(write_all(&mut again, actions).is_empty());
    let actions = again.handle_frame(frame(103));
    let answers = write_all(&mut again, actions);
    assert_eq!(numbers(&answers[0]), [100, 101, 102, 103]);
    assert_eq!(
        (answers[0].saved(), answers[0].frames[1].why()),
        (3, Some("lost in the restart of the device"))
    );
}

#[test]
fn removed_frames_are_missed_also_after_a_restart() {
    const WHY: &str = "removed: max-files=2";
    let mut journal = Journal::default();
    let mut queue = queue().with_separate_files(true);
    let id = name("o");
    for action in queue.handle_order(order("o", 100, 6)).unwrap() {
        let OrderAction::Journal(record) = action else { panic!() };
        journal.apply(record);
    }
    for number in 100..104 {
        let actions = queue.handle_frame(frame(number));
        write_all(&mut queue, actions);
    }
    queue.handle_removed(&id, 102, (2, 2), WHY);
    let [progress] = &queue.progress()[..] else { panic!() };
    assert_eq!((progress.saved, progress.lost, progress.bytes), (2, 2, 2));
    assert_eq!(progress.why.as_deref(), Some(WHY));

    let mut again = self::queue().with_separate_files(true);
    let removed =
        FrameRun { first: 100, last: 101, count: 2, outcome: FrameOutcome::Missed { why: WHY.into() } };
    let saved = [102, 103].map(|number| FrameRun::one(number, saved(number)));
    again.restore(journal, |_| std::iter::once(removed.clone()).chain(saved.clone()).collect());
    for queue in [&mut queue, &mut again] {
        let mut answers = Vec::new();
        for number in 104..106 {
            let actions = queue.handle_frame(frame(number));
            answers.extend(write_all(queue, actions));
        }
        assert_eq!((answers[0].named(), answers[0].saved()), (6, 4));
        assert_eq!(answers[0].frames[0], removed);
        queue.handle_removed(&id, 104, (2, 2), WHY); // it is answered
        assert_eq!(queue.totals(), (4, 2));
    }
}

#[test]
fn saved_frames_are_accounted_for_if_the_camera_starts_late_after_a_restart() {
    let mut journal = Journal::default();
    let mut first = OrderQueue::<FrameNumber>::new(name("pi"), RingLimits { bytes: 1_000, time: Span::MAX });
    let mut actions = first.set_grid(grid());
    actions.extend(first.handle_order(order("o", 100, 4)).unwrap());
    for action in actions {
        if let OrderAction::Journal(record) = action {
            journal.apply(record);
        }
    }
    let mut again = OrderQueue::new(name("pi"), RingLimits { bytes: 1_000, time: Span::MAX });
    let actions = again.restore(journal, |_| vec![FrameRun::one(100, saved(100))]);
    assert!(actions.is_empty(), "frames may come yet: {actions:?}");
    let actions = again.handle_timeout(grid().instant(103) + GRACE + grid().period() * 2);
    let answers = write_all(&mut again, actions);
    assert_eq!((numbers(&answers[0]), answers[0].saved()), (vec![100, 101, 102, 103], 1));
    assert_eq!(answers[0].frames[1].why(), Some("lost in the restart of the device"));
}

/// The writer would not be told to finish its file.
#[test]
fn an_order_that_waits_for_the_writer_gets_no_frame_once_the_device_stops() {
    let saves = |actions: &[OrderAction<FrameNumber>]| -> Vec<_> {
        let ticket = |action: &OrderAction<FrameNumber>| match action {
            OrderAction::Save { ticket, .. } => Some(*ticket),
            _ => None,
        };
        actions.iter().filter_map(ticket).collect()
    };
    let mut queue = queue();
    queue.handle_order(take("t", 100, None)).unwrap();
    let held: Vec<_> = (100..105).flat_map(|number| saves(&queue.handle_frame(frame(number)))).collect();
    assert_eq!(held.len(), 5, "as much as the writer may have");
    assert!(saves(&queue.handle_order(order("o", 103, 1)).unwrap()).is_empty());
    let actions = queue.handle_stop();
    let answered = actions.iter().filter(|action| matches!(action, OrderAction::Answer(_))).count();
    assert_eq!((answered, saves(&actions).len()), (1, 0), "{actions:?}");
    queue.handle_written(&name("t"), 100..=104, saved(100));
    for ticket in held {
        assert!(saves(&queue.handle_released(ticket)).is_empty());
    }
}
