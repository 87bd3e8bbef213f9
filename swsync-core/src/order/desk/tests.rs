use super::*;
use crate::frame::{FrameDetails, FrameInfo, LockState, SyncState};
use crate::name::Name;
use crate::order::Kind;
use crate::order::{GRACE, OrderError};
use crate::ring::Coding;
use crate::time::Span;

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
    Entry {
        number,
        time: grid().instant(number),
        bytes: 100,
        coding: Coding::Key,
        gap: None,
        payload: number,
    }
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
            sync: SyncState::Synced,
            lock: Some(LockState::Locked),
            exposure_ns: None,
            analogue_gain: None,
            sensor_time_ns: None,
            details: FrameDetails::default(),
        },
    }
}

/// Plays the writer: everything to save is saved at once. Returns the answers.
fn write_all(desk: &mut Desk<FrameNumber>, actions: Vec<Action<FrameNumber>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut actions = VecDeque::from(actions);
    while let Some(action) = actions.pop_front() {
        match action {
            Action::Save { order, number, payload, ticket, role, .. } => {
                assert_eq!((number, role), (payload, Role::Named));
                desk.handle_written(&order, number..=number, saved(number));
                actions.extend(desk.handle_taken(ticket));
            }
            Action::Close { order } | Action::Suspend { order, .. } => {
                actions.extend(desk.handle_closed(&order));
            }
            Action::Answer(answer) => answers.push(answer),
            Action::Journal(_) | Action::Begin { .. } | Action::Hole { .. } => {}
            Action::RequestKey { .. } => panic!("these are pictures"),
        }
    }
    answers
}

/// Everything but the journal's lines.
fn visible(actions: Vec<Action<FrameNumber>>) -> Vec<Action<FrameNumber>> {
    actions.into_iter().filter(|action| !matches!(action, Action::Journal(_))).collect()
}

fn numbers(answer: &Answer) -> Vec<FrameNumber> {
    answer.frames.iter().flat_map(|run| run.first..=run.last).collect()
}

#[test]
fn past_frames_come_out_of_the_ring() {
    let mut desk = desk();
    for number in 100..110 {
        let actions = desk.handle_frame(frame(number));
        assert!(actions.is_empty());
    }
    let actions = desk.handle_order(order("o", 103, 2)).unwrap();
    let answers = write_all(&mut desk, actions);
    assert!(answers[0].is_complete());
    assert_eq!(numbers(&answers[0]), [103, 104]);
    assert_eq!(desk.totals(), (2, 0));
}

#[test]
fn future_frames_are_saved_as_they_come() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    assert!(visible(desk.handle_order(order("o", 102, 2)).unwrap()).is_empty());
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
    let actions = desk.handle_order(order("o", 50, 1)).unwrap();
    let answers = write_all(&mut desk, actions);
    let Fate::Missed { why } = &answers[0].frames[0].fate else { panic!("{answers:?}") };
    assert!(why.contains("110 to 119"), "{why}");
}

#[test]
fn a_dropped_frame_is_missed_once_a_later_one_arrives() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    desk.handle_order(order("o", 102, 1)).unwrap();
    assert!(desk.handle_frame(frame(101)).is_empty());
    let actions = desk.handle_frame(frame(103));
    let answers = write_all(&mut desk, actions);
    assert!(matches!(answers[0].frames[0].fate, Fate::Missed { .. }));
}

#[test]
fn a_silent_camera_is_given_up_after_the_grace() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    desk.handle_order(order("o", 130, 1)).unwrap();
    let due = grid().instant(131) + GRACE;
    assert!(desk.handle_timeout(due - Span::from_millis(100)).is_empty());
    let actions = desk.handle_timeout(due + Span::from_millis(100));
    assert!(!write_all(&mut desk, actions)[0].is_complete());
    assert_eq!(desk.open_orders().count(), 0);
}

