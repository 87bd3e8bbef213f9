//! A hostile client: what it can do to a rig with a key, without that key. Real Zenoh and real sockets, on loopback.
//!
//! Each test ends with an order by the rig's operator that all devices answer: the rig is alive.

#![expect(clippy::disallowed_types, reason = "a hostile client does not keep to Zenoh")]

#[expect(dead_code, reason = "the other tests of this crate use the rest")]
mod devices;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use devices::{Device, name, order};
use swsync_core::key::RigKey;
use swsync_core::message::encode;
use swsync_core::name::Name;
use swsync_rig::key_file::random_key;
use swsync_rig::share::{FileReply, FileRequest, Share};
use swsync_rig::{ControlError, RigConfig, Session};
use zenoh::Wait;

/// Generous: only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Long enough for an answer on loopback, where none is expected.
const SILENCE: Duration = Duration::from_millis(1_500);

#[test]
fn child_main() {
    devices::child_main(); // not a test: processes run this
}

/// A rig with two devices. The first one listens.
struct Rig {
    rig: Name,
    address: SocketAddr,
    key: Option<RigKey>,
    devices: Vec<Device>,
}

impl Rig {
    fn new(key: Option<RigKey>) -> Self {
        let address = swsync_rig::free_loopback().unwrap();
        let rig = name(&format!("hostile-{}", address.port()));
        let mut this = Self { rig, address, key, devices: Vec::new() };
        let leading = RigConfig::new(this.rig.clone(), vec![this.endpoint()], Vec::new());
        this.devices.push(Device::joining(&leading.with_key(this.key.clone()), "a"));
        this.devices.push(Device::joining(&this.config_at(address), "b"));
        this
    }

    fn keyed() -> Self {
        Self::new(Some(random_key().unwrap()))
    }

    fn endpoint(&self) -> String {
        format!("tcp/{}", self.address)
    }

    /// The configuration of those who connect to the rig at `address`.
    fn config_at(&self, address: SocketAddr) -> RigConfig {
        RigConfig::new(self.rig.clone(), Vec::new(), vec![format!("tcp/{address}")])
            .with_key(self.key.clone())
    }

    /// A visitor who sees both devices.
    fn visitor_at(&self, address: SocketAddr) -> Arc<Session> {
        let visitor = Session::visit(&self.config_at(address), TIMEOUT).unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while visitor.roster(TIMEOUT).len() < self.devices.len() {
            assert!(Instant::now() < deadline, "{:?}", visitor.roster(TIMEOUT));
            thread::sleep(Duration::from_millis(5));
        }
        visitor
    }

    /// The rig's operator gives an order, which both devices answer.
    fn answers(&self, id: &str) {
        let begin = Instant::now();
        let operator = self.visitor_at(self.address);
        let summary = operator.place(&order(id), TIMEOUT, |_| ()).unwrap();
        assert!(summary.is_complete() && summary.outcomes.len() == 2, "{summary:?}");
        println!("{id}: its operator connected, ordered and was answered in {:?}", begin.elapsed());
    }

    /// How often the devices got this order.
    fn count(&self, id: &str) -> usize {
        let id = name(id);
        self.devices.iter().flat_map(Device::orders).filter(|order| *order.id() == id).count()
    }
}

/// A program that speaks Zenoh, with these settings.
fn zenoh_with(settings: &[(&str, &str)]) -> zenoh::Session {
    let mut config = zenoh::Config::default();
    let common = [
        ("listen/endpoints", "[]"),
        ("scouting/multicast/enabled", "false"),
        ("connect/timeout_ms", "-1"),
        ("connect/exit_on_failure", "false"),
    ];
    for (key, value) in common.iter().chain(settings) {
        config.insert_json5(key, value).unwrap();
    }
    zenoh::open(config).wait().unwrap()
}

/// What a program sees of the rig that knows all its keys: replies to orders and other questions, and tokens.
fn seen_by(stranger: &zenoh::Session, rig: &Name, order_id: &str) -> Vec<String> {
    let payload = encode(&order(order_id));
    for key in [format!("swsync/{rig}/**"), format!("swsync/{rig}/order/a"), "**".into()] {
        // Put, in case that something is subscribed to.
        if !key.contains('*') {
            stranger.put(&key, payload.clone()).wait().unwrap();
        }
    }
    let questions = ["**", "swsync/**", "@/**"].map(|key| {
        let query = stranger.get(key).payload(payload.clone()).timeout(SILENCE);
        query.target(zenoh::query::QueryTarget::All).wait().unwrap()
    });
    let tokens = stranger.liveliness().get("**").timeout(SILENCE).wait().unwrap();
    let own = stranger.zid().to_string();
    let replies = questions.iter().flat_map(|replies| replies.iter()).chain(tokens.iter());
    let replies = replies.filter_map(|reply| Some(reply.result().ok()?.key_expr().to_string()));
    replies.filter(|key| !key.contains(&own)).collect()
}

