use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn member(device: &str) -> Member {
    Member { device: name(device), instance: name("1") }
}

fn came(device: &str) -> MemberChange {
    MemberChange::Came(member(device))
}

fn left(device: &str) -> MemberChange {
    MemberChange::Left(member(device))
}

fn answer(device: &str) -> Answer {
    Answer {
        order: name("o"),
        device: name(device),
        frames: Vec::new(),
        unnumbered: None,
        unfinished: None,
        basis: Default::default(),
    }
}

/// Hands the placement a hub at `by`, and its roster with `devices`.
fn handle_roster(placement: &mut Placement, by: &str, devices: &[&str]) {
    let members = devices.iter().map(|device| member(device)).collect();
    assert!(placement.handle_hub());
    placement.handle_roster(&name(by), &Roster { members, ..Roster::default() });
    placement.handle_roster_closed();
}

fn no_answer(actions: &[PlacementAction]) -> Vec<(&str, &str)> {
    let outcome = |action| match action {
        &PlacementAction::Report(DeviceOutcome::NoAnswer { ref device, ref why }) => {
            (device.as_str(), why.as_str())
        }
        other => panic!("{other:?}"),
    };
    actions.iter().map(outcome).collect()
}

/// A placement, and the instant at which it began.
fn placement() -> (Placement, Instant) {
    let now = Instant::now();
    (Placement::new(now, TIMEOUT, Targets::All), now)
}

#[test]
fn every_device_gets_the_order_and_has_one_outcome() {
    let (mut placement, now) = placement();
    let actions = placement.handle_change(came("a"), now);
    assert_eq!(actions, [PlacementAction::AskOrder(member("a"))]);
    placement.handle_change(came("b"), now);
    assert!(!placement.is_done());

    let reports = placement.handle_reply(&member("a"), Ok(answer("a")));
    assert_eq!(reports, [PlacementAction::Report(DeviceOutcome::Answered(answer("a")))]);
    assert!(placement.handle_reply(&member("a"), Ok(answer("a"))).is_empty(), "one outcome each");
    let reports = placement.handle_reply(&member("b"), Err("no".into()));
    assert_eq!(
        reports,
        [PlacementAction::Report(DeviceOutcome::Refused { device: name("b"), why: "no".into() })]
    );
    assert!(!placement.is_done(), "no roster has come yet");
    handle_roster(&mut placement, "a", &["a", "b"]);
    assert!(placement.is_done());
    assert!(placement.handle_hub());
    assert!(!placement.is_done());
    placement.handle_roster_closed(); // it did not answer
    assert!(placement.is_done());
}

#[test]
fn a_device_that_comes_later_gets_the_order_too() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    handle_roster(&mut placement, "a", &["a"]);
    let later = now + Duration::from_secs(5);
    let actions = placement.handle_change(came("b"), later);
    assert!(actions.contains(&PlacementAction::AskOrder(member("b"))));
    placement.handle_reply(&member("a"), Ok(answer("a")));
    assert!(!placement.is_done());
}

#[test]
fn a_device_that_is_gone_has_time_to_come_back() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    placement.handle_closed(&member("a"), now);
    placement.handle_change(left("a"), now);
    let almost = now + AWAY_GRACE - Duration::from_millis(1);
    assert!(placement.handle_timeout(almost).is_empty());
    let actions = placement.handle_change(came("a"), almost);
    assert!(actions.contains(&PlacementAction::AskOrder(member("a"))), "asked again");

    placement.handle_change(left("a"), almost);
    placement.handle_closed(&member("a"), almost);
    assert_eq!(placement.deadline(), almost + AWAY_GRACE);
    let actions = placement.handle_timeout(almost + AWAY_GRACE);
    assert_eq!(no_answer(&actions), [("a", "left the rig before it answered")]);
    assert!(placement.is_done());
}

#[test]
fn an_answer_may_arrive_after_the_token_is_gone() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    placement.handle_change(left("a"), now);
    assert_eq!(placement.handle_reply(&member("a"), Ok(answer("a"))).len(), 1);
}

#[test]
fn a_restarted_device_is_not_mistaken_for_its_earlier_instance() {
    let (mut placement, now) = placement();
    let earlier = Member { instance: name("0"), ..member("a") };
    placement.handle_change(MemberChange::Came(earlier.clone()), now);
    placement.handle_change(came("a"), now);
    placement.handle_change(MemberChange::Left(earlier.clone()), now);
    placement.handle_closed(&earlier, now);
    assert_eq!(placement.handle_timeout(now + ABSENT_GRACE), [PlacementAction::AskAlive(member("a"))]);
    assert_eq!(placement.handle_reply(&member("a"), Ok(answer("a"))).len(), 1);
}

