use super::*;
use crate::estimate::testing::Link;
use crate::frame::SyncQuality;
use crate::ntp::{self, Packet};
use crate::time::{Local, Rig, Span, Timestamp};

/// A client and a server on one simulated link; time jumps from event to event.
struct Rig2 {
    client: Client,
    server: Server,
    link: Link,
    now: Timestamp<Local>,
    wake: Timestamp<Local>,
    /// Responses under way: when they arrive.
    flying: Vec<(Timestamp<Local>, Vec<u8>)>,
    updates: Vec<(Timestamp<Local>, ClockUpdate)>,
    sent: usize,
    /// Whether requests get through.
    up: bool,
}

fn client(config: ClientConfig) -> Client {
    Client::new(config, Timestamp::ZERO, Timestamp::ZERO, 42)
}

impl Rig2 {
    fn new(ppm: f64) -> Self {
        let mut link = Link::new(77);
        link.ppm = ppm;
        link.offset = Span::from_secs(1_800_000_000);
        Self {
            client: client(ClientConfig::default()),
            server: Server::new(1, Timestamp::ZERO),
            link,
            now: Timestamp::ZERO,
            wake: Timestamp::ZERO,
            flying: Vec::new(),
            updates: Vec::new(),
            sent: 0,
            up: true,
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { datagram, token } => {
                    self.client.handle_sent(token, self.now);
                    self.sent += 1;
                    let arrives = self.now + self.link.delay();
                    let leaves = arrives + Span::from_micros(20);
                    let (received, transmit) = (self.link.truth(arrives), self.link.truth(leaves));
                    let response = self.server.respond(&datagram, received, transmit).unwrap().unwrap();
                    if self.up {
                        self.flying.push((leaves + self.link.delay(), response));
                    }
                }
                Action::WakeAt(at) => self.wake = at,
                Action::Publish(update) => self.updates.push((self.now, update)),
                Action::Refused(code) => panic!("refused: {code:?}"),
            }
        }
    }

    fn run_until(&mut self, end: Timestamp<Local>) {
        loop {
            let next = self.flying.iter().map(|(at, _)| *at).min().unwrap_or(Timestamp::MAX);
            if next.min(self.wake) > end {
                self.now = end;
                return;
            }
            self.now = next.min(self.wake).max(self.now);
            let actions = if next <= self.wake {
                let index = self.flying.iter().position(|(at, _)| *at == next).unwrap();
                let (_, bytes) = self.flying.swap_remove(index);
                self.client.handle_datagram(&bytes, self.now)
            } else {
                self.client.handle_timeout(self.now)
            };
            self.carry_out(actions);
        }
    }

    fn quality(&self) -> SyncQuality {
        self.updates.last().map_or(SyncQuality::Unsynced, |(_, update)| update.quality)
    }

    fn error(&self) -> Span {
        let (_, update) = self.updates.last().unwrap();
        update.map.rig_at(self.now) - self.link.truth(self.now)
    }
}

fn at_s(secs: f64) -> Timestamp<Local> {
    Timestamp::ZERO + Span::from_secs_f64(secs)
}

#[test]
fn a_client_syncs_within_the_burst_and_holds() {
    let mut rig = Rig2::new(40.0);
    rig.run_until(at_s(0.1));
    assert_eq!(rig.quality(), SyncQuality::Acquiring);
    rig.run_until(at_s(2.0));
    assert_eq!(rig.quality(), SyncQuality::Synced);
    for second in 2..60 {
        rig.run_until(at_s(f64::from(second)));
        assert!(rig.error().abs() < Span::from_micros(120), "at {second} s: {:?}", rig.error());
    }
}

#[test]
fn the_clock_does_not_step_once_synced() {
    let mut rig = Rig2::new(-40.0);
    rig.run_until(at_s(30.0));
    let mut synced = rig.updates.iter().skip_while(|(_, u)| u.quality != SyncQuality::Synced);
    let &(_, mut before) = synced.next().unwrap();
    for (at, update) in synced {
        let jump = update.map.rig_at(*at) - before.map.rig_at(*at);
        assert!(jump.abs() < Span::from_nanos(3), "{jump:?} at {at:?}");
        before = *update;
    }
}

