//! The control plane on real Zenoh sessions over loopback.
//!
//! Every test has a port and a rig of its own, so that they can run at once. Scouting sends multicast on every interface, so its
//! test runs only in a network namespace, with `SWSYNC_NETNS=1`.

#[expect(dead_code, reason = "the other tests of this crate use the rest")]
mod devices;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use devices::{Device, Lab, name, order};
use swsync_core::message::{MAX_MESSAGE, encode};
use swsync_core::order::FrameOutcome;
use swsync_core::place::{Change, PlaceChange};
use swsync_core::thumbnail::ThumbnailRequest;
use swsync_core::time_service::{AdvertKind, TimeAdvert};
use swsync_rig::{ControlError, DeviceOutcome, PeekError, RigConfig, Session, TimeChannel};
use zenoh::Wait;

/// Generous: only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until the session sees so many devices: a device's own session does not wait for others that have just joined.
fn wait_for_roster(session: &Session, devices: usize) {
    let deadline = Instant::now() + TIMEOUT;
    while session.roster(TIMEOUT).len() < devices {
        assert!(Instant::now() < deadline, "{:?}", session.roster(TIMEOUT));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn child_main() {
    devices::child_main(); // not a test: `Lab::child` runs this
}

#[test]
fn three_devices_answer_one_order() {
    let lab = Lab::new();
    let devices = ["a", "b", "c"].map(|id| lab.device(id));
    let visitor = lab.visitor();
    assert_eq!(visitor.roster(TIMEOUT), ["a", "b", "c"].map(name));

    let mut heard = BTreeSet::new();
    let summary = visitor
        .place(&order("o1"), TIMEOUT, |outcome| {
            assert!(heard.insert(outcome.device().clone()), "one outcome each");
        })
        .unwrap();
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!(summary.outcomes.len(), 3);
    assert_eq!(heard.len(), 3);
    for device in &devices {
        assert_eq!(device.orders(), [order("o1")]);
    }
}

#[test]
fn a_device_is_given_its_group_and_place() {
    let lab = Lab::new();
    let _devices = ["a", "b"].map(|id| lab.device(id));
    let visitor = lab.visitor();
    let _ = visitor.roster(TIMEOUT); // until both are seen
    let change = PlaceChange { group: Change::Set(name("left")), place: Change::Set(3) };
    let reply = visitor.name_device(&name("b"), &change, TIMEOUT).unwrap();
    assert_eq!((reply.device, reply.place.to_string()), (name("b"), "left 3".to_owned()));
    let places = visitor.statuses(TIMEOUT).into_iter().map(|report| report.status.place.to_string());
    assert_eq!(places.collect::<Vec<_>>(), ["-", "left 3"]);
    let why = visitor.name_device(&name("c"), &change, TIMEOUT).unwrap_err();
    assert_eq!(why, "is not in the rig");
}

#[test]
fn one_device_is_looked_at() {
    let lab = Lab::new();
    let _devices = ["a", "b"].map(|id| lab.device(id));
    let visitor = lab.visitor();
    let _ = visitor.roster(TIMEOUT); // until both are seen
    let look =
        |device, frame, width| visitor.thumbnail(&name(device), ThumbnailRequest { frame, width }, TIMEOUT);
    let newest = look("a", None, 16).unwrap();
    assert_eq!((newest.device, newest.frame, newest.jpeg.len()), (name("a"), 9, 1_602));
    assert_eq!(look("a", Some(5), 640).unwrap().frame, 5);
    let (device, why) = (name("b"), "its frames are encoded video".to_owned());
    assert_eq!(look("b", None, 16), Err(PeekError::Refused { device, why }));
    assert_eq!(look("c", None, 16), Err(PeekError::Absent(name("c"))));
    let error = look("a", None, 641).unwrap_err().to_string();
    assert!(error.contains("width 641 is not 16 to 640"), "{error}");
    let error = visitor.exchanges(&name("a"), TIMEOUT).unwrap_err().to_string();
    assert_eq!(error, "its clock asks no time server over the network");
}

#[test]
fn a_device_whose_swsync_is_older_is_told_apart() {
    let lab = Lab::new();
    let _device = lab.device("b");
    let stranger = lab.stranger();
    let old = format!("swsync/{}/device/old/1", lab.rig());
    // What devices reply to a query that they do not know.
    let refusal = encode(&serde_json::json!({ "why": "this query asks for nothing that a device knows" }));
    let _queryable = stranger
        .declare_queryable(format!("{old}/*"))
        .callback(move |query| query.reply_err(refusal.clone()).wait().unwrap())
        .wait()
        .unwrap();
    let _token = stranger.liveliness().declare_token(old).wait().unwrap();
    let visitor = lab.visitor();
    wait_for_roster(&visitor, 2);
    let request = ThumbnailRequest { frame: None, width: 320 };
    assert_eq!(visitor.thumbnail(&name("old"), request, TIMEOUT), Err(PeekError::Older(name("old"))));
    assert_eq!(visitor.exchanges(&name("old"), TIMEOUT), Err(PeekError::Older(name("old"))));
}

#[test]
fn a_device_can_order_from_its_own_session_too() {
    let lab = Lab::new();
    let (a, _b) = (lab.device("a"), lab.device("b"));
    let session = a.membership().session();
    wait_for_roster(session, 2);
    let summary = session.place(&order("o1"), TIMEOUT, |_| ()).unwrap();
    assert!(summary.is_complete() && summary.outcomes.len() == 2, "{summary:?}");
    assert_eq!(session.statuses(TIMEOUT).len(), 2);
}

#[test]
fn a_visitor_of_one_reaches_all_at_once() {
    // A visitor that connects to the first device alone finds the others by gossip, even if it asks at once.
    let lab = Lab::new();
    let _devices = ["a", "b", "c", "d", "e"].map(|id| lab.device(id));
    for repeat in 0..10 {
        let begin = Instant::now();
        let visitor = lab.visitor();
        let summary = visitor.place(&order(&format!("o{repeat}")), TIMEOUT, |_| ()).unwrap();
        println!("connected, ordered and answered in {:?}", begin.elapsed());
        assert!(summary.is_complete() && summary.outcomes.len() == 5, "{summary:?}");
    }
}

#[test]
fn an_order_that_arrives_twice_is_answered_alike() {
    let lab = Lab::new();
    let device = lab.device("a");
    let visitor = lab.visitor();
    let first = visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap();
    let second = visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap();
    assert_eq!(first, second);
    assert_eq!(device.orders().len(), 2, "the order queue behind it knows the id");
}

#[test]
fn a_device_killed_before_it_answered_is_noticed_soon() {
    let lab = Lab::new();
    let (_a, mut b) = (lab.device("a"), lab.child("b"));
    let visitor = lab.visitor();
    let begin = Instant::now();
    let thread = std::thread::spawn(move || visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap());
    b.wait_for_order();
    b.kill();
    let summary = thread.join().unwrap();
    assert!(begin.elapsed() < TIMEOUT / 3, "{:?}", begin.elapsed());
    let [DeviceOutcome::Answered(a), DeviceOutcome::NoAnswer { device, why }] = &summary.outcomes[..] else {
        panic!("{summary:?}");
    };
    assert_eq!((&a.device, device), (&name("a"), &name("b")));
    assert!(why.contains("left the rig"), "{why}");
}

#[test]
fn a_device_that_stops_says_so() {
    let lab = Lab::new();
    let (_a, b) = (lab.device("a"), lab.holding_device("b"));
    let visitor = lab.visitor();
    let thread = std::thread::spawn(move || visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap());
    b.wait_for_order(TIMEOUT);
    b.drop_replies();
    let summary = thread.join().unwrap();
    let DeviceOutcome::Refused { why, .. } = &summary.outcomes[1] else {
        panic!("{summary:?}");
    };
    assert_eq!(why, "the device was stopped first");
}

#[test]
fn a_late_joiner_gets_the_open_order() {
    let lab = Lab::new();
    let a = lab.holding_device("a");
    let visitor = lab.visitor();
    let (tx, rx) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        visitor.place(&order("o1"), TIMEOUT, |outcome| tx.send(outcome.device().clone()).unwrap()).unwrap()
    });
    a.wait_for_order(TIMEOUT);
    let late = lab.device("late");
    assert_eq!(rx.recv_timeout(TIMEOUT).unwrap(), name("late"), "while the order is open");
    assert_eq!(late.orders(), [order("o1")]);
    a.answer();
    assert!(thread.join().unwrap().is_complete());
}