#[test]
fn an_unanswered_query_is_repeated_but_not_for_ever() {
    let (mut placement, mut now) = placement();
    placement.handle_change(came("a"), now);
    handle_roster(&mut placement, "a", &["a"]);
    for _ in 1..MAX_TRIES {
        placement.handle_closed(&member("a"), now);
        assert!(placement.handle_timeout(now).is_empty(), "early");
        now = placement.deadline();
        assert_eq!(placement.handle_timeout(now), [PlacementAction::AskOrder(member("a"))]);
    }
    placement.handle_closed(&member("a"), now);
    let actions = placement.handle_timeout(placement.deadline());
    assert_eq!(no_answer(&actions), [("a", "gave no answer, asked 17 times")]);
}

#[test]
fn a_repeated_query_may_take_long() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    placement.handle_closed(&member("a"), now);
    placement.handle_timeout(now + ASK_AGAIN);
    let later = now + Duration::from_secs(9);
    placement.handle_alive(&member("a"), later);
    assert_eq!(placement.handle_timeout(later), [PlacementAction::AskAlive(member("a"))]);
    assert_eq!(placement.handle_reply(&member("a"), Ok(answer("a"))).len(), 1);
}

#[test]
fn devices_that_only_others_see_are_named() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    handle_roster(&mut placement, "a", &["a", "far"]);
    placement.handle_reply(&member("a"), Ok(answer("a")));
    assert!(placement.handle_timeout(now).is_empty(), "it may still come");
    assert_eq!(placement.deadline(), now + SETTLE);
    let actions = placement.handle_timeout(now + SETTLE);
    assert_eq!(no_answer(&actions), [("far", "seen by a, but not reachable from here")]);
    assert!(placement.is_done());
    assert!(placement.handle_change(came("far"), now + SETTLE).is_empty(), "one outcome each");
}

#[test]
fn a_view_that_never_settles_causes_no_timeouts() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    handle_roster(&mut placement, "a", &["a", "far"]);
    placement.handle_timeout(now + SETTLE);
    assert_eq!(placement.deadline(), now + SETTLE + CHECK);
}

#[test]
fn a_device_without_an_answer_is_given_up_at_the_timeout() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    handle_roster(&mut placement, "a", &["a"]);
    let mut at = now;
    while at < now + TIMEOUT {
        placement.handle_alive(&member("a"), at); // it is alive, and has the order
        at = placement.deadline();
        if at < now + TIMEOUT {
            assert_eq!(placement.handle_timeout(at), [PlacementAction::AskAlive(member("a"))]);
        }
    }
    let actions = placement.handle_timeout(now + TIMEOUT);
    assert_eq!(no_answer(&actions), [("a", "did not answer within 10s")]);
}

#[test]
fn a_device_without_a_sign_of_life_is_given_up_soon() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    handle_roster(&mut placement, "a", &["a"]);
    while placement.deadline() < now + SILENCE {
        let at = placement.deadline();
        assert_eq!(placement.handle_timeout(at), [PlacementAction::AskAlive(member("a"))]);
    }
    let actions = placement.handle_timeout(now + SILENCE);
    assert_eq!(no_answer(&actions), [("a", "has said nothing for 3.5 s: it is hung, or out of reach")]);
    assert!(placement.is_done());
}

#[test]
fn a_missed_device_is_named_unless_it_comes_back() {
    let (mut placement, now) = placement();
    for device in ["b", "c"] {
        placement.expect(name(device), "lost".into(), now);
    }
    placement.handle_change(came("a"), now);
    handle_roster(&mut placement, "a", &["a"]);
    placement.handle_reply(&member("a"), Ok(answer("a")));
    placement.handle_change(came("c"), now);
    placement.handle_reply(&member("c"), Ok(answer("c")));
    assert!(!placement.is_done());
    assert_eq!(no_answer(&placement.handle_timeout(now + ABSENT_GRACE)), [("b", "lost")]);
    assert!(placement.is_done());
}