#[test]
fn late_frames_are_waited_for_as_long_as_they_take() {
    let second = Span::from_secs(1);
    let (due, before) = (grid().instant(131) + GRACE, Span::from_millis(100));
    // By what is stated before the first of them; by what was seen.
    for stated in [true, false] {
        let mut desk = desk();
        if stated {
            desk.set_latency(second * 3);
        } else {
            desk.handle_age(second * 3);
        }
        desk.handle_frame(frame(100));
        desk.handle_order(order("o", 130, 1)).unwrap();
        assert!(desk.handle_timeout(due + second * 3 - before).is_empty(), "{stated}");
        assert!(!desk.handle_timeout(due + second * 3 + before).is_empty(), "{stated}");
    }
    // A machine that stood still once, or a clock that was set, is no reason to wait for ever.
    let mut desk = desk();
    desk.handle_age(second * 20);
    desk.handle_age(second * 1_000_000);
    for _ in 0..1000 {
        desk.handle_age(before);
    }
    assert_eq!(desk.latency(), before);
    // An exposure lasts as long as a period may.
    desk.set_grid(FrameGrid::new(1, 5).unwrap());
    assert_eq!(desk.latency(), second * 5);
}

#[test]
fn a_device_without_frames_says_so() {
    let mut desk = Desk::<FrameNumber>::new(name("pi"), Limits { bytes: 1, time: Span::ZERO });
    assert!(visible(desk.handle_order(order("o", 130, 3)).unwrap()).is_empty());
    let actions = desk.handle_timeout(grid().instant(134) + GRACE);
    let answers = write_all(&mut desk, actions);
    assert!(answers[0].unnumbered.is_some() && answers[0].frames.is_empty());
}

#[test]
fn an_order_that_arrives_again_is_not_served_again() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    let actions = desk.handle_order(order("o", 100, 1)).unwrap();
    assert!(desk.handle_order(order("o", 100, 1)).unwrap().is_empty()); // while the writer is busy
    let answers = write_all(&mut desk, actions);
    let again = desk.handle_order(order("o", 100, 1)).unwrap();
    assert_eq!(again, [Action::Answer(answers[0].clone())]);
    assert_eq!(desk.totals(), (1, 0));
}

#[test]
fn stopping_answers_what_is_open_with_what_there_is_so_far() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    let actions = desk.handle_order(order("o", 100, 2)).unwrap();
    assert!(write_all(&mut desk, actions).is_empty());
    let actions = desk.handle_stop();
    let answers = write_all(&mut desk, actions);
    assert!(matches!(answers[0].frames[0].fate, Fate::Saved { .. }));
    assert_eq!(answers[0].frames[1].why(), Some("the device was stopped"));
    assert!(answers[0].unfinished.is_some() && desk.is_at_rest());
    assert!(desk.handle_stop().is_empty(), "it is told once");
    // Frames come again: it goes on, in the same process.
    let actions = desk.handle_frame(frame(101));
    let answers = write_all(&mut desk, actions);
    assert!(answers[0].is_complete() && numbers(&answers[0]) == [100, 101], "{answers:?}");
}