#[test]
fn a_device_that_comes_back_is_asked_again() {
    let lab = Lab::new();
    let (a, mut b) = (lab.holding_device("a"), lab.child("b"));
    let visitor = lab.visitor();
    let thread = std::thread::spawn(move || visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap());
    a.wait_for_order(TIMEOUT);
    b.wait_for_order();
    b.kill();
    let again = lab.device("b");
    a.answer();
    let summary = thread.join().unwrap();
    assert!(summary.is_complete() && summary.outcomes.len() == 2, "{summary:?}");
    assert_eq!(again.orders(), [order("o1")]);
}

#[test]
fn a_silent_device_is_given_up_at_the_timeout() {
    let lab = Lab::new();
    let a = lab.holding_device("a");
    let summary = lab.visitor().place(&order("o1"), Duration::from_millis(300), |_| ()).unwrap();
    let [DeviceOutcome::NoAnswer { why, .. }] = &summary.outcomes[..] else {
        panic!("{summary:?}");
    };
    assert!(why.contains("300ms"), "{why}");
    a.wait_for_order(TIMEOUT);
}

#[test]
fn a_second_device_with_the_same_id_cannot_join() {
    let lab = Lab::new();
    let a = lab.device("a");
    let other_host = lab.try_device("a");
    let Err(ControlError::DuplicateDevice { device, .. }) = other_host else {
        panic!("two devices with one id joined");
    };
    assert_eq!(device, name("a"));
    // In the same process, and after the first one is gone.
    let session = a.membership().session().clone();
    let same_process = session.join(name("a"), devices::Handler::answering());
    assert!(matches!(same_process, Err(ControlError::DuplicateDevice { .. })));
    drop(a);
    assert!(session.join(name("a"), devices::Handler::answering()).is_ok());
}

