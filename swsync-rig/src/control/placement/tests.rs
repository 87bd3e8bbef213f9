use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn member(device: &str) -> Member {
    Member { device: name(device), instance: name("1") }
}

fn came(device: &str) -> Change {
    Change::Came(member(device))
}

fn left(device: &str) -> Change {
    Change::Left(member(device))
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

/// `by` says that it sees `devices`.
fn hear_roster(placement: &mut Placement, by: &str, devices: &[&str]) {
    let members = devices.iter().map(|device| member(device)).collect();
    placement.handle_roster(&member(by), &Roster { members, ..Roster::default() });
    placement.handle_roster_closed();
}

fn no_answer(actions: &[Action]) -> Vec<(&str, &str)> {
    let outcome = |action| match action {
        &Action::Report(DeviceOutcome::NoAnswer { ref device, ref why }) => (device.as_str(), why.as_str()),
        other => panic!("{other:?}"),
    };
    actions.iter().map(outcome).collect()
}

/// A placement at an instant to count from.
fn placement() -> (Placement, Instant) {
    let now = Instant::now();
    (Placement::new(now, TIMEOUT, Targets::All), now)
}

#[test]
fn everyone_is_asked_and_answers_once() {
    let (mut placement, now) = placement();
    let actions = placement.handle_change(came("a"), now);
    assert_eq!(actions, [Action::AskOrder(member("a")), Action::AskRoster(member("a"))]);
    placement.handle_change(came("b"), now);
    assert!(!placement.is_done());

    let reports = placement.handle_reply(&member("a"), Ok(answer("a")));
    assert_eq!(reports, [Action::Report(DeviceOutcome::Answered(answer("a")))]);
    assert!(placement.handle_reply(&member("a"), Ok(answer("a"))).is_empty(), "one outcome each");
    let reports = placement.handle_reply(&member("b"), Err("no".into()));
    assert_eq!(reports, [Action::Report(DeviceOutcome::Refused { device: name("b"), why: "no".into() })]);
    assert!(!placement.is_done(), "nobody has said yet whether there are others");
    hear_roster(&mut placement, "a", &["a", "b"]);
    assert!(!placement.is_done());
    placement.handle_roster_closed(); // b did not say
    assert!(placement.is_done());
}

#[test]
fn whoever_comes_later_is_asked_too() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    hear_roster(&mut placement, "a", &["a"]);
    let later = now + Duration::from_secs(5);
    let actions = placement.handle_change(came("b"), later);
    assert!(actions.contains(&Action::AskOrder(member("b"))));
    placement.handle_reply(&member("a"), Ok(answer("a")));
    assert!(!placement.is_done());
}

#[test]
fn a_device_that_is_gone_has_a_grace_to_come_back() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    placement.handle_closed(&member("a"), now);
    placement.handle_change(left("a"), now);
    let almost = now + AWAY_GRACE - Duration::from_millis(1);
    assert!(placement.handle_timeout(almost).is_empty());
    let actions = placement.handle_change(came("a"), almost);
    assert!(actions.contains(&Action::AskOrder(member("a"))), "asked again");

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
fn a_restarted_device_is_not_mistaken_for_its_ghost() {
    let (mut placement, now) = placement();
    let ghost = Member { instance: name("0"), ..member("a") };
    placement.handle_change(Change::Came(ghost.clone()), now);
    placement.handle_change(came("a"), now);
    placement.handle_change(Change::Left(ghost.clone()), now);
    placement.handle_closed(&ghost, now);
    assert_eq!(placement.handle_timeout(now + AWAY_GRACE), [Action::AskAlive(member("a"))]);
    assert_eq!(placement.handle_reply(&member("a"), Ok(answer("a"))).len(), 1);
}

#[test]
fn a_query_that_found_no_way_is_repeated_but_not_for_ever() {
    let (mut placement, mut now) = placement();
    placement.handle_change(came("a"), now);
    hear_roster(&mut placement, "a", &["a"]);
    for _ in 1..MAX_TRIES {
        placement.handle_closed(&member("a"), now);
        assert!(placement.handle_timeout(now).is_empty(), "early");
        now = placement.deadline();
        assert_eq!(placement.handle_timeout(now), [Action::AskOrder(member("a"))]);
    }
    placement.handle_closed(&member("a"), now);
    let actions = placement.handle_timeout(placement.deadline());
    assert_eq!(no_answer(&actions), [("a", "gave no answer, asked 10 times")]);
}