#[test]
fn a_stranger_sees_and_orders_nothing() {
    let rig = Rig::keyed();
    rig.answers("before");
    let tcp = format!("[\"tcp/{}\"]", rig.address);
    let tls = format!("[\"tls/{}\"]", rig.address);
    for (what, settings) in [
        ("plain TCP, as a peer", vec![("connect/endpoints", tcp.as_str())]),
        ("plain TCP, as a router", vec![("mode", "\"router\""), ("connect/endpoints", &tcp)]),
        (
            "TLS without a certificate",
            vec![
                ("connect/endpoints", tls.as_str()),
                ("transport/link/tls/verify_name_on_connect", "false"),
                ("transport/link/tls/enable_mtls", "false"),
            ],
        ),
    ] {
        let stranger = zenoh_with(&settings);
        let seen = seen_by(&stranger, &rig.rig, "forged");
        assert!(seen.is_empty(), "{what}: {seen:?}");
        let info = stranger.info();
        let connected = info.routers_zid().wait().count() + info.peers_zid().wait().count();
        assert_eq!(connected, 0, "{what}");
    }
    assert_eq!(rig.count("forged"), 0);
    rig.answers("after");
}

/// The same attempts on an open rig are seen: the test above can fail.
#[test]
fn an_open_rig_is_seen_by_everybody() {
    let rig = Rig::new(None);
    rig.answers("before");
    let stranger = zenoh_with(&[("connect/endpoints", &format!("[\"tcp/{}\"]", rig.address))]);
    let deadline = Instant::now() + TIMEOUT;
    while seen_by(&stranger, &rig.rig, "forged").is_empty() {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn without_the_key_or_with_another_the_error_names_it() {
    let rig = Rig::keyed();
    let config = rig.config_at(rig.address);
    let visit = |key| Session::visit(&config.clone().with_key(key), Duration::from_secs(2));
    let none = visit(None).err().expect("a stranger");
    assert!(matches!(none, ControlError::Key { .. }), "{none}");
    assert!(none.to_string().contains("does this rig have a key?"), "{none}");
    assert!(none.to_string().contains("--key-file"), "{none}");

    let other = random_key().unwrap();
    let wrong = visit(Some(other.clone())).err().expect("another key");
    assert!(matches!(wrong, ControlError::Key { .. }), "{wrong}");
    assert!(wrong.to_string().contains("swsync key check"), "{wrong}");
    assert!(wrong.to_string().contains(&other.fingerprint().to_string()), "{wrong}");
    rig.answers("after");

    let open = Rig::new(None);
    let config = open.config_at(open.address).with_key(Some(other));
    let error = Session::visit(&config, Duration::from_secs(2)).err().expect("the rig has no key");
    assert!(error.to_string().contains("open: it has no key"), "{error}");
}

/// Passes bytes on, and remembers what clients send.
struct Wiretap {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Wiretap {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(back.0, back.1, |_| ()));
                let all = Arc::clone(&all);
                thread::spawn(move || {
                    pass(client, server, |bytes| all.lock().unwrap()[number].extend_from_slice(bytes));
                });
            }
        });
        Self { address, heard }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut hear: impl FnMut(&[u8])) {
    let mut buffer = [0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        hear(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Sends `bytes` to the rig, and waits until it hangs up or says nothing more.
fn send(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // The rig may hang up at any byte.
    let _ = stream.write_all(bytes);
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

#[test]
fn replayed_bytes_do_nothing() {
    let rig = Rig::keyed();
    let tap = Wiretap::before(rig.address);
    let operator = rig.visitor_at(tap.address);
    let summary = operator.place(&order("recorded"), TIMEOUT, |_| ()).unwrap();
    assert!(summary.is_complete(), "{summary:?}");
    drop(operator);
    assert_eq!(rig.count("recorded"), 2);
    let heard = tap.heard.lock().unwrap().clone();
    let length = heard.iter().map(Vec::len).max().unwrap();
    assert!(length > 500, "an order was recorded: {length} bytes");
    for bytes in &heard {
        assert!(!bytes.windows(8).any(|window| window == b"recorded"), "the order can be read on the way");
        send(rig.address, bytes);
        // The second part of the conversation alone, too.
        send(rig.address, &bytes[bytes.len() / 2..]);
    }
    thread::sleep(SILENCE);
    assert_eq!(rig.count("recorded"), 2, "nobody got it again");
    rig.answers("after");
}

#[test]
fn truncated_oversized_and_flooding_bytes_do_not_stop_the_rig() {
    let rig = Rig::keyed();
    let tap = Wiretap::before(rig.address);
    drop(rig.visitor_at(tap.address));
    let hello = tap.heard.lock().unwrap()[0].clone();
    // Truncated anywhere.
    for length in (0..hello.len().min(600)).step_by(61) {
        send(rig.address, &hello[..length]);
    }
    // Oversized: TLS records of the longest length that their header can state, and Zenoh's without TLS.
    let mut oversized = vec![0x16, 3, 1, 0xff, 0xff];
    oversized.resize(1 << 20, 0x41);
    send(rig.address, &oversized);
    send(rig.address, &vec![0xff; 1 << 20]);
    rig.answers("after-garbage");

    // Flooded: connections that say nothing, and some that never stop.
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    send(rig.address, &oversized[..4096]);
                }
            });
        }
        rig.answers("while-flooded");
        ends.store(true, Ordering::Relaxed);
    });
    drop(silent);
    let begin = Instant::now();
    rig.answers("after");
    // Each of the 200 handshakes that fail now keeps Zenoh from accepting others: for 1 ms by .cargo/config.toml, or else 100 ms.
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

