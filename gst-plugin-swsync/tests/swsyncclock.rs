//! `swsyncclock`: provides a clock in rig time, or says why it cannot.

mod common;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use common::{CAMERA, PATIENCE, Pipeline, leader};
use gst::prelude::*;
use swsync_core::frame::SyncState;
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_core::time_service::{Identity, Server, ServerConfig, ServerStatus};

fn client(leader: impl std::fmt::Display, more: &str) -> Pipeline {
    Pipeline::launch(&format!(
        "swsyncclock name=c role=client leader={leader} bind-address=127.0.0.1 port=0 burst=20 {more}"
    ))
}

fn clock_of(pipeline: &Pipeline) -> gst::Clock {
    pipeline.element("c").provide_clock().expect("a started swsyncclock provides one")
}

fn synced(pipeline: &Pipeline) -> bool {
    pipeline.element("c").property("synced")
}

/// A UDP socket that never answers. It is bound, so that there is no ICMP error either.
fn silent() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

#[test]
fn two_clients_follow_a_leader() {
    let (leader, address) = leader();
    assert_eq!(address.ip().to_string(), "127.0.0.1");
    assert_ne!(address.port(), 0);
    assert!(synced(&leader));
    let clients = [client(address, ""), client(address, "estimator=min")];
    for pipeline in &clients {
        assert!(!synced(pipeline));
        pipeline.reach(gst::State::Paused);
        assert!(synced(pipeline));
        let element = pipeline.element("c");
        assert!(element.property::<i64>("uncertainty") >= 0);
        assert!(element.property::<i64>("last-round-trip") >= 0);
        assert_ne!(element.property::<i64>("offset"), 0);
        assert!(element.property::<Option<String>>("address").is_some(), "it serves as well");
        assert!(clock_of(pipeline).is_synced());
    }
    for pipeline in &clients {
        let before = clock_of(&leader).time();
        let between = clock_of(pipeline).time();
        let after = clock_of(&leader).time();
        let slack = gst::ClockTime::from_mseconds(2);
        assert!(between + slack > before && between < after + slack, "{before} {between} {after}");
    }
}

#[test]
fn messages_say_how_well_time_is_known() {
    let (_leader, address) = leader();
    let pipeline = client(address, "");
    pipeline.reach(gst::State::Playing);
    let announced = |pipeline: &Pipeline| {
        let structure = pipeline.wait_for_structure("swsync-clock");
        let state = structure.get::<String>("state").unwrap();
        if state != "unsynced" {
            assert_eq!(structure.get::<String>("leader").unwrap(), address.to_string());
        }
        (state, structure.get::<i64>("since").unwrap())
    };
    let (acquiring, synced) = (announced(&pipeline), announced(&pipeline));
    assert_eq!((acquiring.0.as_str(), synced.0.as_str()), ("acquiring", "synced"));
    assert!(0 < acquiring.1 && acquiring.1 <= synced.1);
    // READY, since in NULL a bus is flushing.
    pipeline.reach(gst::State::Ready);
    assert_eq!(announced(&pipeline).0, "unsynced");
}

#[test]
fn a_pipeline_takes_the_clock() {
    let (leader, address) = leader();
    for pipeline in [&leader, &client(address, "")] {
        pipeline.reach(gst::State::Playing);
        let clock = pipeline.0.clock().expect("a pipeline that plays has a clock");
        assert_eq!(clock, clock_of(pipeline));
        assert!(clock.is::<gstswsync::SwsyncClock>());
        assert!(clock.is_synced());
    }
}

#[test]
fn a_silent_leader_is_named() {
    let nobody = silent();
    let address = nobody.local_addr().unwrap();
    let pipeline = client(address, "sync-timeout=500000000");
    let error = pipeline.try_reach(gst::State::Paused).unwrap_err();
    for part in [address.to_string().as_str(), "500ms", "requests sent, 0 answered", "Is the leader's"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!synced(&pipeline));
}

#[test]
fn an_address_that_does_not_resolve_is_named() {
    // Not a host that does not exist: looking that up would use the network.
    let pipeline = client("127.0.0.1:http", "sync-timeout=1000000000");
    let error = pipeline.try_reach(gst::State::Paused).unwrap_err();
    assert!(error.contains("127.0.0.1:http"), "{error}");
    assert!(error.contains("not resolved"), "{error}");
}