#[test]
fn a_take_goes_on_after_a_clean_restart_and_its_answer_is_for_all_of_it() {
    let (mut desk, mut journal) = (desk(), Journal::default());
    taken(&mut desk, &mut journal, take("t", 100, None));
    let mut said = Vec::new();
    for number in 100..110 {
        let actions = desk.handle_frame(frame(number));
        said.extend(write_all(&mut desk, actions));
    }
    let mut actions = VecDeque::from(desk.handle_stop());
    let Some(Action::Suspend { named, .. }) = actions.pop_front() else { panic!("{actions:?}") };
    assert_eq!((named.first(), named.end()), (100, Some(110)), "its files are closed as they are");
    let actions = desk.handle_closed(&name("t"));
    assert!(!actions.iter().any(|action| matches!(action, Action::Journal(_))), "it stays open: {actions:?}");
    said.extend(write_all(&mut desk, actions));
    assert!(said.len() == 1 && said[0].saved() == 10 && !said[0].is_complete(), "{said:?}");

    let mut again = self::desk();
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
fn reasons_are_what_the_source_says() {
    use crate::gap::{Cause, Gap, LOST_BETWEEN};
    let mut desk = desk();
    let actions = desk.handle_order(order("o", 101, 9)).unwrap();
    write_all(&mut desk, actions);
    let gap = |serial, first, count, cause| Some(Gap { serial, first, count, cause });
    let mut answers = Vec::new();
    let clock = gap(2, 102, 3, Cause::Clock);
    for (number, gap) in [
        (100, gap(1, 0, 100, Cause::Started)),
        (101, gap(1, 0, 100, Cause::Started)),
        (107, clock),
        (109, clock),
    ] {
        let actions = desk.handle_frame(Entry { gap, ..frame(number) });
        answers.extend(write_all(&mut desk, actions));
    }
    let runs: Vec<_> = answers[0].frames.iter().filter(|run| run.saved() == 0).collect();
    let told: Vec<_> = runs.iter().map(|run| (run.first, run.count, run.why().unwrap())).collect();
    assert_eq!(told, [(102, 3, Cause::Clock.why()), (105, 2, LOST_BETWEEN), (108, 1, LOST_BETWEEN)]);
}

#[test]
fn time_that_begins_anew_ends_what_is_open() {
    let mut desk = desk();
    desk.handle_frame(frame(200_000));
    let actions = desk.handle_order(order("o", 200_000, 2)).unwrap();
    assert!(write_all(&mut desk, actions).is_empty());
    // A second back is a clock that is held, or frames out of order; an hour is another time.
    let actions = desk.handle_frame(frame(199_980));
    assert!(write_all(&mut desk, actions).is_empty() && desk.ring().len() == 2);
    let actions = desk.handle_frame(frame(92_000));
    let answers = write_all(&mut desk, actions);
    assert!(matches!(answers[0].frames[0].fate, Fate::Saved { .. }));
    assert!(answers[0].frames[1].why().unwrap().starts_with("rig time began anew"), "{answers:?}");
    assert_eq!(desk.ring().len(), 1);
    let actions = desk.handle_order(order("p", 92_000, 1)).unwrap();
    assert!(matches!(write_all(&mut desk, actions)[0].frames[0].fate, Fate::Saved { .. }));
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

fn take(id: &str, first: FrameNumber, segment: Option<Span>) -> Order {
    let kind = Kind::Take { segment, fill: Default::default() };
    Order::new(name(id), grid().instant(first), None, kind).unwrap()
}

fn stop(id: &str, end: FrameNumber) -> Command {
    Command::Stop { order: name(id), at_ns: grid().instant(end) }
}

#[test]
fn a_take_is_a_run_and_ends_where_it_is_stopped() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    let actions = desk.handle_order(take("t", 102, None)).unwrap();
    write_all(&mut desk, actions);
    for number in 101..160 {
        let actions = desk.handle_frame(frame(number));
        assert!(write_all(&mut desk, actions).is_empty());
    }
    let progress = desk.progress();
    assert_eq!((progress[0].saved, progress[0].lost, progress[0].named), (58, 0, None));
    assert_eq!(desk.handle_command(&stop("t", 162)).0, Standing::Open);
    assert_eq!(desk.handle_command(&stop("t", 170)).0, Standing::Open, "the earliest counts");
    assert!(desk.handle_frame(frame(160)).len() == 1);
    let actions = desk.handle_frame(frame(162));
    assert!(matches!(actions[..], [Action::Hole { .. }, Action::Close { .. }]), "{actions:?}");
    desk.handle_written(&name("t"), 160..=160, saved(160));
    let answers = write_all(&mut desk, actions);
    assert_eq!(numbers(&answers[0]), (102..162).collect::<Vec<_>>());
    let [run, hole] = &answers[0].frames[..] else { panic!("{answers:?}") };
    assert_eq!((run.first, run.last, run.count, run.bytes()), (102, 160, 59, 59));
    assert_eq!(hole.why(), Some(crate::gap::UNKNOWN), "nothing says that it was the camera");
}

#[test]
fn a_stop_that_comes_too_late_says_by_how_much() {
    let mut desk = desk();
    let actions = desk.handle_order(take("t", 100, None)).unwrap();
    write_all(&mut desk, actions);
    for number in 100..110 {
        let actions = desk.handle_frame(frame(number));
        write_all(&mut desk, actions);
    }
    let (standing, actions) = desk.handle_command(&stop("t", 107));
    assert_eq!(standing, Standing::Late { surplus: 3 });
    let answers = write_all(&mut desk, actions);
    assert_eq!(
        numbers(&answers[0]),
        (100..110).collect::<Vec<_>>(),
        "what was recorded stays in the account"
    );
}

#[test]
fn commands_may_come_before_the_order() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    let cancel = Command::Cancel { order: name("c") };
    assert_eq!(desk.handle_command(&cancel).0, Standing::Unknown);
    assert_eq!(desk.handle_command(&stop("t", 103)).0, Standing::Unknown);
    let actions = desk.handle_order(order("c", 100, 1)).unwrap();
    let answers = write_all(&mut desk, actions);
    assert_eq!(answers[0].frames[0].why(), Some("cancelled"));
    let actions = desk.handle_order(take("t", 101, None)).unwrap();
    assert!(write_all(&mut desk, actions).is_empty());
    let mut answers = Vec::new();
    for number in 101..104 {
        let actions = desk.handle_frame(frame(number));
        answers.extend(write_all(&mut desk, actions));
    }
    assert_eq!(numbers(&answers[0]), [101, 102]);
    assert_eq!(desk.handle_command(&stop("t", 200)).0, Standing::Answered);
}