#[test]
fn ids_that_differ_in_case_only_are_refused() {
    let lab = Lab::new();
    let a = lab.device("cam1");
    let Err(error @ ControlError::AlikeDevice { .. }) = lab.try_device("Cam1") else {
        panic!("two devices joined that would have one folder");
    };
    assert!(error.to_string().contains("is called \"cam1\", and this one \"Cam1\""), "{error}");
    let session = a.membership().session().clone();
    let same_process = session.join(name("CAM1"), devices::Handler::answering());
    assert!(matches!(same_process, Err(ControlError::AlikeDevice { .. })));
    assert!(session.join(name("cam10"), devices::Handler::answering()).is_ok());
}

/// Waits until `done`.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Two devices with one id join `apart` from each other while they cannot see each other, and then meet.
fn meet(apart: Duration, first_is_far: bool) {
    let lab = Lab::new();
    let far = Lab::beside(&lab);
    let (here, there) = if first_is_far { (&far, &lab) } else { (&lab, &far) };
    let first = here.holding_device("a");
    // The first one is recording.
    let visitor = here.visitor();
    let recording = std::thread::spawn(move || visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap());
    first.wait_for_order(TIMEOUT);
    std::thread::sleep(apart);
    let second = there.device("a");
    let bridge = lab.join_with(&far);
    wait_until("neither noticed", || first.duplicates() + second.duplicates() > 0);
    assert_eq!((first.duplicates(), second.duplicates()), (0, 1), "the first one stays");
    first.answer();
    assert!(recording.join().unwrap().is_complete(), "it goes on recording");
    assert_eq!(bridge.roster(TIMEOUT), [name("a")]);
    // The device that stays reports the other one.
    wait_until("the second device is not reported", || {
        let reports = bridge.statuses(TIMEOUT);
        matches!(&reports[..], [report] if report.status.refused.len() == 1)
    });
    assert!(bridge.presence(TIMEOUT).missed.is_empty(), "it is not missed, since it left in good order");
}