#[test]
fn the_second_of_two_addresses_is_tried() {
    let (_leader, address) = leader();
    let nobody = silent();
    let pipeline = client(format!("{},{address}", nobody.local_addr().unwrap()), "");
    pipeline.reach(gst::State::Paused);
    assert!(synced(&pipeline));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (properties, part) in [
        ("role=leader bind-address=nonsense", "nonsense"),
        ("role=client source=ntp", "leader=host[:port]"),
        ("role=client leader=127.0.0.1 key=short", "secret"),
        ("role=client leader=127.0.0.1 key-file=/nonexistent", "/nonexistent"),
        ("role=leader rig=two/words", "rig:"),
        ("role=client connect=nonsense", "nonsense"),
    ] {
        let pipeline = Pipeline::launch(&format!("swsyncclock name=c port=0 {properties}"));
        let error = pipeline.try_reach(gst::State::Paused).unwrap_err();
        assert!(error.contains(part), "{properties}: {error}");
        assert_eq!(pipeline.element("c").property::<Option<String>>("address"), None);
    }
}

#[test]
fn a_port_in_use_is_refused() {
    let (_leader, address) = leader();
    let second = Pipeline::launch(&format!(
        "swsyncclock name=c role=leader bind-address=127.0.0.1 port={}",
        address.port()
    ));
    let error = second.try_reach(gst::State::Paused).unwrap_err();
    assert!(error.contains(&address.to_string()) && error.contains("in use"), "{error}");
    assert_eq!(second.element("c").property::<Option<String>>("address"), None);
}

#[test]
fn states_go_up_and_down_in_any_order() {
    use gst::State::{Null, Paused, Playing, Ready};
    let (_leader, address) = leader();
    let follower = client(address, "");
    let leading = Pipeline::launch(common::LEADER);
    for state in [Ready, Null, Paused, Ready, Playing, Paused, Playing, Null, Playing, Ready, Ready, Null] {
        for pipeline in [&follower, &leading] {
            pipeline.reach(state);
            assert_eq!(synced(pipeline), matches!(state, Paused | Playing), "{state:?}");
            assert_eq!(pipeline.element("c").provide_clock().is_some(), state != Null, "{state:?}");
        }
        let address: Option<String> = leading.element("c").property("address");
        assert_eq!(address.is_some(), matches!(state, Paused | Playing), "{state:?}");
    }
}

#[test]
fn a_client_that_failed_can_be_started_again() {
    let nobody = silent();
    let pipeline = client(nobody.local_addr().unwrap(), "sync-timeout=100000000");
    pipeline.try_reach(gst::State::Paused).unwrap_err();
    pipeline.reach(gst::State::Null);
    let (_leader, address) = leader();
    pipeline.element("c").set_property("leader", address.to_string());
    pipeline.element("c").set_property("sync-timeout", PATIENCE.nseconds());
    pipeline.reach(gst::State::Paused);
    assert!(synced(&pipeline));
}

#[test]
fn a_waiting_client_ends_within_its_timeout() {
    let nobody = silent();
    let pipeline = client(nobody.local_addr().unwrap(), "sync-timeout=1500000000");
    let waiting = pipeline.0.clone();
    let waiter = std::thread::spawn(move || waiting.set_state(gst::State::Playing).is_err());
    pipeline.wait_for("progress", |message| (message.type_() == gst::MessageType::Progress).then_some(()));
    let begun = Instant::now();
    pipeline.0.set_state(gst::State::Null).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(waiter.join().unwrap());
}

#[test]
fn a_leader_ignores_packets_that_are_no_requests() {
    let (leader, address) = leader();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut torn = vec![0x23; 48];
    torn.extend([0xff; 5]); // an extension field that ends in the middle
    for garbage in [&b""[..], b"hello", &[0xff; 48], &[0x24; 48], &[0; 1472], &torn] {
        stranger.send_to(garbage, address).unwrap();
    }
    let pipeline = client(address, "");
    pipeline.reach(gst::State::Paused);
    assert!(synced(&pipeline) && synced(&leader));
}

#[test]
fn a_client_ignores_packets_that_are_no_responses() {
    let fake = silent();
    let address = fake.local_addr().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let answering = {
        let done = done.clone();
        std::thread::spawn(move || {
            fake.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let mut request = [0; 1024];
            let mut asked = 0_u32;
            while !done.load(Ordering::Relaxed) {
                let Ok((length, from)) = fake.recv_from(&mut request) else { continue };
                asked += 1;
                // The request itself, noise, a torn packet, and a response to something never asked.
                let echo = &request[..length];
                for response in [echo, &[0xff; 48], &[0x24; 47], &[0x24; 48]] {
                    fake.send_to(response, from).unwrap();
                }
            }
            asked
        })
    };
    let pipeline = client(address, "sync-timeout=500000000");
    let error = pipeline.try_reach(gst::State::Paused).unwrap_err();
    done.store(true, Ordering::Relaxed);
    assert!(answering.join().unwrap() > 0);
    assert!(error.contains(" 0 answered"), "{error}");
}