#[test]
fn only_targets_get_the_order_and_absent_ones_are_named() {
    let now = Instant::now();
    let targets = Targets::Devices(["a", "ghost"].map(name).into());
    let mut placement = Placement::new(now, TIMEOUT, targets);
    let actions = placement.handle_change(came("b"), now);
    assert!(actions.is_empty());
    assert!(placement.handle_change(came("a"), now).contains(&PlacementAction::AskOrder(member("a"))));
    handle_roster(&mut placement, "b", &["a", "b"]);
    placement.handle_reply(&member("a"), Ok(answer("a")));
    assert!(!placement.is_done());
    assert_eq!(placement.deadline(), now + ABSENT_GRACE);
    assert_eq!(no_answer(&placement.handle_timeout(now + ABSENT_GRACE)), [("ghost", "is not in the rig")]);
    assert!(placement.is_done());
}

#[test]
fn an_empty_rig_is_done_after_the_settling_time() {
    let (mut placement, now) = placement();
    assert!(!placement.is_done());
    assert_eq!(placement.deadline(), now + SETTLE);
    assert!(placement.handle_timeout(now + SETTLE).is_empty());
    assert!(placement.is_done());
}

#[test]
fn nobody_is_given_up_while_the_link_is_lost() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    placement.handle_change(came("b"), now);
    placement.expect(name("c"), "lost".into(), now);
    handle_roster(&mut placement, "a", &["a", "b"]);
    placement.handle_link_lost();
    placement.handle_closed(&member("a"), now);
    let later = now + SILENCE * 2;
    assert!(placement.handle_timeout(later).is_empty());
    assert_eq!(placement.deadline(), now + TIMEOUT);
    placement.handle_linked(later);
    // All is asked anew, and has its time anew.
    assert_eq!(placement.handle_change(came("b"), later), [PlacementAction::AskOrder(member("b"))]);
    let actions = placement.handle_timeout(later + ASK_AGAIN);
    assert_eq!(actions, [PlacementAction::AskOrder(member("a"))]);
    let timeout = now + TIMEOUT;
    let actions = placement.handle_timeout(timeout);
    assert_eq!(no_answer(&actions).len(), 3, "{actions:?}");
}

#[test]
fn an_order_without_a_link_ends_at_its_timeout() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    placement.handle_link_lost();
    assert_eq!(no_answer(&placement.handle_timeout(now + TIMEOUT)), [("a", "did not answer within 10s")]);
    assert!(placement.is_done());
}

#[test]
fn a_device_that_hung_long_before_its_hub_says_so_is_not_waited_for_anew() {
    let (mut placement, now) = placement();
    let _ = placement.handle_change(came("a"), now);
    let told = now + SILENCE - Duration::from_millis(1);
    assert_eq!(placement.handle_change(left("a"), told), []);
    let until = now + AWAY_SILENCE;
    assert!(until < told + AWAY_GRACE);
    handle_roster(&mut placement, "hub", &["a"]);
    assert_eq!(placement.deadline(), until);
    assert_eq!(no_answer(&placement.handle_timeout(until)), [("a", "left the rig before it answered")]);
}

#[test]
fn a_refusal_of_a_second_process_with_the_id_does_not_end_the_order_of_the_first() {
    let (mut placement, now) = placement();
    let _ = placement.handle_change(came("a"), now);
    handle_roster(&mut placement, "hub", &["a"]);
    let second = Member { device: name("a"), instance: name("2") };
    let actions = placement.handle_change(MemberChange::Came(second.clone()), now);
    assert_eq!(actions, [PlacementAction::AskOrder(second.clone())]);
    assert_eq!(placement.handle_reply(&second, Err("another has this id".into())), []);
    placement.handle_closed(&second, now);
    assert!(!placement.is_done(), "the first one has the order");
    let _ = placement.handle_change(MemberChange::Left(second), now);
    let answered = DeviceOutcome::Answered(answer("a"));
    assert_eq!(placement.handle_reply(&member("a"), Ok(answer("a"))), [PlacementAction::Report(answered)]);
    assert!(placement.is_done());
}

#[test]
fn of_two_processes_with_an_id_that_do_not_answer_the_reason_of_one_is_told() {
    let (mut placement, now) = placement();
    let _ = placement.handle_change(came("a"), now);
    let second = Member { device: name("a"), instance: name("2") };
    let _ = placement.handle_change(MemberChange::Came(second.clone()), now);
    let _ = placement.handle_reply(&second, Err("it has no room".into()));
    let refused = DeviceOutcome::Refused { device: name("a"), why: "it has no room".into() };
    assert_eq!(placement.handle_timeout(now + SILENCE), [PlacementAction::Report(refused)]);
}