#[test]
fn silence_is_holdover_until_the_leader_is_heard_again() {
    let mut rig = Rig2::new(20.0);
    rig.run_until(at_s(40.0));
    rig.up = false;
    rig.run_until(at_s(45.0));
    assert_eq!(rig.quality(), SyncQuality::Holdover);
    rig.run_until(at_s(60.0));
    assert!(rig.error().abs() < Span::from_micros(100), "{:?}", rig.error());
    rig.up = true;
    rig.run_until(at_s(61.0));
    assert_eq!(rig.quality(), SyncQuality::Synced);
}

#[test]
fn a_restarted_leader_is_followed_by_slewing_only() {
    let mut rig = Rig2::new(0.0);
    rig.run_until(at_s(10.0));
    rig.server = Server::new(2, Timestamp::ZERO);
    rig.link.offset += Span::from_millis(1);
    let before = rig.updates.len();
    rig.run_until(at_s(20.0));
    assert!(rig.error().abs() < Span::from_micros(150), "{:?}", rig.error());
    let stepped = rig.updates[before..]
        .iter()
        .any(|(_, u)| matches!(u.adjustment, Some(crate::clock::Adjustment::Stepped(_))));
    assert!(!stepped);
}

fn request(client: &mut Client) -> (Vec<u8>, SendToken) {
    let mut actions = client.handle_timeout(Timestamp::ZERO);
    let Action::Send { datagram, token } = actions.remove(0) else { panic!("{actions:?}") };
    (datagram, token)
}

fn respond(datagram: &[u8], change: impl Fn(&mut Packet)) -> Vec<u8> {
    let server = Server::new(1, Timestamp::ZERO);
    let at = Timestamp::<Rig>::from_nanos(1_000_000);
    let bytes = server.respond(datagram, at, at).unwrap().unwrap();
    let mut packet = ntp::decode(&bytes).unwrap();
    change(&mut packet);
    ntp::encode(&packet)
}

#[test]
fn responses_that_answer_nothing_are_ignored() {
    let mut client = client(ClientConfig::default());
    let (datagram, _) = request(&mut client);
    let later = Timestamp::from_nanos(2_000_000);
    let forged = respond(&datagram, |packet| packet.origin.0 ^= 1);
    assert_eq!(client.handle_datagram(&forged, later), []);
    assert_eq!(client.handle_datagram(b"garbage", later), []);
    assert_eq!(client.handle_datagram(&datagram, later), []); // its own request
    let genuine = respond(&datagram, |_| {});
    assert!(!client.handle_datagram(&genuine, later).is_empty());
    assert_eq!(client.handle_datagram(&genuine, later), [], "a duplicate");
}

#[test]
fn an_unsynchronized_server_is_not_followed() {
    let mut client = client(ClientConfig::default());
    let (datagram, _) = request(&mut client);
    let answer = respond(&datagram, |packet| packet.leap = 3);
    assert_eq!(client.handle_datagram(&answer, Timestamp::from_nanos(9)), []);
}

#[test]
fn kisses_slow_it_down() {
    let mut client = client(ClientConfig::default());
    let now = Timestamp::from_nanos(1_000_000);
    let (datagram, _) = request(&mut client);
    let rate = respond(&datagram, |packet| (packet.stratum, packet.reference_id) = (0, *b"RATE"));
    let actions = client.handle_datagram(&rate, now);
    assert_eq!(actions, [Action::WakeAt(now + Span::from_millis(80))]);
}

#[test]
fn a_denial_is_reported() {
    let mut client = client(ClientConfig::default());
    let (datagram, _) = request(&mut client);
    let deny = respond(&datagram, |packet| (packet.stratum, packet.reference_id) = (0, *b"DENY"));
    let actions = client.handle_datagram(&deny, Timestamp::ZERO);
    assert_eq!(actions[0], Action::Refused(*b"DENY"));
}

#[test]
fn a_server_answers_requests_only_and_never_longer() {
    let server = Server::new(1, Timestamp::ZERO);
    let at = Timestamp::<Rig>::from_nanos(5);
    let plain = ntp::encode(&Packet { mode: ntp::MODE_CLIENT, ..Packet::default() });
    assert_eq!(server.respond(&plain, at, at).unwrap().unwrap().len(), plain.len());
    let response = ntp::encode(&Packet { mode: ntp::MODE_SERVER, ..Packet::default() });
    assert_eq!(server.respond(&response, at, at), Ok(None));
    assert!(server.respond(b"short", at, at).is_err());
}