#[test]
fn waits_on_the_clock_end_at_their_time_or_when_unscheduled() {
    let (_leader, address) = leader();
    let pipeline = client(address, "");
    pipeline.reach(gst::State::Paused);
    let clock = clock_of(&pipeline);
    let target = clock.time() + gst::ClockTime::from_mseconds(30);
    assert_eq!(clock.new_single_shot_id(target).wait().0, Ok(gst::ClockSuccess::Ok));
    assert!(clock.time() >= target);
    assert_eq!(clock.new_single_shot_id(target).wait().0, Err(gst::ClockError::Early));

    let (tx, rx) = std::sync::mpsc::channel();
    let target = clock.time() + gst::ClockTime::from_mseconds(30);
    let id = clock.new_single_shot_id(target);
    id.wait_async(move |clock, at, _| tx.send((clock.time(), at)).unwrap()).unwrap();
    let (now, at) = rx.recv_timeout(PATIENCE.into()).unwrap();
    assert!(at == Some(target) && now >= target);

    let id = clock.new_single_shot_id(clock.time() + gst::ClockTime::from_seconds(3600));
    let waiter = std::thread::spawn({
        let id = id.clone();
        move || id.wait().0
    });
    id.unschedule();
    assert_eq!(waiter.join().unwrap(), Err(gst::ClockError::Unscheduled));
}

/// A leader whose rig time oscillates, so that clients have to slew; until dropped.
struct Wobbling {
    /// Nanoseconds that are added to rig time.
    jump: Arc<AtomicI64>,
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    address: std::net::SocketAddr,
}

impl Wobbling {
    /// Oscillates by `amplitude`, in seconds.
    fn start(amplitude: f64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let jump = Arc::new(AtomicI64::new(0));
        let jumped = jump.clone();
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            let origin = swsync_time::wall_clock().as_nanos();
            let now = || -> Timestamp<Rig> {
                let elapsed = Span::from_secs_f64(begun.elapsed().as_secs_f64());
                let wobble = Span::from_secs_f64(amplitude * (elapsed.as_secs_f64() * 6.0).sin());
                let jump = Span::from_nanos(jumped.load(Ordering::Relaxed));
                Timestamp::from_nanos(origin) + elapsed + wobble + jump
            };
            let mut server = Server::new(ServerConfig::default());
            let status = ServerStatus::leading(&Identity { rig: 0, device: 1, timescale: 1 }, now());
            let mut request = [0; 1024];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut request) else { continue };
                let request = &request[..length];
                if let Some(response) = server.handle_request(request, from.ip(), now(), now(), &status) {
                    socket.send_to(&response.datagram, from).unwrap();
                }
            }
        });
        Self { jump, done, thread: Some(thread), address }
    }
}

impl Drop for Wobbling {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        self.thread.take().expect("taken here only").join().unwrap();
    }
}

#[test]
fn time_never_runs_backwards_for_any_thread() {
    // +-1 ms, at up to 6000 ppm: far more than a client may slew.
    let leader = Wobbling::start(1e-3);
    let pipeline = client(leader.address, "max-slew-ppm=5000");
    pipeline.reach(gst::State::Paused);
    let clock = clock_of(&pipeline);
    // Shared by all threads: none may read less than any has read before.
    let newest = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let deadline = Instant::now() + Duration::from_secs(2);
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (clock, newest) = (clock.clone(), newest.clone());
            std::thread::spawn(move || {
                let mut readings = 0_u64;
                while Instant::now() < deadline {
                    let seen = newest.load(Ordering::SeqCst);
                    let now = clock.time().nseconds();
                    assert!(now >= seen, "{} ns backwards", seen - now);
                    newest.fetch_max(now, Ordering::SeqCst);
                    readings += 1;
                }
                readings
            })
        })
        .collect();
    let readings: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert!(readings > 1_000, "{readings}");
}

#[test]
fn a_clock_that_is_far_off_is_stepped_and_says_so() {
    let leader = Wobbling::start(0.0);
    let pipeline = client(leader.address, "");
    pipeline.reach(gst::State::Playing);
    let clock = clock_of(&pipeline);
    for (jump, by) in [(1_000_000_000, 1_000_000_000_i64), (0, -1_000_000_000)] {
        let before = clock.time();
        leader.jump.store(jump, Ordering::Relaxed);
        // The estimator may need more than one step.
        let mut stepped = 0_i64;
        while (stepped - by).abs() > 50_000_000 {
            let structure = pipeline.wait_for_structure("swsync-clock-stepped");
            stepped += structure.get::<i64>("by").unwrap();
            let held: i64 = structure.get("held-for").unwrap();
            assert_eq!(held > 0, structure.get::<i64>("by").unwrap() < 0, "{structure}");
        }
        let warning = pipeline.wait_for("a warning", |message| match message.view() {
            gst::MessageView::Warning(warning) => Some(warning.error().to_string()),
            _ => None,
        });
        assert!(warning.contains("stepped"), "{warning}");
        assert!(clock.time() >= before);
    }
    let stats: gst::Structure = pipeline.element("c").property("stats");
    assert!(stats.get::<u64>("steps").unwrap() >= 2, "{stats}");
}