#[test]
fn of_two_devices_with_one_id_that_meet_late_the_first_stays() {
    // Zenoh ids are random, so repeat.
    std::thread::scope(|scope| {
        for index in 0..8 {
            scope.spawn(move || meet(Duration::from_millis(600), index % 2 == 0));
        }
    });
}

#[test]
fn of_two_devices_with_one_id_and_age_one_stays() {
    // As cards from one image that boot at once.
    for _ in 0..4 {
        let lab = Lab::new();
        let far = Lab::beside(&lab);
        let (one, two) = (lab.device("a"), far.device("a"));
        let bridge = lab.join_with(&far);
        wait_until("neither noticed", || one.duplicates() + two.duplicates() > 0);
        let begin = Instant::now();
        assert_eq!(bridge.roster(TIMEOUT), [name("a")]);
        assert!(begin.elapsed() < TIMEOUT / 2, "the device that left is not waited for");
        assert_eq!(one.duplicates() + two.duplicates(), 1, "one of them stays");
    }
}

#[test]
fn a_lost_device_is_missed_by_later_visitors() {
    let lab = Lab::new();
    let (_a, left, b) = (lab.device("a"), lab.device("left"), lab.child("b"));
    let visitor = lab.visitor();
    wait_for_roster(&visitor, 3);
    drop(left);
    b.kill();
    wait_until("b is gone", || visitor.roster(TIMEOUT) == [name("a")]);
    // A visitor that was not there when it happened.
    let later = lab.visitor();
    let missed = later.presence(TIMEOUT).missed;
    assert_eq!(
        missed.keys().collect::<Vec<_>>(),
        [&name("b")],
        "a device that left in good order is not missed"
    );
    assert!(missed[&name("b")].contains("swsync forget b"), "{missed:?}");
    let begin = Instant::now();
    let summary = later.place(&order("o1"), TIMEOUT, |_| ()).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    let [DeviceOutcome::Answered(_), DeviceOutcome::NoAnswer { device, .. }] = &summary.outcomes[..] else {
        panic!("{summary:?}");
    };
    assert_eq!(device, &name("b"));
    let offered = later.offer(&order("o2"), TIMEOUT);
    assert!(offered.iter().any(|reply| reply.device == name("b") && reply.reply.is_err()), "{offered:?}");
    // A device that joined after that misses it too.
    let c = lab.device("c");
    wait_until("c learns of it", || {
        c.membership().session().presence(TIMEOUT).missed.contains_key(&name("b"))
    });
    assert_eq!(later.forget(&name("b"), TIMEOUT), Some(Vec::new()));
    assert!(lab.visitor().presence(TIMEOUT).missed.is_empty());
}

#[test]
fn a_device_that_leaves_while_an_order_is_open_is_named() {
    let lab = Lab::new();
    let (_a, left) = (lab.device("a"), lab.device("left"));
    let visitor = lab.visitor();
    let before = Instant::now();
    assert_eq!(visitor.offer(&order("o1"), TIMEOUT).len(), 2);
    drop(left);
    wait_until("it has left", || visitor.roster(TIMEOUT) == [name("a")]);
    // The visitor that gave the order, and another one that knows when it was given.
    for visitor in [visitor, lab.visitor()] {
        let summary = visitor.place_since(&order("o1"), before, TIMEOUT, |_| ()).unwrap();
        let [DeviceOutcome::Answered(_), DeviceOutcome::NoAnswer { device, why }] = &summary.outcomes[..]
        else {
            panic!("{summary:?}");
        };
        assert_eq!(device, &name("left"));
        assert!(why.starts_with("was stopped "), "{why}");
        let later = visitor.place(&order("o2"), TIMEOUT, |_| ()).unwrap();
        assert!(
            later.is_complete() && later.outcomes.len() == 1,
            "a later order does not name it: {later:?}"
        );
    }
}