#[test]
fn a_repeated_query_may_take_its_time() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    placement.handle_closed(&member("a"), now);
    placement.handle_timeout(now + ASK_AGAIN);
    let later = now + Duration::from_secs(9);
    placement.handle_alive(&member("a"), later);
    assert_eq!(placement.handle_timeout(later), [Action::AskAlive(member("a"))]);
    assert_eq!(placement.handle_reply(&member("a"), Ok(answer("a"))).len(), 1);
}

#[test]
fn those_that_only_others_see_are_named() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    hear_roster(&mut placement, "a", &["a", "far"]);
    placement.handle_reply(&member("a"), Ok(answer("a")));
    assert!(placement.handle_timeout(now).is_empty(), "it may only be late");
    assert_eq!(placement.deadline(), now + SETTLE);
    let actions = placement.handle_timeout(now + SETTLE);
    assert_eq!(no_answer(&actions), [("far", "seen by a, but not reachable from here")]);
    assert!(placement.is_done());
    assert!(placement.handle_change(came("far"), now + SETTLE).is_empty(), "one outcome each");
}

#[test]
fn a_picture_that_never_settles_does_not_keep_it_awake() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    hear_roster(&mut placement, "a", &["a", "far"]);
    placement.handle_timeout(now + SETTLE);
    assert_eq!(placement.deadline(), now + SETTLE + CHECK);
}

#[test]
fn the_silent_are_given_up_at_the_timeout() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    hear_roster(&mut placement, "a", &["a"]);
    let mut at = now;
    while at < now + TIMEOUT {
        placement.handle_alive(&member("a"), at); // it is well, and has the order
        at = placement.deadline();
        if at < now + TIMEOUT {
            assert_eq!(placement.handle_timeout(at), [Action::AskAlive(member("a"))]);
        }
    }
    let actions = placement.handle_timeout(now + TIMEOUT);
    assert_eq!(no_answer(&actions), [("a", "did not answer within 10s")]);
}

#[test]
fn who_does_not_even_say_that_it_is_well_is_given_up_soon() {
    let (mut placement, now) = placement();
    placement.handle_change(came("a"), now);
    hear_roster(&mut placement, "a", &["a"]);
    while placement.deadline() < now + SILENCE {
        let at = placement.deadline();
        assert_eq!(placement.handle_timeout(at), [Action::AskAlive(member("a"))]);
    }
    let actions = placement.handle_timeout(now + SILENCE);
    assert_eq!(no_answer(&actions), [("a", "has said nothing for 2.5 s: it is hung, or out of reach")]);
    assert!(placement.is_done());
}

#[test]
fn who_is_missed_is_named_unless_it_comes_back() {
    let (mut placement, now) = placement();
    for device in ["b", "c"] {
        placement.expect(name(device), "lost".into(), now);
    }
    placement.handle_change(came("a"), now);
    hear_roster(&mut placement, "a", &["a"]);
    placement.handle_reply(&member("a"), Ok(answer("a")));
    placement.handle_change(came("c"), now);
    placement.handle_roster_closed();
    placement.handle_reply(&member("c"), Ok(answer("c")));
    assert!(!placement.is_done());
    assert_eq!(no_answer(&placement.handle_timeout(now + AWAY_GRACE)), [("b", "lost")]);
    assert!(placement.is_done());
}

#[test]
fn only_those_meant_are_asked_and_the_absent_are_named() {
    let now = Instant::now();
    let targets = Targets::Devices(["a", "ghost"].map(name).into());
    let mut placement = Placement::new(now, TIMEOUT, targets);
    let actions = placement.handle_change(came("b"), now);
    assert_eq!(actions, [Action::AskRoster(member("b"))]);
    assert!(placement.handle_change(came("a"), now).contains(&Action::AskOrder(member("a"))));
    hear_roster(&mut placement, "b", &["a", "b"]);
    placement.handle_roster_closed();
    placement.handle_reply(&member("a"), Ok(answer("a")));
    assert!(!placement.is_done());
    assert_eq!(placement.deadline(), now + AWAY_GRACE);
    assert_eq!(no_answer(&placement.handle_timeout(now + AWAY_GRACE)), [("ghost", "is not in the rig")]);
    assert!(placement.is_done());
}

#[test]
fn an_empty_rig_is_done_when_it_had_its_time() {
    let (mut placement, now) = placement();
    assert!(!placement.is_done());
    assert_eq!(placement.deadline(), now + SETTLE);
    assert!(placement.handle_timeout(now + SETTLE).is_empty());
    assert!(placement.is_done());
}