#[test]
fn an_order_that_arrives_stopped_stops_the_one_that_is_open() {
    let mut desk = desk();
    let actions = desk.handle_order(take("t", 100, None)).unwrap();
    write_all(&mut desk, actions);
    let mut stopped = take("t", 100, None);
    stopped.stop_at(grid().instant(101));
    let actions = desk.handle_order(stopped).unwrap();
    assert!(write_all(&mut desk, actions).is_empty());
    let actions = desk.handle_frame(frame(100));
    assert_eq!(numbers(&write_all(&mut desk, actions)[0]), [100]);
}

#[test]
fn an_id_answers_for_one_order_only() {
    let mut desk = desk();
    desk.handle_frame(frame(100));
    let actions = desk.handle_order(order("o", 100, 1)).unwrap();
    write_all(&mut desk, actions);
    assert_eq!(desk.handle_order(order("o", 101, 1)), Err(Refused::Id(name("o"))));
    for index in 0..MAX_OPEN {
        desk.handle_order(order(&format!("p{index}"), 500, 1)).unwrap();
    }
    assert_eq!(desk.handle_order(order("q", 500, 1)), Err(Refused::TooMany));
}

/// Has `desk` take an order and writes what comes of it, and the journal too. The answer, if it is given at once.
fn taken(desk: &mut Desk<FrameNumber>, journal: &mut Journal, order: Order) -> Option<Answer> {
    let mut actions = VecDeque::from(desk.handle_order(order).unwrap());
    let mut answer = None;
    while let Some(action) = actions.pop_front() {
        match action {
            Action::Journal(record) => journal.apply(record),
            Action::Answer(given) => answer = Some(given),
            other => {
                let Action::Save { order, number, ticket, .. } = other else {
                    if let Action::Close { order } = other {
                        actions.extend(desk.handle_closed(&order));
                    }
                    continue;
                };
                desk.handle_written(&order, number..=number, saved(number));
                actions.extend(desk.handle_taken(ticket));
            }
        }
    }
    answer
}