#[test]
fn a_hung_device_is_named_soon_and_counts() {
    let lab = Lab::new();
    let (_a, b) = (lab.device("a"), lab.child("b"));
    let before = lab.visitor();
    wait_for_roster(&before, 2);
    b.stop();
    // A visitor that is connected to it already, and one that comes now.
    for (what, visitor) in [("before", before), ("after", lab.visitor())] {
        let begin = Instant::now();
        let summary = visitor.place(&order(what), TIMEOUT, |_| ()).unwrap();
        println!("{what}: {:?}", begin.elapsed());
        assert!(begin.elapsed() < TIMEOUT / 3, "{what}: {:?}", begin.elapsed());
        let [DeviceOutcome::Answered(_), DeviceOutcome::NoAnswer { device, why }] = &summary.outcomes[..]
        else {
            panic!("{what}: {summary:?}");
        };
        assert_eq!(device, &name("b"), "{why}");
        let known = visitor.known(Duration::from_secs(2));
        assert_eq!(known.silent, [name("b")], "{what}");
    }
    b.go_on();
    wait_until("it is back", || lab.visitor().presence(TIMEOUT).missed.is_empty());
}

#[test]
fn a_malformed_order_is_refused_and_does_no_harm() {
    let lab = Lab::new();
    let device = lab.device("a");
    let stranger = lab.stranger();
    let mut good = encode(&order("ok"));
    let newer = String::from_utf8(good.clone()).unwrap().replace("\"v\":2", "\"v\":9");
    good.truncate(good.len() - 1);
    let attempts: [(Option<Vec<u8>>, &str); 6] = [
        (None, "no order"),
        (Some(Vec::new()), "malformed"),
        (Some(vec![0xff; 100]), "malformed"),
        (Some(good), "malformed"),
        (Some(newer.into_bytes()), "version 9"),
        (Some(vec![b' '; MAX_MESSAGE + 1]), "longer"),
    ];
    for (payload, expected) in attempts {
        // With a wildcard, as a stranger who knows no instance would.
        let mut query = stranger.get(format!("swsync/{}/device/a/*/order", lab.rig())).timeout(TIMEOUT);
        if let Some(payload) = payload {
            query = query.payload(payload);
        }
        let replies: Vec<_> = query.wait().unwrap().into_iter().collect();
        let [reply] = &replies[..] else {
            panic!("one reply for {expected}");
        };
        let error = reply.result().unwrap_err().payload().try_to_string().unwrap().into_owned();
        assert!(error.contains(expected), "{error}");
    }
    assert!(device.orders().is_empty());
    let summary = lab.visitor().place(&order("o1"), TIMEOUT, |_| ()).unwrap();
    assert!(summary.is_complete(), "{summary:?}");
}

