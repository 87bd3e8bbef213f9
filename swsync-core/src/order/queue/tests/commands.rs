//! Stops and cancellations, and orders that arrive again.

use super::*;

#[test]
fn a_take_ends_where_it_is_stopped() {
    let mut queue = queue();
    queue.handle_frame(frame(100));
    let actions = queue.handle_order(take("t", 102, None)).unwrap();
    write_all(&mut queue, actions);
    for number in 101..160 {
        let actions = queue.handle_frame(frame(number));
        assert!(write_all(&mut queue, actions).is_empty());
    }
    let progress = queue.progress();
    assert_eq!((progress[0].saved, progress[0].lost, progress[0].named), (58, 0, None));
    assert_eq!(queue.handle_command(&stop("t", 162)).0, CommandOutcome::Open);
    assert_eq!(queue.handle_command(&stop("t", 170)).0, CommandOutcome::Open, "the earliest counts");
    assert!(queue.handle_frame(frame(160)).len() == 1);
    let actions = queue.handle_frame(frame(162));
    assert!(matches!(actions[..], [OrderAction::Hole { .. }, OrderAction::Close { .. }]), "{actions:?}");
    queue.handle_written(&name("t"), 160..=160, saved(160));
    let answers = write_all(&mut queue, actions);
    assert_eq!(numbers(&answers[0]), (102..162).collect::<Vec<_>>());
    let [run, hole] = &answers[0].frames[..] else { panic!("{answers:?}") };
    assert_eq!((run.first, run.last, run.count, run.bytes()), (102, 160, 59, 59));
    assert_eq!(hole.why(), Some(crate::gap::UNKNOWN), "without a gap from the source the reason is unknown");
}

#[test]
fn a_late_stop_reports_how_many_frames_come_after_it() {
    let mut queue = queue();
    let actions = queue.handle_order(take("t", 100, None)).unwrap();
    write_all(&mut queue, actions);
    for number in 100..110 {
        let actions = queue.handle_frame(frame(number));
        write_all(&mut queue, actions);
    }
    let (outcome, actions) = queue.handle_command(&stop("t", 107));
    assert_eq!(outcome, CommandOutcome::Late { surplus: 3 });
    let answers = write_all(&mut queue, actions);
    assert_eq!(numbers(&answers[0]), (100..110).collect::<Vec<_>>(), "recorded frames stay in the account");
}

#[test]
fn commands_may_come_before_the_order() {
    let mut queue = queue();
    queue.handle_frame(frame(100));
    let cancel = OrderCommand::Cancel { order: name("c") };
    assert_eq!(queue.handle_command(&cancel).0, CommandOutcome::Unknown);
    assert_eq!(queue.handle_command(&stop("t", 103)).0, CommandOutcome::Unknown);
    let actions = queue.handle_order(order("c", 100, 1)).unwrap();
    let answers = write_all(&mut queue, actions);
    assert_eq!(answers[0].frames[0].why(), Some("cancelled"));
    let actions = queue.handle_order(take("t", 101, None)).unwrap();
    assert!(write_all(&mut queue, actions).is_empty());
    let mut answers = Vec::new();
    for number in 101..104 {
        let actions = queue.handle_frame(frame(number));
        answers.extend(write_all(&mut queue, actions));
    }
    assert_eq!(numbers(&answers[0]), [101, 102]);
    assert_eq!(queue.handle_command(&stop("t", 200)).0, CommandOutcome::Answered);
}

#[test]
fn a_repeated_order_with_a_stop_stops_the_open_one() {
    let mut queue = queue();
    let actions = queue.handle_order(take("t", 100, None)).unwrap();
    write_all(&mut queue, actions);
    let mut stopped = take("t", 100, None);
    stopped.stop_at(grid().instant(101));
    let actions = queue.handle_order(stopped).unwrap();
    assert!(write_all(&mut queue, actions).is_empty());
    let actions = queue.handle_frame(frame(100));
    assert_eq!(numbers(&write_all(&mut queue, actions)[0]), [100]);
}

#[test]
fn another_order_with_a_known_id_is_refused() {
    let mut queue = queue();
    queue.handle_frame(frame(100));
    let actions = queue.handle_order(order("o", 100, 1)).unwrap();
    write_all(&mut queue, actions);
    assert_eq!(queue.handle_order(order("o", 101, 1)), Err(OrderRefused::Id(name("o"))));
    for index in 0..MAX_OPEN {
        queue.handle_order(order(&format!("p{index}"), 500, 1)).unwrap();
    }
    assert!(matches!(queue.handle_order(order("q", 500, 1)), Err(OrderRefused::TooMany(_))));
}

#[test]
fn an_order_that_arrives_again_is_not_served_again() {
    let mut queue = queue();
    queue.handle_frame(frame(100));
    let actions = queue.handle_order(order("o", 100, 1)).unwrap();
    assert!(queue.handle_order(order("o", 100, 1)).unwrap().is_empty()); // while the writer is busy
    let answers = write_all(&mut queue, actions);
    let again = queue.handle_order(order("o", 100, 1)).unwrap();
    assert_eq!(again, [OrderAction::Answer(answers[0].clone())]);
    assert_eq!(queue.totals(), (1, 0));
}

#[test]
fn orders_are_checked_when_they_are_parsed() {
    assert_eq!(Order::burst(name("o"), Timestamp::ZERO, 0), Err(OrderError::Burst(0)));
    let text = r#"{"order":"o","at_ns":-5,"kind":"burst","count":1}"#;
    assert!(serde_json::from_str::<Order>(text).is_err());
}

/// A device that was away gets the order once more, with the stop that it did not hear.
#[test]
fn an_order_that_arrives_again_is_stopped_where_it_says_if_that_is_earlier() {
    let mut queue = queue();
    queue.handle_order(take("t", 100, None)).unwrap();
    for (end, expected) in [(110, 110), (105, 105), (120, 105)] {
        let mut again = take("t", 100, None);
        again.stop_at(grid().instant(end));
        queue.handle_order(again).unwrap();
        let known: Vec<_> = queue.open_orders().map(Order::stop).collect();
        assert_eq!(known, [Some(grid().instant(expected))], "{end}");
    }
}
