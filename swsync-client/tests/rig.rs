//! The library as an operator's program uses it, against devices without cameras in this process.

#[path = "rig/devices.rs"]
mod devices;
#[path = "../examples/shoot.rs"]
#[expect(dead_code, reason = "its main is for `cargo run --example`")]
mod shoot;

use std::time::{Duration, Instant};

use devices::TestRig;
use swsync_client::testing::name;
use swsync_client::{
    Armed, Arming, OrderProblem, OrderRequest, OrderStage, OrderingError, RequestError, Rig, RigSnapshot,
    is_stoppable,
};
use swsync_core::frame::SyncState;
use swsync_core::order::Targets;
use swsync_core::status::Quorum;
use swsync_core::time::Span;

/// Generous: only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn the_example_shows_shoots_and_collects() {
    let rig = TestRig::new(&["left", "right"]);
    let out = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    shoot::shoot(&rig.config(), out.path(), &mut said).unwrap();
    let said = String::from_utf8(said).unwrap();
    println!("{said}");
    assert!(said.starts_with("left: ready\nright: ready\nleft: ready\nright: ready\n"), "{said}");
    assert!(said.contains("\n2 of 2 devices\n"), "{said}");
    for device in ["left", "right"] {
        assert!(said.contains(&format!("\n{device}: saved\n")), "{said}");
        let line =
            said.lines().find(|line| line.starts_with(&format!("{device}: 3 files in "))).expect(&said);
        let (_, folder) = line.split_once(" in ").unwrap();
        let files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert!(files.iter().any(|file| file.to_str().unwrap().ends_with(".jpg")), "{files:?}");
    }
}

#[test]
fn a_take_is_ordered_found_again_stopped_and_answered() {
    let devices = TestRig::new(&["a", "b"]);
    let rig = Rig::connect(&devices.config()).unwrap();
    let mut ordered = rig.order(&OrderRequest::take(None).named(name("t1"))).unwrap();
    assert_eq!((ordered.poll(), ordered.problems()), (OrderStage::Running, &[][..]));

    let other = Rig::connect(&devices.config()).unwrap();
    let open = other.open_orders().pick(None, is_stoppable).unwrap();
    assert_eq!(open.id(), &name("t1"));
    let mut found = other.follow(open, other.snapshot()).unwrap();
    let (at, problems) = found.stop_in(Span::from_millis(1_200));
    assert_eq!(problems, []);
    let (mut answers, mut seen) = (found.answers(), 0);
    assert!(found.snapshot().now() >= at, "it waits for the last frame");
    while answers.next().is_some() {
        seen += 1;
    }
    let conclusion = found.conclude(answers.summary().unwrap(), None);
    assert_eq!((seen, conclusion.summary.complete(), conclusion.is_complete()), (2, 2, true));

    let begun = Instant::now();
    while ordered.poll() == OrderStage::Running {
        assert!(begun.elapsed() < TIMEOUT, "the program that gave it hears of the stop");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ordered.answers().summary().unwrap().complete(), 2);
    assert!(matches!(&found.stop().1[..], [OrderProblem::Unknown { .. }, OrderProblem::Unknown { .. }]));
}

#[test]
fn a_cancelled_order_is_open_no_more() {
    let devices = TestRig::new(&["a"]);
    let rig = Rig::connect(&devices.config()).unwrap();
    let lapse = OrderRequest::time_lapse(Span::from_secs(1), None).named(name("l1"));
    let mut ordered = rig.order(&lapse).unwrap();
    assert_eq!(rig.open_orders().orders.len(), 1);
    assert_eq!((ordered.cancel(), ordered.poll()), (vec![], OrderStage::Over));
    assert!(rig.open_orders().orders.is_empty());
}

#[test]
fn who_is_not_ready_is_named_and_nothing_is_ordered_without_rig_time() {
    let devices = TestRig::new(&["a", "b"]);
    let rig = Rig::connect(&devices.config()).unwrap();
    devices.devices[1].set_quality(SyncState::Holdover);
    let (still, all) = (OrderRequest::still(), |_: &RigSnapshot| Targets::All);
    let arming = Arming { need: Quorum::All, patience: Duration::ZERO };
    let Armed::NotReady(not_ready) = rig.arm(arming, all, |snapshot, _| still.make(snapshot)).unwrap() else {
        panic!("b is in holdover");
    };
    let problems: Vec<_> = not_ready.devices.iter().map(|ready| ready.problems.join("; ")).collect();
    assert_eq!((not_ready.ready(), &problems[..]), (1, &["".to_owned(), "its clock is holdover".into()][..]));
    let one = Arming { need: Quorum::AtLeast(1), ..arming };
    assert!(matches!(rig.arm(one, all, |snapshot, _| still.make(snapshot)), Ok(Armed::Go(..))));

    devices.devices.iter().for_each(|device| device.set_quality(SyncState::Unsynced));
    let error = rig.order(&still).err().unwrap();
    assert!(matches!(error, OrderingError::Request(RequestError::NoRigTime(_))), "{error}");
}

#[test]
fn devices_that_come_go_or_fall_silent_are_in_the_statuses() {
    let mut devices = TestRig::new(&["a", "b"]);
    let rig = Rig::connect(&devices.config()).unwrap();
    let mut statuses = rig.statuses(Duration::from_millis(50));
    let mut wait = |what: &str, is: &dyn Fn(&swsync_client::StatusUpdate) -> bool| {
        let begun = Instant::now();
        let found = statuses.find(|update| is(update) || begun.elapsed() > TIMEOUT).unwrap();
        assert!(is(&found), "{what}: {found:?}");
    };
    let (b, c) = (name("b"), name("c"));
    wait("both are there", &|update| update.snapshot.reports.len() == 2);
    devices.add("c");
    wait("c comes", &|update| update.came.contains(&c));
    devices.devices[1].hang(true);
    wait("b hangs", &|update| update.silent_for.get(&b).is_some_and(|silent| *silent > Duration::ZERO));
    devices.devices[1].hang(false);
    wait("b is back", &|update| update.silent_for.is_empty());
    drop(devices.devices.pop());
    wait("c goes in good order", &|update| update.left.contains(&c) && update.silent_for.is_empty());
}

#[test]
fn what_cannot_be_collected_is_a_part_too() {
    let devices = TestRig::new(&["a"]);
    let rig = Rig::connect(&devices.config()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let both = Targets::Devices([name("a"), name("z")].into());
    let parts = rig.collect(&name("o1"), &both, out.path(), |_, _| ());
    let errors: Vec<_> = parts.into_iter().map(|part| part.result.unwrap_err().to_string()).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("a refuses: "), "{errors:?}");
    assert_eq!(
        errors[1],
        "z cannot be asked for its files: it is not in the rig; once it is there, collect again"
    );
}