#[test]
fn an_id_of_before_a_restart_answers_for_the_same_order_only() {
    let (mut desk, mut journal) = (desk(), Journal::default());
    for number in 100..110 {
        desk.handle_frame(frame(number));
    }
    let answer = taken(&mut desk, &mut journal, order("o", 103, 2)).unwrap();
    for index in 0..400 {
        taken(&mut desk, &mut journal, order(&format!("p{index}"), 105, 1)).unwrap();
    }
    let text: Vec<u8> = journal.records().flat_map(|record| record.to_line()).collect();
    let mut again = self::desk();
    again.restore(Journal::parse(&text).0, |_| panic!("nothing is open"));
    for desk in [&mut desk, &mut again] {
        for other in [order("o", 108, 2), order("o", 103, 3), take("o", 103, None)] {
            assert_eq!(desk.handle_order(other), Err(Refused::Id(name("o"))));
        }
        assert_eq!(desk.handle_order(order("o", 103, 2)), Ok(vec![Action::Answer(answer.clone())]));
    }
}

#[test]
fn a_take_that_only_the_disk_remembers_is_answered_for() {
    let mut desk = desk();
    desk.handle_frame(frame(500));
    assert!(!desk.knows(&name("o")));
    let dropped = FrameRun::one(101, Fate::Missed { why: "dropped".into() });
    let on_disk = vec![FrameRun::one(100, saved(100)), dropped.clone()];
    let actions = desk.handle_order_on_disk(order("o", 100, 2), on_disk).unwrap();
    let answers = write_all(&mut desk, actions);
    assert_eq!((answers[0].saved(), &answers[0].frames[1]), (1, &dropped));
    assert!(desk.knows(&name("o")));
}

#[test]
fn a_slow_writer_holds_up_nobody_and_what_it_loses_is_named() {
    let mut desk = desk(); // ten frames in the ring, five with the writer
    let actions = desk.handle_order(take("t", 100, None)).unwrap();
    assert!(visible(actions).is_empty());
    let mut held = Vec::new();
    let mut holes = Vec::new();
    for number in 100..130 {
        for action in desk.handle_frame(frame(number)) {
            match action {
                Action::Save { ticket, number, .. } => held.push((ticket, number)),
                Action::Hole { run, .. } => holes.push(run),
                _ => {}
            }
        }
        assert!(desk.backlog().0 <= 500 && desk.ring().bytes() <= 1000);
    }
    assert_eq!(held.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [100, 101, 102, 103, 104]);
    assert_eq!(holes.iter().map(|run| run.first).collect::<Vec<_>>(), (105..120).collect::<Vec<_>>());
    assert!(holes[0].why().unwrap().contains("the disk could not keep up"));
    let more = desk.handle_taken(held[0].0);
    assert!(matches!(more[..], [Action::Save { number: 120, .. }]), "{more:?}");
    assert_eq!((desk.progress()[0].saved, desk.progress()[0].lost), (6, 15));
}

