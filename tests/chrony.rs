//! chrony follows a swsync leader, and a swsync client follows chrony.
//!
//! chronyd runs with `-x`: it keeps its own time and does not change the system's clock.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use swsync_core::frame::SyncState;
use swsync_core::leap::LeapNotice;
use swsync_core::ntp::{Key, Keys};
use swsync_core::time::{Span, Timestamp};
use swsync_core::time_service::{ClientConfig, ServerConfig};
use swsync_time::{
    Authority, Reference, ReferenceConfig, ReferenceFollower, ReferenceReading, StampKind, TimeLeader,
    TimeLeaderConfig, TimeLeaderStats, TimeNode, new_identity,
};
use swsync_time::{DeviceClock, RigClock, wall_clock};

use crate::process::{Process, free_port, poll};
use crate::rig::TestBed;

/// How far the leader's time is ahead of the system's clock, so that chronyd cannot know it by itself.
const AHEAD: Span = Span::from_millis(1_700);
/// Allowed error of a swsync client that follows chrony that follows the leader, on loopback. It is far more than their
/// actual error, and far less than any mistake in the protocol costs.
const CHAIN: Span = Span::from_millis(5);
/// Allowed error of a swsync client that follows chrony directly.
const DIRECT: Span = Span::from_millis(1);

const KEY_ID: u32 = 7;
const SECRET: &str = "000102030405060708090a0b0c0d0e0f";

fn key() -> Key {
    let secret: Vec<u8> = (0..16).collect();
    Key::new(KEY_ID, &secret).unwrap()
}

/// A running chronyd.
struct Chrony {
    process: Process,
    folder: PathBuf,
    /// The UDP port where it serves time.
    port: u16,
}