#[test]
fn a_stranger_that_uses_the_rigs_keys_does_no_harm() {
    let lab = Lab::new();
    let _a = lab.device("a");
    let stranger = lab.stranger();
    let rig = lab.rig();
    // One that is present but answers nonsense, and a token that belongs to no device.
    let liar = format!("swsync/{rig}/device/liar/1");
    let liar_key = format!("{liar}/*");
    let _queryable = stranger
        .declare_queryable(&liar_key)
        .callback(|query| query.reply(query.key_expr().clone(), "nonsense").wait().unwrap())
        .wait()
        .unwrap();
    let _tokens = [liar, format!("swsync/{rig}/device/x"), format!("swsync/{rig}/device/x/1/2")]
        .map(|key| stranger.liveliness().declare_token(key).wait().unwrap());
    stranger.put(format!("swsync/{rig}/device/a/1/order"), "nonsense").wait().unwrap();

    let visitor = lab.visitor();
    let summary = visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap();
    let [DeviceOutcome::Answered(_), DeviceOutcome::Refused { device, why }] = &summary.outcomes[..] else {
        panic!("{summary:?}");
    };
    assert_eq!(device, &name("liar"));
    assert!(why.contains("malformed"), "{why}");
    let statuses = visitor.statuses(TIMEOUT);
    assert_eq!(statuses.len(), 1);
    assert_eq!(statuses[0].status.device, name("a"));
    // Anyone may query everything.
    let everything = stranger.get(format!("swsync/{rig}/**")).timeout(TIMEOUT).wait().unwrap();
    assert!(everything.into_iter().count() >= 3);
}

#[test]
fn a_device_that_is_seen_and_not_reached_is_named() {
    let lab = Lab::new();
    let _a = lab.device("a");
    let hermit = lab.stranger();
    let key = format!("swsync/{}/device/hermit/1", lab.rig());
    let _token = hermit.liveliness().declare_token(key).wait().unwrap();
    let summary = lab.visitor().place(&order("o1"), TIMEOUT, |_| ()).unwrap();
    let [DeviceOutcome::Answered(_), DeviceOutcome::NoAnswer { device, why }] = &summary.outcomes[..] else {
        panic!("{summary:?}");
    };
    assert_eq!(device, &name("hermit"));
    assert_eq!(why, "gave no answer, asked 17 times");
}

#[test]
fn statuses_come_from_all_devices_with_their_times() {
    let lab = Lab::new();
    let _devices = ["b", "a"].map(|id| lab.device(id));
    let visitor = lab.visitor();
    assert_eq!(visitor.roster(TIMEOUT).len(), 2);
    let begin = Instant::now();
    let reports = visitor.statuses(TIMEOUT);
    assert!(begin.elapsed() < TIMEOUT, "it returns once all have answered");
    let ids: Vec<_> = reports.iter().map(|report| report.status.device.clone()).collect();
    assert_eq!(ids, ["a", "b"].map(name));
    assert!(reports.iter().all(|report| begin <= report.asked && report.asked < report.heard));
}

#[test]
fn the_error_without_devices_says_how_they_were_looked_for() {
    let lab = Lab::new();
    let patience = Duration::from_millis(300);
    let error = Session::visit(&lab.visiting(), patience).err().unwrap();
    assert!(matches!(&error, ControlError::Connect { endpoints, .. } if endpoints.len() == 1), "{error}");

    let _other_program = lab.stranger_listening();
    let error = Session::visit(&lab.visiting(), patience).err().unwrap();
    assert!(matches!(error, ControlError::NobodyThere { .. }), "{error}");
    let text = error.to_string();
    for part in [lab.rig(), &lab.visiting().connect[0], "--connect tcp/HOST:7447"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_device_waits_for_a_leader_that_is_switched_on_later() {
    let lab = Lab::new();
    let late = lab.follower("b"); // nobody listens yet
    let _leader = lab.device("a");
    wait_for_roster(late.membership().session(), 2);
}

/// An advert of the device `device` that leads.
fn advert(device: &str) -> TimeAdvert {
    TimeAdvert {
        server: 7,
        device: device.into(),
        kind: AdvertKind::Leads,
        priority: 128,
        clock_class: 2,
        time: None,
        addresses: vec!["127.0.0.1:11123".parse().unwrap()],
        room: 3,
    }
}

/// A part in what the rig tells of its time services, and what it has heard.
fn join_time(session: &Arc<Session>, answer: Option<TimeAdvert>) -> (TimeChannel, Receiver<TimeAdvert>) {
    let (heard, adverts) = std::sync::mpsc::channel();
    let heard = move |advert| heard.send(advert).unwrap_or_default(); // fails once the test is over
    (session.join_time(heard, move || answer.clone()).unwrap(), adverts)
}

/// Waits until `adverts` has brought `wanted`, and calls `again` meanwhile: what is published before the others have joined
/// is lost.
fn wait_for_advert(adverts: &Receiver<TimeAdvert>, wanted: &TimeAdvert, again: impl Fn()) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        again();
        match adverts.recv_timeout(Duration::from_millis(100)) {
            Ok(advert) if advert == *wanted => return,
            Ok(_) | Err(RecvTimeoutError::Timeout) => assert!(Instant::now() < deadline, "{wanted:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the channel has ended"),
        }
    }
}

