//! Servers that answer nonsense: how often they are asked.

use std::collections::BTreeMap;

use crate::ntp::{self, Datagram, Key, Keys, NtpTimestamp, Packet, RigField};
use crate::time::{Local, Rig, Span, Timestamp};
use crate::time_service::testing::{at_s, identity};
use crate::time_service::{
    Client, ClientAction, ClientConfig, Seed, Server, ServerConfig, ServerStatus, SyncState,
};

const MINUTES: usize = 5;

/// What the server answers to a request: given its number, what an honest server would answer, and when it arrived.
type Answer<'a> = &'a mut dyn FnMut(usize, Packet, Timestamp<Local>) -> Vec<Packet>;

fn rig(at: Timestamp<Local>) -> Timestamp<Rig> {
    Timestamp::from_nanos(1_800_000_000_000_000_000 + at.as_nanos())
}

enum Event {
    Request(Datagram),
    Response(Vec<u8>),
}

/// A client, and a server that tells the truth if it is not told otherwise. A packet takes 0.5 ms.
struct World {
    client: Client,
    server: Server,
    key: Option<Key>,
    now: Timestamp<Local>,
    events: BTreeMap<(Timestamp<Local>, usize), Event>,
    sent: Vec<Timestamp<Local>>,
}

impl World {
    fn new(key: Option<Key>) -> Self {
        let config = ClientConfig { key: key.clone(), rig: 7, device: 9, ..ClientConfig::default() };
        let keys = key.iter().cloned().collect::<Keys>();
        Self {
            client: Client::new(config, Timestamp::ZERO, Timestamp::ZERO, Seed::predictable(5)),
            server: Server::new(ServerConfig { keys, ..ServerConfig::default() }),
            key,
            now: Timestamp::ZERO,
            events: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    fn transmit(&mut self, event: Event) {
        self.events.insert((self.now + Span::from_micros(500), self.sent.len() + self.events.len()), event);
    }

    fn run_until(&mut self, end: Timestamp<Local>, answer: Answer<'_>) {
        loop {
            let next = self.events.first_key_value().map_or(Timestamp::MAX, |((at, _), _)| *at);
            let wake = self.client.wake_at();
            if next.min(wake) > end {
                self.now = end;
                return;
            }
            self.now = next.min(wake).max(self.now);
            if wake < next {
                self.client.handle_timeout(self.now);
            } else {
                match self.events.pop_first() {
                    Some((_, Event::Response(bytes))) => self.client.handle_datagram(&bytes, self.now),
                    Some((_, Event::Request(datagram))) => self.answer(&datagram, answer),
                    None => {}
                }
            }
            while let Some(action) = self.client.poll_action() {
                if let ClientAction::Send { datagram, token } = action {
                    self.client.handle_sent(token, self.now);
                    self.sent.push(self.now);
                    self.transmit(Event::Request(datagram));
                }
            }
        }
    }

    fn answer(&mut self, request: &Datagram, answer: Answer<'_>) {
        // Not limited, as on loopback.
        let from = [127, 0, 0, 1].into();
        let leader = ServerStatus::leading(&identity(1), rig(Timestamp::ZERO));
        let honest = self.server.handle_request(request, from, rig(self.now), rig(self.now), &leader);
        let honest = ntp::decode(&honest.unwrap().datagram).unwrap().0;
        for packet in answer(self.sent.len(), honest, self.now) {
            let datagram = ntp::encode(&packet);
            let datagram = self.key.as_ref().map_or(datagram, |key| datagram.sealed(key));
            self.transmit(Event::Response(datagram.to_vec()));
        }
    }

    fn quality(&self) -> SyncState {
        self.client.stats(self.now).quality
    }

    /// Requests in each second, the greatest number of them.
    fn most_a_second(&self) -> usize {
        let within = |from: Timestamp<Local>| self.sent.partition_point(|at| *at < from + Span::from_secs(1));
        self.sent.iter().enumerate().map(|(index, from)| within(*from) - index).max().unwrap_or(0)
    }
}

/// Requests in each minute to a server that answers honestly for `honest` seconds and then as `answer` says.
fn requests_a_minute(honest: f64, answer: Answer<'_>) -> [usize; MINUTES] {
    let mut world = World::new(None);
    world.run_until(at_s(honest), &mut |_, packet, _| vec![packet]);
    let mut counts = [0; MINUTES];
    for count in &mut counts {
        let before = world.sent.len();
        world.run_until(world.now + Span::from_secs(60), answer);
        *count = world.sent.len() - before;
    }
    assert!(world.most_a_second() < 500, "{}", world.most_a_second());
    counts
}

/// Asserts that a server which answers so is soon called no more than once a second, wherever it begins: at once, in the
/// middle of the first burst, while the interval grows, and in the steady phase.
fn assert_rarely_asked(kind: &str, answer: Answer<'_>) {
    for honest in [0.0, 0.1, 3.0, 100.0] {
        let counts = requests_a_minute(honest, answer);
        assert!(counts[0] <= 240, "{kind} after {honest} s: {counts:?}");
        assert!(counts[1..].iter().all(|count| *count <= 66), "{kind} after {honest} s: {counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{kind} after {honest} s: {counts:?}");
    }
}

/// `packet` with another rig field.
fn with_field(packet: Packet, change: impl Fn(&mut RigField)) -> Packet {
    let mut field = packet.rig.unwrap();
    change(&mut field);
    Packet { rig: Some(field), ..packet }
}

const fn later(at: NtpTimestamp, seconds: u64) -> NtpTimestamp {
    NtpTimestamp(at.0.wrapping_add(seconds << 32))
}

#[test]
fn impossible_timestamps() {
    assert_rarely_asked("sent before it was received", &mut |_, packet, _| {
        vec![Packet { receive: later(packet.receive, 5), ..packet }]
    });
    assert_rarely_asked("held for an hour", &mut |_, packet, _| {
        vec![Packet { transmit: later(packet.transmit, 3600), ..packet }]
    });
}

#[test]
fn impossible_timestamps_do_not_count_as_hearing_the_server() {
    let mut world = World::new(None);
    world.run_until(at_s(5.0), &mut |_, packet, _| vec![packet]);
    assert_eq!(world.quality(), SyncState::Synced);
    let nonsense = &mut |_, packet: Packet, _| vec![Packet { receive: later(packet.receive, 5), ..packet }];
    world.run_until(at_s(10.0), nonsense);
    assert_eq!(world.quality(), SyncState::Holdover);
    world.run_until(at_s(40.0), nonsense);
    world.run_until(at_s(43.0), &mut |_, packet, _| vec![packet]);
    assert_eq!(world.quality(), SyncState::Synced, "{:?}", world.client.stats(world.now));
}

#[test]
fn a_single_impossible_response_changes_nothing() {
    let mut world = World::new(None);
    world.run_until(at_s(120.0), &mut |number, packet, _| match number % 50 {
        0 => vec![Packet { transmit: later(packet.transmit, 3600), ..packet }],
        _ => vec![packet],
    });
    let stats = world.client.stats(world.now);
    assert_eq!((stats.quality, stats.contradictions), (SyncState::Synced, 0));
    assert!(stats.implausible > 5, "{stats:?}");
    let slow = world.sent.iter().filter(|at| **at > at_s(60.0)).count();
    assert!(slow <= 500, "{slow}");
}

#[test]
fn servers_that_cannot_be_followed() {
    assert_rarely_asked("does not know the time", &mut |_, packet, _| vec![Packet { leap: 3, ..packet }]);
    assert_rarely_asked("stratum 16", &mut |_, packet, _| vec![Packet { stratum: 16, ..packet }]);
    assert_rarely_asked("INIT", &mut |_, packet, _| {
        vec![Packet { stratum: 0, reference_id: *b"INIT", ..packet }]
    });
    assert_rarely_asked("another rig", &mut |_, packet, _| vec![with_field(packet, |field| field.rig = 8)]);
    assert_rarely_asked("follows this device", &mut |_, packet, _| {
        vec![with_field(packet, |field| field.leader = 9)]
    });
}

#[test]
fn kisses() {
    let kiss = |code| move |_, packet: Packet, _| vec![Packet { stratum: 0, reference_id: code, ..packet }];
    assert_rarely_asked("RATE", &mut kiss(*b"RATE"));
    let counts = requests_a_minute(0.0, &mut kiss(*b"RATE"));
    assert!(counts[1..].iter().all(|count| *count <= 5), "{counts:?}");
    assert_rarely_asked("an unknown kiss", &mut kiss(*b"ABCD"));
    for code in [*b"DENY", *b"RSTR"] {
        for honest in [0.0, 0.1, 3.0, 100.0] {
            let counts = requests_a_minute(honest, &mut kiss(code));
            // Those in flight, and one after five minutes.
            assert!(counts.iter().sum::<usize>() < 20, "{counts:?}");
        }
    }
}

#[test]
fn answers_that_match_no_request() {
    assert_rarely_asked("bogus", &mut |number, packet, _| {
        vec![Packet { origin: NtpTimestamp(number as u64), ..packet }; 3]
    });
    let mut old = None;
    assert_rarely_asked("an old answer again and again", &mut |_, packet, _| {
        vec![*old.get_or_insert(packet); 3]
    });
    assert_rarely_asked("a request for an answer", &mut |_, packet, _| {
        vec![Packet { mode: ntp::MODE_CLIENT, ..packet }]
    });
}

#[test]
fn duplicates_change_nothing() {
    let single = requests_a_minute(0.0, &mut |_, packet, _| vec![packet]);
    let double = requests_a_minute(0.0, &mut |_, packet, _| vec![packet; 3]);
    assert!(double.iter().zip(single).all(|(double, single)| double.abs_diff(single) < 40), "{double:?}");
}

#[test]
fn answers_without_a_valid_mac() {
    for honest in [0.0, 0.1, 3.0, 100.0] {
        let key = |secret| Key::new(5, &[secret; 16]).unwrap();
        let mut world = World::new(Some(key(1)));
        world.run_until(at_s(honest), &mut |_, packet, _| vec![packet]);
        for other in [Some(key(2)), None] {
            world.key = other;
            let before = world.sent.len();
            world.run_until(world.now + Span::from_secs(60), &mut |_, packet, _| vec![packet]);
            assert!(world.sent.len() - before < 240, "{honest} s: {}", world.sent.len() - before);
            let before = world.sent.len();
            world.run_until(world.now + Span::from_secs(60), &mut |_, packet, _| vec![packet]);
            assert!((50..=66).contains(&(world.sent.len() - before)), "{}", world.sent.len() - before);
            assert!(world.client.stats(world.now).bad_mac > 50);
        }
    }
}

#[test]
fn a_server_that_knows_the_time_at_every_other_request() {
    assert_rarely_asked("every other", &mut |number, packet, _| match number % 2 {
        0 => vec![packet],
        _ => vec![Packet { leap: 3, ..packet }],
    });
    // For 20 of 40 requests.
    for honest in [0.0, 3.0] {
        let counts = requests_a_minute(honest, &mut |number, packet, _| match number / 20 % 2 {
            0 => vec![packet],
            _ => vec![Packet { leap: 3, ..packet }],
        });
        assert!(counts[1..].iter().all(|count| *count <= 130), "{counts:?}");
    }
}

#[test]
fn two_leaders_that_answer_in_turn() {
    for honest in [0.0, 3.0] {
        for timescales in [false, true] {
            let counts = requests_a_minute(honest, &mut |number, packet, _| {
                vec![with_field(packet, |field| {
                    field.leader += number as u64 % 2;
                    field.timescale += if timescales { number as u64 % 2 } else { 0 };
                })]
            });
            assert!(counts[1..].iter().all(|count| *count <= 66), "{counts:?}");
        }
    }
}

/// Plausible, but each exchange contradicts the others.
#[test]
fn random_times() {
    let mut random = crate::testing::XorShift::mixed(3);
    for honest in [0.0, 0.1, 3.0, 100.0] {
        let counts = requests_a_minute(honest, &mut |_, packet, _| {
            let by = (random.bits() % 1000) << 30;
            let (receive, transmit) = (packet.receive.0.wrapping_add(by), packet.transmit.0.wrapping_add(by));
            vec![Packet { receive: NtpTimestamp(receive), transmit: NtpTimestamp(transmit), ..packet }]
        });
        assert!(counts[1..].iter().all(|count| *count <= 500), "{counts:?}");
    }
}

#[test]
fn a_flood_from_one_client_does_not_harm_another() {
    let mut server = Server::new(ServerConfig::default());
    let leader = ServerStatus::leading(&identity(1), rig(Timestamp::ZERO));
    let request = |n: u64| {
        let rig = Some(RigField::default());
        ntp::encode(&Packet { mode: ntp::MODE_CLIENT, transmit: NtpTimestamp(n), rig, ..Packet::default() })
    };
    let (mut kisses, mut answers, mut served) = (0, 0, 0);
    for tenth in 0..600_000 {
        let at = rig(at_s(f64::from(tenth) * 1e-4));
        let response = server.handle_request(&request(1), [10, 0, 0, 66].into(), at, at, &leader);
        if let Some(response) = response {
            let packet = ntp::decode(&response.datagram).unwrap().0;
            *(if packet.stratum == 0 { &mut kisses } else { &mut answers }) += 1;
        }
        if tenth % 1250 == 0 {
            let response = server.handle_request(&request(2), [10, 0, 0, 2].into(), at, at, &leader).unwrap();
            let packet = ntp::decode(&response.datagram).unwrap().0;
            served += usize::from(packet.stratum == 1);
            // The flood is one client, however much it asks.
            assert!(packet.rig.unwrap().least_poll_ms <= 5);
        }
    }
    assert_eq!(served, 480);
    assert!((50..=61).contains(&kisses), "{kisses}");
    // The bucket, and 50 a second.
    assert!((4_400..=4_600).contains(&answers), "{answers}");
}