impl Chrony {
    fn start(bed: &TestBed, extra: &str) -> Self {
        let folder = bed.path("chrony");
        // chronyd accepts a folder for its command socket only if nobody else can access it.
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let port = free_port();
        let at = folder.display();
        fs::write(folder.join("keys"), format!("{KEY_ID} AES128 HEX:{SECRET}\n")).unwrap();
        fs::write(
            folder.join("chrony.conf"),
            format!(
                "{extra}\nport {port}\nbindaddress 127.0.0.1\nallow 127.0.0.0/8\ncmdport 0\nuser root\n\
                 bindcmdaddress {at}/chronyd.sock\npidfile {at}/chronyd.pid\ndriftfile {at}/drift\n\
                 keyfile {at}/keys\n"
            ),
        )
        .unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", &program("chronyd"), "-d", "-x", "-U", "-4", "-f"]);
        let process = Process::start("chronyd", &folder, command.arg(folder.join("chrony.conf")));
        let mut chrony = Self { process, folder, port };
        poll("chronyd answers", || {
            chrony.process.assert_running();
            chrony.ask("tracking")
        });
        chrony
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What chronyc answers to `command`; `None` if it fails.
    fn ask(&self, command: &str) -> Option<String> {
        let socket = self.folder.join("chronyd.sock");
        let output =
            Command::new("chronyc").arg("-n").arg("-h").arg(socket).args(command.split(' ')).output();
        let output = output.expect("chronyc starts: it comes with chrony");
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// What chronyc says about its only source, by field name.
    fn ntpdata(&self) -> HashMap<String, String> {
        let text = self.ask("ntpdata").unwrap_or_default();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
    }

    /// Waits until chronyd has selected its source.
    fn wait_for_selection(&mut self) {
        poll("chronyd selects the swsync leader", || {
            self.process.assert_running();
            self.ask("sources").filter(|sources| sources.lines().any(|line| line.starts_with("^* ")))
        });
    }
}

fn program(name: &str) -> String {
    let places = ["/usr/sbin", "/usr/bin", "/sbin"].map(|folder| format!("{folder}/{name}"));
    let found = places.iter().find(|path| fs::exists(path).unwrap_or_default());
    found.unwrap_or_else(|| panic!("there is no {name}: install the package chrony")).clone()
}

/// A reference that is [`AHEAD`] of the system's clock.
struct AheadReference(Arc<DeviceClock>);

impl Reference for AheadReference {
    fn read(&mut self) -> Option<ReferenceReading> {
        let before = self.0.now();
        let reference = Timestamp::from_nanos(wall_clock().as_nanos()) + AHEAD;
        let uncertainty = Span::from_micros(1);
        Some(ReferenceReading {
            before,
            reference,
            after: self.0.now(),
            uncertainty,
            unsynced: None,
            leap: LeapNotice::None,
        })
    }

    fn describe(&self) -> String {
        "a clock that is ahead".into()
    }

    fn id(&self) -> [u8; 4] {
        *b"TEST"
    }
}

fn device(description: &str) -> Arc<DeviceClock> {
    Arc::new(DeviceClock::simulated(description.parse().unwrap()))
}

/// A swsync leader that is ahead of the system's clock.
struct Leader {
    clock: Arc<RigClock>,
    service: TimeLeader,
    _follower: ReferenceFollower,
}

impl Leader {
    fn start(keys: Keys) -> Self {
        let device = device("offset=11s,skew=20ppm");
        let clock = Arc::new(RigClock::new(device.clone()));
        let config = ReferenceConfig::default();
        let follower =
            ReferenceFollower::start(AheadReference(device), &config, clock.clone(), |_| {}).unwrap();
        poll("the leader knows the time", || (clock.quality() == SyncState::Synced).then_some(()));
        let config = TimeLeaderConfig {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            authority: Authority::Borrowed,
            identity: new_identity("chrony"),
            server: ServerConfig { keys, ..ServerConfig::default() },
        };
        let service = TimeLeader::start(config, clock.clone()).unwrap();
        Self { clock, service, _follower: follower }
    }
}

fn follow(address: SocketAddr, client: ClientConfig) -> (TimeNode, Arc<RigClock>) {
    let clock = Arc::new(RigClock::new(device("offset=3s,skew=-35ppm")));
    let client = TimeNode::follow(vec![address.to_string()], client, clock.clone(), |_| {}).unwrap();
    (client, clock)
}

/// Waits until `clock` and `truth` agree within `bound`. It takes the median of 21 readings, since a single one may be
/// delayed by the scheduler.
fn wait_for_agreement(what: &str, bound: Span, clock: &RigClock, truth: impl Fn() -> i64) {
    let error = || {
        let before = truth();
        let reading = clock.now().as_nanos();
        let after = truth();
        Span::from_nanos(reading - before - (after - before) / 2)
    };
    let mut last = Span::ZERO;
    poll(&format!("{what} is right within {bound:?}"), || {
        let mut errors: Vec<Span> = (0..21).map(|_| error()).collect();
        errors.sort_unstable();
        if errors[10] != last {
            last = errors[10];
            println!("{what}: {last:?}, {:?}", clock.status().uncertainty_ns);
        }
        (errors[10].abs() < bound).then_some(())
    });
}

/// Lets chronyd follow a swsync leader, with `options` in addition to the usual ones, and a swsync client follow chronyd to
/// check the time that it serves.
///
/// Then waits until chronyd says that its last exchange was interleaved and authenticated, or not, as expected. It waits
/// because on a busy machine single exchanges are not interleaved.
fn chrony_follows(keys: Keys, options: &str, interleaved: &str, authenticated: &str) -> TimeLeaderStats {
    let bed = TestBed::shared();
    let leader = Leader::start(keys);
    let port = leader.service.local_addr().port();
    let server = format!("server 127.0.0.1 port {port} iburst minpoll -6 maxpoll -4 {options}");
    let mut chrony = Chrony::start(&bed, &server);
    chrony.wait_for_selection();
    let (_client, clock) = follow(chrony.address(), ClientConfig { burst: 24, ..ClientConfig::default() });
    wait_for_agreement("chrony's time", CHAIN, &clock, || leader.clock.now().as_nanos());
    let expected = [
        ("Stratum", "1"),
        ("Leap status", "Normal"),
        ("Interleaved", interleaved),
        ("Authenticated", authenticated),
    ];
    poll(&format!("chrony's last exchange is {expected:?}"), || {
        let data = chrony.ntpdata();
        let is = |(name, value): &(&str, &str)| data.get(*name).is_some_and(|said| said == value);
        expected.iter().all(is).then_some(())
    });
    let tracking = chrony.ask("tracking").unwrap();
    let stratum = tracking.lines().find(|line| line.starts_with("Stratum")).unwrap_or_default();
    assert!(stratum.ends_with(": 2"), "{tracking}");
    let stats = leader.service.stats();
    assert_eq!((stats.protocol.malformed, stats.protocol.unauthenticated), (0, 0), "{stats:?}");
    stats
}

#[test]
fn chrony_follows_a_leader() {
    let stats = chrony_follows(Keys::default(), "", "No", "No");
    assert_eq!(stats.protocol.interleaved, 0, "{stats:?}");
}

#[test]
fn chrony_follows_a_leader_interleaved() {
    let stats = chrony_follows(Keys::default(), "xleave", "Yes", "No");
    assert!(stats.protocol.interleaved > 0, "{stats:?}");
    assert_eq!(stats.stamps.sent, Some(StampKind::Kernel));
}

#[test]
fn chrony_follows_a_leader_with_a_key() {
    chrony_follows(Keys::from_iter([key()]), &format!("key {KEY_ID}"), "No", "Yes");
}

#[test]
fn chrony_follows_a_leader_interleaved_with_a_key() {
    let options = format!("xleave key {KEY_ID}");
    let stats = chrony_follows(Keys::from_iter([key()]), &options, "Yes", "Yes");
    assert!(stats.protocol.interleaved > 0, "{stats:?}");
}

#[test]
fn chrony_with_another_key_does_not_follow_the_leader() {
    let bed = TestBed::shared();
    let other = Key::new(KEY_ID, &[0xee; 16]).unwrap();
    let leader = Leader::start(Keys::from_iter([other]));
    let port = leader.service.local_addr().port();
    let server = format!("server 127.0.0.1 port {port} iburst minpoll -6 maxpoll -4 key {KEY_ID}");
    let chrony = Chrony::start(&bed, &server);
    poll("chrony has asked often enough", || {
        (leader.service.stats().protocol.unauthenticated >= 8).then_some(())
    });
    let sources = chrony.ask("sources").unwrap();
    assert!(!sources.lines().any(|line| line.starts_with("^*")), "{sources}");
}

/// Lets a swsync client follow a chronyd that serves the system's time, and returns the client's statistics.
fn follows_chrony(client: ClientConfig) -> swsync_core::time_service::ClientStats {
    let bed = TestBed::shared();
    let chrony = Chrony::start(&bed, "local stratum 1");
    let (client, clock) = follow(chrony.address(), client);
    poll("the client is synced", || (clock.quality() == SyncState::Synced).then_some(()));
    wait_for_agreement("the client's time", DIRECT, &clock, || wall_clock().as_nanos());
    let stats = client.stats();
    assert_eq!(
        (stats.stamps.sent, stats.stamps.received),
        (Some(StampKind::Kernel), Some(StampKind::Kernel))
    );
    let stats = stats.protocol.unwrap();
    assert_eq!(stats.bogus, 0, "{stats:?}");
    // chrony fills the bits below its precision at random. That is as much as loopback's round trip, so now and then a
    // round trip comes out negative.
    assert!(stats.implausible < stats.responses / 4, "{stats:?}");
    let upstream = stats.upstream.unwrap();
    assert_eq!((upstream.stratum, upstream.field), (1, None));
    stats
}

#[test]
fn a_client_follows_chrony() {
    let stats = follows_chrony(ClientConfig { interleaved: false, ..ClientConfig::default() });
    assert_eq!(stats.interleaved, 0);
}

#[test]
fn a_client_follows_chrony_interleaved() {
    let stats = follows_chrony(ClientConfig::default());
    assert!(stats.interleaved > 0, "{stats:?}");
}

#[test]
fn a_client_follows_chrony_with_a_key() {
    let stats = follows_chrony(ClientConfig { key: Some(key()), ..ClientConfig::default() });
    assert!(stats.authenticated && stats.bad_mac == 0, "{stats:?}");
    assert!(stats.interleaved > 0, "{stats:?}");
}
