//! Changes of frame rate, rig time and time scale.

use super::*;

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

#[test]
fn an_order_of_another_time_scale_is_answered_unnumbered() {
    let [own, other] = [7, 8].map(|id| Some(TimeScale(id)));
    let mut queue = queue();
    queue.set_timescale(own);
    queue.handle_frame(frame(100));
    let foreign = order("foreign", 100, 1).on_timescale(other);
    let actions = queue.handle_order(foreign.clone()).unwrap();
    let [OrderAction::Answer(answer)] = &actions[..] else { panic!("{actions:?}") };
    assert!(!answer.is_complete() && answer.frames.is_empty());
    assert!(answer.unnumbered.as_deref().unwrap().contains("time scale 0000000000000007"), "{answer:?}");
    assert_eq!(answer.basis, TimeBasis { timescale: own, rate: Some(grid()) });
    // Orders of its own time scale, and of none.
    for order in [order("own", 100, 1).on_timescale(own), order("unsaid", 100, 1)] {
        let actions = queue.handle_order(order).unwrap();
        assert!(write_all(&mut queue, actions)[0].is_complete());
    }
    // Once its clock is on that time scale, it serves the order.
    queue.set_timescale(other);
    let actions = queue.handle_order(foreign).unwrap();
    assert!(write_all(&mut queue, actions)[0].is_complete());
}

#[test]
fn open_orders_go_on_when_the_time_scale_changes_without_a_step() {
    let mut queue = queue();
    queue.set_timescale(Some(TimeScale(7)));
    queue.handle_frame(frame(100));
    let asked = order("named", 101, 3).on_timescale(Some(TimeScale(7)));
    assert!(visible(queue.handle_order(asked.clone()).unwrap()).is_empty());
    let mut actions = queue.handle_frame(frame(101));
    // The leader was restarted.
    queue.set_timescale(Some(TimeScale(8)));
    assert!(visible(queue.handle_order(asked.clone()).unwrap()).is_empty(), "it is open already");
    actions.extend([102, 103].into_iter().flat_map(|number| queue.handle_frame(frame(number))));
    let answers = write_all(&mut queue, actions);
    let [answer] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((answer.saved(), answer.named()), (3, 3), "{answer:?}");
    let [difference] = &crate::order::disagreements(&asked, &answers)[..] else { panic!() };
    assert!(difference.what.contains("the order is of time scale 0000000000000007"), "{difference:?}");
}
