//! How often a client asks over simulated links, and what that does to its accuracy.

#![allow(clippy::disallowed_macros, reason = "a failed test shows its numbers")]

use std::collections::BTreeMap;

use swsync_core::ntp::Datagram;
use swsync_core::time::{Host, Rig, Span, Timestamp};
use swsync_core::time_service::{
    Client, ClientAction, ClientConfig, ClockUpdate, Identity, Server, ServerConfig, ServerResponse,
    ServerStatus,
};
use swsync_sim::link::{Direction, Link, LinkModel};
use swsync_sim::oscillator::Oscillator;

/// Rig time minus true time: the leader's crystal defines rig time.
const RIG_EPOCH: i64 = 1_800_000_000_000_000_000;

fn rig(at: Timestamp<Host>) -> Timestamp<Rig> {
    Timestamp::from_nanos(RIG_EPOCH + at.as_nanos())
}

enum Event {
    Request(Datagram),
    Response(Datagram),
}

/// A client and its leader.
struct World {
    client: Client,
    server: Server,
    status: ServerStatus,
    link: Link,
    clock: Oscillator,
    now: Timestamp<Host>,
    events: BTreeMap<(Timestamp<Host>, u64), Event>,
    count: u64,
    last: Option<ClockUpdate>,
}

/// What the client did in some time.
#[derive(Debug, Clone, Default)]
struct Record {
    requests: u64,
    seconds: f64,
    /// Once a second, in us, each in order of size: the clock's error less the link's asymmetry, and its uncertainty.
    errors: Vec<f64>,
    uncertainties: Vec<f64>,
    /// Share of errors within twice the uncertainty.
    covered: f64,
}

impl Record {
    fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
    fn mean_error(&self) -> f64 {
        self.errors.iter().sum::<f64>() / self.errors.len() as f64
    }
    fn p99_error(&self) -> f64 {
        self.errors[self.errors.len() * 99 / 100]
    }
    fn uncertainty(&self) -> f64 {
        self.uncertainties[self.uncertainties.len() / 2]
    }
}

impl World {
    fn new(model: LinkModel, config: ClientConfig, seed: u64) -> Self {
        let clock = format!("skew=15ppm,wander=0.01ppm,offset=5s,seed={seed}");
        let clock = Oscillator::new(clock.parse().unwrap());
        let leader = Identity { rig: 1, device: 2, timescale: 3 };
        Self {
            client: Client::new(config, clock.read(Timestamp::ZERO), Timestamp::ZERO, seed),
            server: Server::new(ServerConfig::default()),
            status: ServerStatus::leading(&leader, rig(Timestamp::ZERO)),
            link: Link::new(model, seed),
            clock,
            now: Timestamp::ZERO,
            events: BTreeMap::new(),
            count: 0,
            last: None,
        }
    }

    fn transmit(&mut self, direction: Direction, event: Event) {
        if let Some(delay) = self.link.delay(direction, self.now) {
            self.count += 1;
            self.events.insert((self.now + delay, self.count), event);
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.client.poll_action() {
            match action {
                ClientAction::Send { datagram, token } => {
                    self.client.handle_sent(token, self.clock.read(self.now));
                    self.transmit(Direction::ToLeader, Event::Request(datagram));
                }
                ClientAction::Publish(update) => self.last = Some(update),
                ClientAction::Refused(refusal) => panic!("{refusal}"),
            }
        }
    }

    fn run_until(&mut self, end: Timestamp<Host>) {
        loop {
            let wake = self.clock.true_at(self.client.wake_at());
            let next = self.events.first_key_value().map_or(Timestamp::MAX, |((at, _), _)| *at);
            if wake.min(next) > end {
                self.now = end;
                return;
            }
            self.now = wake.min(next).max(self.now);
            let local = self.clock.read(self.now);
            if wake < next {
                // The conversion rounds: do not call early.
                self.client.handle_timeout(local.max(self.client.wake_at()));
            } else if let Some((_, event)) = self.events.pop_first() {
                match event {
                    Event::Response(datagram) => self.client.handle_datagram(&datagram, local),
                    Event::Request(datagram) => self.answer(&datagram),
                }
            }
            self.carry_out();
        }
    }

    fn answer(&mut self, request: &Datagram) {
        // The server works for 25 us; the kernel sends 15 us later.
        let sent = self.now + Span::from_micros(40);
        let stated = rig(sent - Span::from_micros(15));
        let from = [10, 0, 0, 2].into();
        let response = self.server.handle_request(request, from, rig(self.now), stated, &self.status);
        if let Some(ServerResponse { datagram, token: Some(token) }) = response {
            self.server.handle_sent(token, rig(sent));
            self.now = sent;
            self.transmit(Direction::ToClient, Event::Response(datagram));
        }
    }

    fn poll_interval(&self) -> Span {
        self.client.stats(self.clock.read(self.now)).poll_interval
    }

    /// Runs for `seconds`.
    fn record(&mut self, seconds: u32) -> Record {
        let before = self.client.stats(self.clock.read(self.now)).sent;
        let asymmetry = self.link.model().asymmetry();
        let mut record = Record { seconds: f64::from(seconds), ..Record::default() };
        let mut covered = 0;
        for _ in 0..seconds {
            self.run_until(self.now + Span::from_secs(1));
            let Some(update) = self.last else { continue };
            let local = self.clock.read(self.now);
            let biased = update.map.rig_at(local) - rig(self.now);
            let error = (biased - asymmetry).abs().min((biased + asymmetry).abs()).min(biased.abs());
            let uncertainty = update.uncertainty_at(local);
            covered += u32::from(error <= uncertainty * 2);
            record.errors.push(biased.abs().as_micros_f64());
            record.uncertainties.push(uncertainty.as_micros_f64());
        }
        record.requests = self.client.stats(self.clock.read(self.now)).sent - before;
        record.covered = f64::from(covered) / record.errors.len() as f64;
        record.errors.sort_by(f64::total_cmp);
        record.uncertainties.sort_by(f64::total_cmp);
        record
    }
}

#[test]
#[ignore]
fn explore() {
    for model in [LinkModel::wifi(), LinkModel::wifi_busy(), LinkModel::wifi_asymmetric(), LinkModel::ethernet(), LinkModel::levels()] {
        for seed in 0..12 {
            let mut world = World::new(model.clone(), ClientConfig::default(), seed);
            let mut all = String::new();
            let mut total = 0;
            let mut rec = Record::default();
            for _ in 0..60 {
                let record = world.record(60);
                total += record.requests;
                all += &format!("{} ", world.poll_interval().as_nanos() / 1_000_000);
                rec.errors.extend(&record.errors);
                rec.uncertainties.extend(&record.uncertainties);
                rec.covered += record.covered / 60.0;
            }
            rec.errors.sort_by(f64::total_cmp);
            rec.uncertainties.sort_by(f64::total_cmp);
            println!("{} {seed}: {:.2}/s err {:.1} p99 {:.1} cov {:.3} unc {:.1}: {all}", model.name, total as f64 / 3600.0, rec.mean_error(), rec.p99_error(), rec.covered, rec.uncertainty());
        }
    }
}