/// A take on `disk`, which the first device shares.
fn share(rig: &Rig, disk: &std::path::Path) -> Share {
    let folder = disk.join("o1").join("a");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("00000100.jpg"), "a picture").unwrap();
    let line = serde_json::json!({
        "order": "o1", "device": "a", "file": "00000100.jpg", "offset": 0, "bytes": 9, "number": 100,
        "rig_time_ns": 1, "phase_error_ns": 0, "clock_uncertainty_ns": 1000, "sync": "synced",
        "lock": "locked", "exposure_ns": 10_000_000, "analogue_gain": 1.5, "sensor_time_ns": 5,
    });
    std::fs::write(folder.join("frames.jsonl"), format!("{line}\n")).unwrap();
    let take = serde_json::json!({
        "schema": 1, "order": "o1", "ordered": {}, "device": "a", "host": "a", "software": "test",
        "camera": null, "caps": "image/jpeg", "grid": [30, 1], "first": 100, "count": 1,
        "started_ns": 1, "finished_ns": 2, "complete": true,
    });
    std::fs::write(folder.join("take.json"), take.to_string()).unwrap();
    let session = rig.devices[0].membership().session();
    Share::open(session, name("a"), disk.into(), Box::new(|| None)).unwrap()
}

/// What the device replies. A session that has just connected may not have heard yet that the device shares files.
fn ask(session: &Session, request: &FileRequest) -> FileReply {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match session.request_files(&name("a"), request, TIMEOUT).unwrap() {
            Some((reply, _)) => return reply,
            None => assert!(Instant::now() < deadline, "no reply"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks for the SHA-256 of a file, and then deletes it by that.
fn delete_by_digest(session: &Session) -> FileReply {
    let (order, path) = (name("o1"), "00000100.jpg".to_owned());
    assert!(matches!(ask(session, &FileRequest::Takes), FileReply::Takes { .. }));
    let digest = FileRequest::Digest { order: order.clone(), path: path.clone() };
    let FileReply::Digest { digest } = ask(session, &digest) else { panic!("no digest") };
    ask(session, &FileRequest::Delete { order, path, sha256: digest.sha256 })
}

#[test]
fn a_digest_that_everybody_can_ask_for_does_not_delete() {
    let disk = tempfile::tempdir().unwrap();
    let file = disk.path().join("o1/a/00000100.jpg");
    let open = Rig::new(None);
    let _share = share(&open, disk.path());
    let stranger = open.visitor_at(open.address);
    let FileReply::Refused { why } = delete_by_digest(&stranger) else { panic!("not refused") };
    assert!(why.contains("swsync key new"), "{why}");
    // Whether or not somebody says that it was collected.
    let mark = serde_json::json!({"by": "x", "folder": "/x", "at_ns": 1, "files": 3, "sha256": "0a".repeat(32), "keyed": true});
    let mark = serde_json::from_value(mark).unwrap();
    let reply = ask(&stranger, &FileRequest::Collected { order: name("o1"), mark });
    assert!(matches!(reply, FileReply::Marked), "{reply:?}");
    let FileReply::Summaries { takes, .. } = ask(&stranger, &FileRequest::Summaries { after: None }) else {
        panic!("no list")
    };
    assert!(
        takes[0].collected.as_ref().is_some_and(|mark| !mark.keyed),
        "the device knows better: {takes:?}"
    );
    for sha256 in [None, Some("0a".repeat(32))] {
        let reply = ask(&stranger, &FileRequest::Remove { order: name("o1"), sha256 });
        assert!(matches!(&reply, FileReply::Refused { why } if why.contains("swsync key new")), "{reply:?}");
    }
    assert!(file.exists());
    open.answers("after");

    // With the key it is the operator who asks.
    let disk = tempfile::tempdir().unwrap();
    let file = disk.path().join("o1/a/00000100.jpg");
    let keyed = Rig::keyed();
    let _share = share(&keyed, disk.path());
    let tcp = format!("[\"tcp/{}\"]", keyed.address);
    let stranger = zenoh_with(&[("connect/endpoints", &tcp)]);
    let replies = stranger.get(format!("swsync/{}/files/a/*", keyed.rig)).timeout(SILENCE).wait().unwrap();
    assert_eq!(replies.iter().count(), 0, "files are not served to strangers");
    assert!(file.exists());
    let reply = delete_by_digest(&keyed.visitor_at(keyed.address));
    assert!(matches!(reply, FileReply::Deleted), "{reply:?}");
    assert!(!file.exists());
    keyed.answers("after");
}
