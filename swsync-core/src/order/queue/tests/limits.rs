//! How many orders may be open, and how far ahead.

use super::*;
use crate::order::queue::limits::{MAX_AHEAD, MAX_WAITING, SOON};

const NOW: FrameNumber = 54_000_000_000;

fn now() -> Timestamp<Rig> {
    grid().instant(NOW)
}

fn at(id: &str, at: Timestamp<Rig>) -> Order {
    Order::still(name(id), at).unwrap()
}

/// 2200-01-01.
fn year_2200() -> Timestamp<Rig> {
    Timestamp::ZERO + Span::from_secs(7_258_118_400)
}

#[test]
fn orders_for_the_year_2200_do_not_block_a_rig() {
    let mut queue = queue();
    queue.handle_frame(frame(NOW));
    queue.set_now(now());
    for index in 0..MAX_OPEN {
        let refused = queue.handle_order(at(&format!("o{index}"), year_2200())).unwrap_err();
        let why = refused.to_string();
        assert!(matches!(refused, OrderRefused::TooFarAhead(_)), "{why}");
        assert!(why.contains("days from now") && why.contains("7 days ahead"), "{why}");
    }
    let actions = queue.handle_order(order("now", NOW, 1)).unwrap();
    assert_eq!(numbers(&write_all(&mut queue, actions)[0]), [NOW]);
}

#[test]
fn orders_that_came_before_rig_time_was_known_end_once_it_is() {
    for numbered in [true, false] {
        let mut queue = match numbered {
            true => queue(),
            false => OrderQueue::new(name("pi"), RingLimits { bytes: 1_000, time: Span::MAX }),
        };
        for index in 0..MAX_OPEN - 1 {
            queue.handle_order(at(&format!("o{index}"), year_2200())).unwrap();
        }
        queue.handle_order(at("soon", now() + Span::from_secs(5))).unwrap();
        let refused = queue.handle_order(at("one-more", now())).unwrap_err();
        let why = refused.to_string();
        assert!(why.contains("o0, o1") && why.contains("56 more") && why.contains("swsync cancel"), "{why}");
        let actions = queue.set_now(now());
        let answers = write_all(&mut queue, actions);
        assert_eq!(answers.len(), MAX_OPEN - 1);
        for answer in answers {
            let why =
                answer.unnumbered.or(answer.frames.first().and_then(|run| run.why()).map(str::to_owned));
            assert!(why.as_deref().is_some_and(|why| why.contains("days from now")), "{why:?}");
        }
        assert_eq!(queue.open_orders().count(), 1, "the one that begins soon stays");
        queue.handle_order(at("one-more", now())).unwrap();
    }
}

#[test]
fn orders_of_tomorrow_leave_room_for_those_of_now() {
    let mut queue = queue();
    queue.handle_frame(frame(NOW));
    queue.set_now(now());
    let tomorrow = now() + Span::from_secs(24 * 3_600);
    for index in 0..MAX_WAITING {
        queue.handle_order(at(&format!("o{index}"), tomorrow)).unwrap();
    }
    let refused = queue.handle_order(at("one-more", tomorrow)).unwrap_err();
    let why = refused.to_string();
    assert!(matches!(refused, OrderRefused::TooManyWaiting(_)), "{why}");
    assert!(why.contains("o0, o1") && why.contains("swsync cancel"), "{why}");
    for index in 0..MAX_OPEN - MAX_WAITING {
        queue.handle_order(at(&format!("soon{index}"), now() + SOON)).unwrap();
    }
    assert!(matches!(queue.handle_order(at("full", now())), Err(OrderRefused::TooMany(_))));
    assert_eq!(queue.handle_order(at("o0", tomorrow)), Ok(Vec::new()), "a known order is not a new one");
}

#[test]
fn a_take_that_begins_within_a_week_may_go_on_for_a_month() {
    let mut queue = queue();
    queue.set_now(now());
    let kind = OrderKind::Still { every: Some(Span::from_secs(60)), count: Some(50_000) };
    let in_a_week = now() + MAX_AHEAD;
    assert!(queue.handle_order(Order::new(name("lapse"), in_a_week, None, kind).unwrap()).is_ok());
    let later = in_a_week + Span::from_nanos(1);
    assert!(queue.handle_order(Order::new(name("later"), later, None, kind).unwrap()).is_err());
}

/// Frames are counted, not visited: with a visit to each frame since 1970 this test would not end. The answers can be parsed.
#[test]
fn orders_of_any_instant_are_accounted_for() {
    let instants = [0, 1, 999_999_999, now().as_nanos(), i64::MAX - 1, i64::MAX].map(Timestamp::from_nanos);
    let kinds = [
        OrderKind::Take { segment: Some(Span::from_secs(1)), fill: Default::default() },
        OrderKind::Take { segment: Some(Span::MAX), fill: Default::default() },
        OrderKind::Still { every: Some(Span::from_millis(1)), count: None },
        OrderKind::Still { every: Some(Span::MAX), count: Some(1_000_000) },
        OrderKind::Burst { count: 10_000 },
    ];
    for (index, instant) in instants.into_iter().enumerate() {
        for (kind_index, kind) in kinds.into_iter().enumerate() {
            let mut queue = queue();
            queue.handle_frame(frame(NOW));
            let id = name(&format!("o{index}-{kind_index}"));
            let order = Order::new(id.clone(), instant, None, kind).unwrap();
            let mut actions = queue.handle_order(order).unwrap();
            let stop = OrderCommand::Stop { order: id, at_ns: grid().instant(NOW + 1) };
            actions.extend(queue.handle_command(&stop).1);
            actions.extend(queue.handle_frame(frame(NOW + 1)));
            actions.extend(queue.set_now(now()));
            actions.extend(queue.handle_timeout(now() + GRACE * 100));
            for answer in write_all(&mut queue, actions) {
                let parsed = crate::message::decode::<Answer>(&crate::message::encode(&answer));
                assert_eq!(parsed.unwrap(), answer);
            }
            assert_eq!(queue.open_orders().count(), 0, "{instant:?} {kind:?}");
        }
    }
}

/// The clock may step back by days once it is set for the first time.
#[test]
fn an_order_that_is_served_already_is_not_too_far_ahead() {
    let mut queue = queue();
    queue.handle_order(take("t", NOW, None)).unwrap();
    assert_eq!(numbers_saved(&queue.handle_frame(frame(NOW))), [NOW]);
    assert!(queue.set_now(now() - Span::from_secs(30 * 24 * 3_600)).is_empty());
    assert_eq!(numbers_saved(&queue.handle_frame(frame(NOW + 1))), [NOW + 1]);
}

fn numbers_saved(actions: &[OrderAction<FrameNumber>]) -> Vec<FrameNumber> {
    let saved = |action: &OrderAction<FrameNumber>| match action {
        OrderAction::Save { number, .. } => Some(*number),
        _ => None,
    };
    actions.iter().filter_map(saved).collect()
}
