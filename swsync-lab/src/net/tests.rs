//! Real sockets on hosts that a switch joins. They take a network that may be changed: `SWSYNC_NETNS=1`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::{BadLinks, Badness, Host, Port, Switch};

const GOOD: Badness = Badness { loss: 0.0, stall: Duration::ZERO, stall_every: Duration::ZERO };

/// Two hosts on one segment.
struct Pair {
    hosts: [Host; 2],
    ports: [Port; 2],
    switch: Switch,
}

impl Pair {
    /// `None` where namespaces may not be made.
    fn new() -> Option<Self> {
        if std::env::var_os("SWSYNC_NETNS").is_none() {
            println!("skipped: set SWSYNC_NETNS=1 in a network namespace of its own, as root");
            return None;
        }
        let switch = Switch::new(&["main", "apart"]).unwrap();
        let hosts = [Host::new().unwrap(), Host::new().unwrap()];
        let ports = [0, 1].map(|index| switch.plug(&hosts[index], "eth0", "main").unwrap());
        for (host, address) in hosts.iter().zip(["10.9.0.1/24", "10.9.0.2/24"]) {
            host.bring_up("eth0", address).unwrap();
        }
        Some(Self { hosts, ports, switch })
    }

    fn make_bad(&self, badness: Badness) -> BadLinks {
        BadLinks::new(&self.switch, &self.ports.map(|port| (port, "main")), badness, 7).unwrap()
    }

    /// Sends `count` numbers from the first host to the second, one every `interval`. Those that arrived, and when after the first was sent.
    fn send(&self, count: u32, interval: Duration) -> Vec<(u32, Duration)> {
        let receiver = self.hosts[1].run(|| UdpSocket::bind("10.9.0.2:0").unwrap()).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
        let sender = self.hosts[0].run(|| UdpSocket::bind("10.9.0.1:0").unwrap()).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..count {
                    sender.send(&number.to_be_bytes()).unwrap();
                    std::thread::sleep(interval);
                }
            });
            let mut number = [0; 4];
            let mut arrived = Vec::new();
            while receiver.recv(&mut number).is_ok() {
                arrived.push((u32::from_be_bytes(number), begun.elapsed()));
            }
            arrived
        })
    }

    /// Sends `bytes` from the first host to the second over TCP; what arrived.
    fn transfer(&self, bytes: &[u8]) -> Vec<u8> {
        let listener = self.hosts[1].run(|| TcpListener::bind("10.9.0.2:0").unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let stream = self.hosts[0]
                    .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap());
                let stream = stream.unwrap();
                (&stream).write_all(bytes).unwrap();
            });
            listener.set_nonblocking(true).unwrap();
            let begun = Instant::now();
            let mut stream = loop {
                if let Ok((stream, _)) = listener.accept() {
                    break stream;
                }
                assert!(begun.elapsed() < Duration::from_secs(20), "no connection");
                std::thread::sleep(Duration::from_millis(1));
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut arrived = Vec::new();
            stream.read_to_end(&mut arrived).unwrap();
            arrived
        })
    }
}

#[test]
fn links_that_are_made_bad_and_repaired_pass_streams_on_unharmed() {
    let Some(pair) = Pair::new() else { return };
    let bytes: Vec<u8> = (0..2_000_000u32).map(|index| (index % 251) as u8).collect();
    let begun = Instant::now();
    let bad = pair.make_bad(GOOD);
    assert!(pair.transfer(&bytes) == bytes, "another stream arrived than was sent");
    println!("2 MB through this process took {:?}", begun.elapsed());
    let counts = bad.repair(&pair.switch).unwrap();
    assert!(counts.passed > 2 * 1_000 && counts.lost == 0 && counts.held == 0, "{counts:?}");
    assert!(pair.transfer(&bytes) == bytes, "another stream arrived than was sent");
    assert_eq!(pair.send(10, Duration::ZERO).len(), 10);
}

#[test]
fn lossy_links_lose_every_tenth_frame_each() {
    let Some(pair) = Pair::new() else { return };
    let _bad = pair.make_bad(Badness::LOSSY);
    let is_there = |_| !pair.send(1, Duration::ZERO).is_empty(); // they have found each other's address
    assert!((0..20).any(is_there));
    let arrived = pair.send(2_000, Duration::from_micros(200)).len();
    // Of two links each passes on 90 %: 1620 of 2000, with a standard deviation of 18.
    assert!((1_540..1_700).contains(&arrived), "{arrived} of 2000");
    let bytes = vec![5; 100_000];
    assert!(pair.transfer(&bytes) == bytes, "TCP repeats what was lost");
}

#[test]
fn links_that_stall_hold_frames_and_pass_them_on_in_order() {
    let Some(pair) = Pair::new() else { return };
    let _bad = pair.make_bad(Badness::STALLING);
    let arrived = pair.send(1_000, Duration::from_millis(4));
    assert_eq!(arrived.len(), 1_000, "none is lost");
    assert!(arrived.is_sorted_by_key(|(number, _)| *number), "{arrived:?}");
    let gaps: Vec<_> = arrived.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    let stalls = gaps.iter().filter(|gap| **gap > Duration::from_millis(150)).count();
    assert!((2..=14).contains(&stalls), "{stalls} stalls of two links in 4 s");
}

#[test]
fn hosts_on_two_segments_or_cut_off_do_not_reach_each_other() {
    let Some(pair) = Pair::new() else { return };
    assert_eq!(pair.send(3, Duration::ZERO).len(), 3);
    pair.switch.move_to("apart", &pair.ports[..1]).unwrap();
    assert!(pair.send(3, Duration::ZERO).is_empty());
    pair.switch.cut_off(&pair.ports[..1]).unwrap();
    assert!(pair.send(3, Duration::ZERO).is_empty());
    pair.switch.move_to("main", &pair.ports[..1]).unwrap();
    assert_eq!(pair.send(3, Duration::ZERO).len(), 3);
}