#[test]
fn leadership_moves_to_a_client_without_a_step() {
    let old = Wobbling::start(0.0);
    let hour = 3_600_000_000_000;
    old.jump.store(hour, Ordering::Relaxed);
    let pipeline = client(old.address, "bind-address=127.0.0.1 port=0");
    pipeline.reach(gst::State::Paused);
    pipeline.reach(gst::State::Ready);
    let element = pipeline.element("c");
    element.set_property_from_str("role", "leader");
    for _ in 0..2 {
        pipeline.reach(gst::State::Paused);
        let wall = swsync_time::wall_clock().as_nanos();
        let rig = i64::try_from(clock_of(&pipeline).time().nseconds()).unwrap();
        assert!((rig - wall - hour).abs() < hour / 100, "{} ns from the wall clock", rig - wall);
        // The second time the leader itself is restarted.
        pipeline.reach(gst::State::Ready);
    }
    pipeline.reach(gst::State::Null);
    pipeline.reach(gst::State::Paused);
    let wall = swsync_time::wall_clock().as_nanos();
    let rig = i64::try_from(clock_of(&pipeline).time().nseconds()).unwrap();
    assert!((rig - wall).abs() < hour / 100, "in NULL rig time is forgotten");
}

#[test]
fn in_holdover_the_clock_runs_on() {
    let (leader, address) = leader();
    let pipeline = client(address, "");
    pipeline.reach(gst::State::Playing);
    drop(leader);
    eventually_state(&pipeline, "holdover");
    assert!(!synced(&pipeline));
    assert!(clock_of(&pipeline).is_synced(), "a clock that was synced once stays usable");
    let before = clock_of(&pipeline).time();
    let uncertainty: i64 = pipeline.element("c").property("uncertainty");
    common::eventually("more uncertainty", || {
        pipeline.element("c").property::<i64>("uncertainty") > uncertainty
    });
    assert!(clock_of(&pipeline).time() > before);
}

fn eventually_state(pipeline: &Pipeline, state: &str) {
    while pipeline.wait_for_structure("swsync-clock").get::<String>("state").unwrap() != state {}
}

#[test]
fn a_garbled_simulated_clock_is_refused() {
    let arguments = ["swsyncclock", "role=leader", "bind-address=127.0.0.1", "port=0"];
    let environment = [("SWSYNC_SIMULATED_CLOCK", "offset=five parsecs")];
    let Some(output) = common::tool("gst-launch-1.0", &arguments, &environment) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("SWSYNC_SIMULATED_CLOCK"), "{said}");
}

#[cfg_attr(not(feature = "simulation"), ignore = "needs the simulated camera")]
#[test]
fn a_pipeline_that_plays_before_rig_time_is_known_gets_another_base_time() {
    // A port for the leader, which starts later.
    let (leader, address) = common::leader();
    leader.reach(gst::State::Null);
    let client = Pipeline::launch(&format!(
        "swsyncclock name=c role=client leader={address} wait-sync=false \
         {CAMERA} ! fakesink name=k sync=false async=false"
    ));
    client.element("s").set_property("wait-lock", false);
    let (tx, frames) = std::sync::mpsc::channel();
    let pad = client.element("k").static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().expect("a buffer probe");
        let details = gstswsync::meta::details_of(buffer).expect("frames carry the meta");
        let _ = tx.send((buffer.pts().unwrap(), details.sync, details.number)); // the test is over
        gst::PadProbeReturn::Ok
    });
    let next = || frames.recv_timeout(PATIENCE.into()).expect("a frame in time");
    client.reach(gst::State::Playing);
    let (mut last, sync, _) = next();
    assert_eq!(sync, SyncState::Unsynced);
    assert!(last < gst::ClockTime::from_seconds(10), "{last}");
    let port = address.port();
    let leader = Pipeline::launch(&format!("swsyncclock role=leader bind-address=127.0.0.1 port={port}"));
    leader.reach(gst::State::Playing);
    client.wait_for("CLOCK_LOST", |message| (message.type_() == gst::MessageType::ClockLost).then_some(()));
    // As gst-launch-1.0 does.
    client.reach(gst::State::Paused);
    client.reach(gst::State::Playing);
    loop {
        let (pts, sync, number) = next();
        assert!(pts > last && pts < last + gst::ClockTime::from_seconds(30), "{last} {pts}");
        last = pts;
        if sync == SyncState::Synced {
            // Counted from 1970 at 30 per second, not from when this machine was started.
            assert!(number > 40_000_000_000, "{number}");
            break;
        }
    }
}
