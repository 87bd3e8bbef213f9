//! Hubs that are lost, on real Zenoh sessions over loopback.

#[expect(dead_code, reason = "the other tests of this crate use the rest")]
mod devices;

use std::time::{Duration, Instant};

use devices::{Device, Lab, name, order};
use swsync_core::order::Targets;
use swsync_rig::{DeviceOutcome, RigConfig, Session};

/// Generous: only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until `done`.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn child_main() {
    devices::child_main(); // not a test: `Lab::child` runs this
}

#[test]
fn killing_the_device_that_all_connect_to_loses_no_other_device() {
    let lab = Lab::new();
    let (mut a, b, _c) = (lab.child("a"), lab.holding_device("b"), lab.device("c"));
    let visitor = lab.visitor();
    assert_eq!(visitor.roster(TIMEOUT).len(), 3);
    wait_until("another device runs a hub too", || visitor.hubs().len() == 2);
    let thread = std::thread::spawn(move || visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap());
    a.wait_for_order();
    b.wait_for_order(TIMEOUT);
    a.kill();
    // Its answer to the first query would be lost with the hub.
    wait_until("it is asked again, through the other hub", || b.orders().len() == 2);
    b.answer();
    let summary = thread.join().unwrap();
    assert!(
        matches!(
            &summary.outcomes[..],
            [DeviceOutcome::NoAnswer { .. }, DeviceOutcome::Answered(_), DeviceOutcome::Answered(_)]
        ),
        "{summary:?}"
    );
}

#[test]
fn a_hub_that_hangs_holds_up_nobody_else() {
    let lab = Lab::new();
    let (a, _b, _c) = (lab.child("a"), lab.device("b"), lab.device("c"));
    let visitor = lab.visitor();
    wait_until("another device runs a hub too", || visitor.hubs().len() == 2);
    a.stop();
    let begin = Instant::now();
    let mut answered = Vec::new();
    let summary = visitor
        .place(&order("o1"), TIMEOUT, |outcome| answered.push((outcome.device().clone(), begin.elapsed())));
    println!("{answered:?}");
    let outcomes = summary.unwrap().outcomes;
    let [DeviceOutcome::NoAnswer { device, .. }, DeviceOutcome::Answered(_), DeviceOutcome::Answered(_)] =
        &outcomes[..]
    else {
        panic!("{outcomes:?}");
    };
    assert_eq!(device, &name("a"));
    let last = answered.iter().filter(|(device, _)| *device != name("a")).map(|(_, after)| *after).max();
    assert!(last < Some(Duration::from_secs(6)), "{answered:?}");
    a.go_on();
    wait_until("it is back", || {
        let visitor = lab.visitor();
        visitor.presence(TIMEOUT).missed.is_empty() && visitor.roster(TIMEOUT).len() == 3
    });
}

#[test]
fn a_rig_whose_hubs_are_all_lost_finds_together_again() {
    if std::env::var_os("SWSYNC_NETNS").is_none() {
        println!("skipped: set SWSYNC_NETNS=1 in a network namespace of its own, since this sends multicast");
        return;
    }
    let config = RigConfig::discovering(name("hubless"));
    let children = ["a", "b"].map(|id| Device::child(&config, id));
    wait_until("two hubs", || {
        Session::visit(&config, TIMEOUT).is_ok_and(|visitor| visitor.hubs().len() == 2)
    });
    // Those two run the hubs, since nobody else is there yet.
    let _devices = ["c", "d", "e"].map(|id| Device::joining(&config, id));
    children.into_iter().for_each(|child| child.kill());
    let begin = Instant::now();
    wait_until("the others are a rig", || {
        Session::visit(&config, TIMEOUT).is_ok_and(|visitor| {
            visitor.roster(Duration::from_secs(1)) == ["c", "d", "e"].map(name) && visitor.hubs().len() == 2
        })
    });
    println!("together again after {:?}", begin.elapsed());
    let visitor = Session::visit(&config, TIMEOUT).unwrap();
    let summary = visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap();
    assert!(
        summary.outcomes.iter().filter(|outcome| matches!(outcome, DeviceOutcome::Answered(_))).count() == 3
    );
}

#[test]
fn an_order_for_some_reaches_one_of_them_that_comes_back_after_its_sender_has_gone() {
    let lab = Lab::new();
    let (_a, mut b) = (lab.device("a"), lab.child("b"));
    let targets = Targets::Devices(["b"].map(name).into());
    let still = order("o1").with_targets(targets).unwrap();
    let _ = lab.visitor().offer(&still, TIMEOUT);
    b.wait_for_order();
    b.kill();
    let again = lab.device("b");
    again.wait_for_order(TIMEOUT);
    assert_eq!(again.orders(), [still]);
}