#[test]
fn an_order_survives_a_restart() {
    let mut journal = Journal::default();
    let mut first = desk();
    for action in first.handle_order(order("o", 100, 4)).unwrap() {
        let Action::Journal(record) = action else { panic!() };
        journal.apply(record);
    }
    first.handle_frame(frame(100)); // and it is on disk when power fails
    let mut again = Desk::new(name("pi"), Limits { bytes: 1_000, time: Span::MAX });
    assert!(again.restore(journal, |_| vec![FrameRun::one(100, saved(100))]).is_empty());
    assert!(visible(again.set_grid(grid())).is_empty());
    let actions = again.handle_frame(frame(102));
    assert!(matches!(actions[0], Action::Begin { .. }), "{actions:?}");
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
fn what_is_removed_again_is_missed_also_after_a_restart() {
    const WHY: &str = "removed: max-files=2";
    let mut journal = Journal::default();
    let mut desk = desk().with_files_apart(true);
    let id = name("o");
    for action in desk.handle_order(order("o", 100, 6)).unwrap() {
        let Action::Journal(record) = action else { panic!() };
        journal.apply(record);
    }
    for number in 100..104 {
        let actions = desk.handle_frame(frame(number));
        write_all(&mut desk, actions);
    }
    desk.handle_removed(&id, 102, (2, 2), WHY);
    let [progress] = &desk.progress()[..] else { panic!() };
    assert_eq!((progress.saved, progress.lost, progress.bytes), (2, 2, 2));
    assert_eq!(progress.why.as_deref(), Some(WHY));

    let mut again = self::desk().with_files_apart(true);
    let removed = FrameRun { first: 100, last: 101, count: 2, fate: Fate::Missed { why: WHY.into() } };
    let saved = [102, 103].map(|number| FrameRun::one(number, saved(number)));
    again.restore(journal, |_| std::iter::once(removed.clone()).chain(saved.clone()).collect());
    for desk in [&mut desk, &mut again] {
        let mut answers = Vec::new();
        for number in 104..106 {
            let actions = desk.handle_frame(frame(number));
            answers.extend(write_all(desk, actions));
        }
        assert_eq!((answers[0].named(), answers[0].saved()), (6, 4));
        assert_eq!(answers[0].frames[0], removed);
        desk.handle_removed(&id, 104, (2, 2), WHY); // it is answered
        assert_eq!(desk.totals(), (4, 2));
    }
}

#[test]
fn a_camera_that_is_slow_to_start_again_does_not_cost_what_was_saved() {
    let mut journal = Journal::default();
    let mut first = Desk::<FrameNumber>::new(name("pi"), Limits { bytes: 1_000, time: Span::MAX });
    let mut actions = first.set_grid(grid());
    actions.extend(first.handle_order(order("o", 100, 4)).unwrap());
    for action in actions {
        if let Action::Journal(record) = action {
            journal.apply(record);
        }
    }
    let mut again = Desk::new(name("pi"), Limits { bytes: 1_000, time: Span::MAX });
    let actions = again.restore(journal, |_| vec![FrameRun::one(100, saved(100))]);
    assert!(actions.is_empty(), "frames may come yet: {actions:?}");
    let actions = again.handle_timeout(grid().instant(103) + GRACE + grid().period() * 2);
    let answers = write_all(&mut again, actions);
    assert_eq!((numbers(&answers[0]), answers[0].saved()), (vec![100, 101, 102, 103], 1));
    assert_eq!(answers[0].frames[1].why(), Some("lost in the restart of the device"));
}

#[test]
fn an_order_without_an_end_survives_a_change_of_rate_with_what_it_has() {
    let mut desk = desk();
    let actions = desk.handle_order(take("t", 100, None)).unwrap();
    write_all(&mut desk, actions);
    for number in 100..105 {
        let actions = desk.handle_frame(frame(number));
        write_all(&mut desk, actions);
    }
    let actions = desk.set_grid(FrameGrid::new(60, 1).unwrap());
    let answers = write_all(&mut desk, actions);
    assert_eq!(numbers(&answers[0]), (100..105).collect::<Vec<_>>());
    assert!(!answers[0].is_complete(), "the order goes on without it: {answers:?}");
}

/// A frame of a video with a key frame every 10.
fn coded(number: FrameNumber) -> Entry<FrameNumber> {
    let coding = if number.is_multiple_of(10) { Coding::Key } else { Coding::Delta };
    Entry { coding, ..frame(number) }
}

/// What is handed out: file, number, and whether it is named.
fn saves(actions: &[Action<FrameNumber>]) -> Vec<(u64, FrameNumber, bool)> {
    let save = |action: &Action<FrameNumber>| match action {
        Action::Save { segment, number, role, .. } => Some((*segment, *number, *role == Role::Named)),
        _ => None,
    };
    actions.iter().filter_map(save).collect()
}

fn wide_desk() -> Desk<FrameNumber> {
    let mut desk = Desk::new(name("pi"), Limits { bytes: 100_000, time: Span::MAX });
    desk.set_grid(grid());
    desk
}

#[test]
fn a_past_start_of_video_has_its_lead_in() {
    let mut desk = wide_desk();
    for number in 100..125 {
        desk.handle_frame(coded(number));
    }
    let actions = desk.handle_order(take("t", 113, None)).unwrap();
    let lead_in = (110..113).map(|number| (0, number, false));
    let named = (113..125).map(|number| (0, number, true));
    assert_eq!(saves(&actions), lead_in.chain(named).collect::<Vec<_>>());
}

#[test]
fn key_frames_are_asked_for_at_start_and_cuts() {
    let mut desk = wide_desk();
    for number in 100..110 {
        desk.handle_frame(coded(number));
    }
    desk.handle_order(take("t", 200, Some(Span::from_secs(2)))).unwrap();
    let mut asked = Vec::new();
    for number in 110..300 {
        for action in desk.handle_frame(coded(number)) {
            if let Action::RequestKey { number: key, at } = action {
                assert_eq!(at, grid().instant(key));
                assert_eq!(key, number + 30, "a second ahead");
                asked.push(key);
            }
        }
    }
    assert_eq!(asked, [200, 260, 320]);
}

#[test]
fn a_cut_that_is_no_key_frame_has_a_lead_in_too() {
    let mut desk = wide_desk();
    desk.handle_order(take("t", 105, Some(Span::from_secs(1)))).unwrap();
    let mut all = Vec::new();
    for number in 100..140 {
        all.extend(saves(&desk.handle_frame(coded(number))));
    }
    let in_point = |segment| all.iter().filter(|save| save.0 == segment).take_while(|save| !save.2).count();
    assert_eq!((in_point(0), in_point(1)), (5, 5)); // 100..105, and 130..135 once more
    let named: Vec<_> = all.iter().filter(|save| save.2).map(|save| save.1).collect();
    assert_eq!(named, (105..140).collect::<Vec<_>>());
}

#[test]
fn an_order_of_another_time_scale_is_missed_and_said_so() {
    let [own, other] = [7, 8].map(|id| Some(TimeScale(id)));
    let mut desk = desk();
    desk.set_timescale(own);
    desk.handle_frame(frame(100));
    let foreign = order("foreign", 100, 1).on_timescale(other);
    let actions = desk.handle_order(foreign.clone()).unwrap();
    let [Action::Answer(answer)] = &actions[..] else { panic!("{actions:?}") };
    assert!(!answer.is_complete() && answer.frames.is_empty());
    assert!(answer.unnumbered.as_deref().unwrap().contains("time scale 0000000000000007"), "{answer:?}");
    assert_eq!(answer.basis, Basis { timescale: own, rate: Some(grid()) });
    // On its own, and where it is not said.
    for order in [order("own", 100, 1).on_timescale(own), order("unsaid", 100, 1)] {
        let actions = desk.handle_order(order).unwrap();
        assert!(write_all(&mut desk, actions)[0].is_complete());
    }
    // Once its clock is there, it can serve the one that it could not.
    desk.set_timescale(other);
    let actions = desk.handle_order(foreign).unwrap();
    assert!(write_all(&mut desk, actions)[0].is_complete());
}

#[test]
fn open_orders_go_on_when_the_clock_comes_to_another_time_scale_without_a_step() {
    let mut desk = desk();
    desk.set_timescale(Some(TimeScale(7)));
    desk.handle_frame(frame(100));
    let asked = order("named", 101, 3).on_timescale(Some(TimeScale(7)));
    assert!(visible(desk.handle_order(asked.clone()).unwrap()).is_empty());
    let mut actions = desk.handle_frame(frame(101));
    // The leader was restarted.
    desk.set_timescale(Some(TimeScale(8)));
    assert!(visible(desk.handle_order(asked.clone()).unwrap()).is_empty(), "it is open, whoever asks again");
    actions.extend([102, 103].into_iter().flat_map(|number| desk.handle_frame(frame(number))));
    let answers = write_all(&mut desk, actions);
    let [answer] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((answer.saved(), answer.named()), (3, 3), "{answer:?}");
    let [difference] = &crate::order::differences(&asked, &answers)[..] else { panic!() };
    assert!(difference.what.contains("the order is of time scale 0000000000000007"), "{difference:?}");
}