#[test]
fn devices_hear_what_others_tell_of_their_time_services_and_can_ask() {
    let lab = Lab::new();
    let a = lab.device("a");
    let b = lab.follower("b");
    let (one, heard_by_one) = join_time(a.membership().session(), Some(advert("a")));
    let (other, heard_by_other) = join_time(b.membership().session(), None);
    wait_for_advert(&heard_by_other, &advert("leading"), || one.publish(&advert("leading")));
    wait_for_advert(&heard_by_one, &advert("candidate"), || other.publish(&advert("candidate")));
    // The one answers, the other has nothing to tell.
    wait_for_advert(&heard_by_other, &advert("a"), || other.ask());
    // What was published last is sent before the channel ends.
    let last = advert("leaves");
    one.publish(&last);
    drop(one);
    wait_for_advert(&heard_by_other, &last, || ());
}

#[test]
fn adverts_that_cannot_be_read_are_dropped() {
    let lab = Lab::new();
    let a = lab.device("a");
    let (_one, heard) = join_time(a.membership().session(), None);
    let stranger = lab.stranger();
    let publish =
        |bytes: Vec<u8>| stranger.put(format!("swsync/{}/time/stranger", lab.rig()), bytes).wait().unwrap();
    let good = advert("good");
    let mut long = advert("long");
    long.addresses = vec!["127.0.0.1:11123".parse().unwrap(); 2_000];
    wait_for_advert(&heard, &good, || {
        publish(b"{".to_vec());
        publish(encode(&order("no-advert")));
        publish(encode(&long));
        publish(encode(&good));
    });
    assert!(heard.try_iter().all(|advert| advert == good));
}

#[test]
fn one_process_shares_one_session() {
    let lab = Lab::new();
    let config = lab.leading();
    let one = Session::open(&config).unwrap();
    let two = Session::open(&config).unwrap();
    assert!(std::sync::Arc::ptr_eq(&one, &two));
    drop((one, two));
    // The port is free again, even if another thread drops the last session.
    for _ in 0..20 {
        let session = Session::open(&config).unwrap();
        let thread = std::thread::spawn(move || drop(session));
        drop(Session::open(&config).unwrap());
        thread.join().unwrap();
    }
}

#[test]
fn discovery_by_multicast() {
    if std::env::var_os("SWSYNC_NETNS").is_none() {
        println!("skipped: set SWSYNC_NETNS=1 in a network namespace of its own, since this sends multicast");
        return;
    }
    let config = RigConfig::discovering(name("found"));
    let patience = Duration::from_millis(300);
    let error = Session::visit(&config, patience).err().unwrap();
    assert!(matches!(error, ControlError::NobodyThere { .. }), "{error}");
    let _devices = ["a", "b", "c"].map(|id| Device::joining(&config, id));
    let begin = Instant::now();
    let visitor = Session::visit(&config, TIMEOUT).unwrap();
    let summary = visitor.place(&order("o1"), TIMEOUT, |_| ()).unwrap();
    println!("found, ordered and answered in {:?}", begin.elapsed());
    assert!(summary.is_complete() && summary.outcomes.len() == 3, "{summary:?}");
    let DeviceOutcome::Answered(answer) = &summary.outcomes[0] else { unreachable!() };
    assert!(matches!(answer.frames[0].outcome, FrameOutcome::Saved { .. }));
}
