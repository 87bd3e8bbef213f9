//! The orders, and what is done to orders and devices meanwhile.

use std::time::{Duration, Instant};

use anyhow::bail;
use swsync_core::order::{Command, Order, Targets};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::control::{Session, Summary};

use super::OrdersArgs;
use super::devices::Devices;
use super::random::{Random, random_order};
use swsync_cli::rig_time::ReportedRigTime;

/// How long devices may take to start, and to answer in the end.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a device has to say something.
const ASK: Duration = Duration::from_secs(3);
/// No more orders while so many are open: a device takes 64.
const MANY: usize = 40;
/// Before a device was killed, for so long an order may have been under way that the kill bears upon: as long as its ring
/// reaches back, and an order waits for late frames.
const BEFORE: Span = Span::from_secs(10);
/// After a device was started again, for so long frames may be missing: until it is synced and its ring is full.
const AFTER: Span = Span::from_secs(30);

/// An order that was given, and what was done to it.
pub struct Given {
    pub order: Order,
    pub cancelled: bool,
    pub stopped: bool,
    /// When it was.
    given: Timestamp<Rig>,
}

/// A device was killed, and started again.
pub struct Outage {
    device: usize,
    from: Timestamp<Rig>,
    until: Timestamp<Rig>,
}

impl Outage {
    pub const fn is_leaders(&self) -> bool {
        self.device == 0
    }

    /// Whether it may have had a part in what became of `given` on that device.
    pub fn disturbs(&self, device: &str, given: &Given) -> bool {
        let order = &given.order;
        let end = order.ends_at(Span::ZERO).unwrap_or(Timestamp::MAX).max(given.given);
        device == format!("device{}", self.device)
            && self.from < end + BEFORE
            && order.at().min(given.given) < self.until + AFTER
    }
}

/// What came of it.
pub struct Played {
    pub orders: Vec<(Given, Summary)>,
    pub outages: Vec<Outage>,
    pub took: Duration,
}

/// Gives all orders, kills devices, and waits until everything is answered.
pub fn play(args: &OrdersArgs, devices: &mut Devices) -> anyhow::Result<Played> {
    let session = devices.session()?;
    let clock = devices.wait_until_ready(&session)?;
    let mut random = Random::new(args.seed);
    let begun = Instant::now();
    let mut given: Vec<Given> = Vec::new();
    let mut outages: Vec<Outage> = Vec::new();
    let mut down: Option<Instant> = None;
    for index in 0..args.orders {
        let now = clock.at(Instant::now());
        let order = random_order(&mut random, index, now)?;
        let _ = session.offer(&order, ASK); // who is down learns of it later
        given.push(Given { order, cancelled: false, stopped: false, given: now });
        meddle(&session, &mut random, &clock, &mut given);
        if down.is_none() && (index + 1).is_multiple_of(args.kill_every) {
            let victim = if args.kill_leader { 0 } else { random.below(args.devices.into()) };
            let device = usize::try_from(victim)?;
            devices.kill(device)?;
            let from = clock.at(Instant::now());
            outages.push(Outage { device, from, until: Timestamp::MAX });
            down = Some(Instant::now() + Duration::from_millis(500 + random.below(2500)));
        }
        std::thread::sleep(Duration::from_millis(20 + random.below(180)));
        loop {
            if down.take_if(|until| Instant::now() >= *until).is_some() {
                end_outage(devices, &mut outages, &clock)?;
            }
            if session.registry(ASK).orders.len() <= MANY {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    if down.is_some() {
        end_outage(devices, &mut outages, &clock)?;
    }
    for one in given.iter_mut().filter(|one| one.order.ends_at(Span::ZERO).is_none()) {
        stop(&session, &clock, one);
    }
    devices.wait_until_ready(&session)?;
    wait_until_idle(&session, devices)?;
    let took = begun.elapsed();
    let mut orders = Vec::new();
    for one in given {
        let summary = session.place(&one.order, PATIENCE, |_| ())?;
        orders.push((one, summary));
    }
    Ok(Played { orders, outages, took })
}

/// Starts the device that was killed last.
fn end_outage(devices: &mut Devices, outages: &mut [Outage], clock: &ReportedRigTime) -> anyhow::Result<()> {
    if let Some(outage) = outages.last_mut() {
        devices.restart(outage.device)?;
        outage.until = clock.at(Instant::now());
    }
    Ok(())
}

/// Now and then an order is stopped or cancelled, be it over or not.
fn meddle(session: &Session, random: &mut Random, clock: &ReportedRigTime, given: &mut [Given]) {
    let recent = given.len().saturating_sub(8);
    let index = recent + usize::try_from(random.below(8)).expect("less than 8");
    let Some(one) = given.get_mut(index) else { return };
    match random.below(6) {
        0 => {
            one.cancelled = true;
            let command = Command::Cancel { order: one.order.id().clone() };
            let _ = session.command(&command, &Targets::All, ASK); // who is down learns of it later
        }
        1 if one.order.ends_at(Span::ZERO).is_none() => stop(session, clock, one),
        _ => {}
    }
}

fn stop(session: &Session, clock: &ReportedRigTime, one: &mut Given) {
    let at = clock.at(Instant::now()) + Span::from_millis(800);
    one.stopped = true;
    one.order.stop_at(at);
    let command = Command::Stop { order: one.order.id().clone(), at_ns: at };
    let _ = session.command(&command, &Targets::All, ASK); // who is down learns of it later
}

/// Until no device has an order open.
fn wait_until_idle(session: &Session, devices: &mut Devices) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        devices.check()?;
        let open: Vec<String> =
            session.registry(ASK).orders.iter().map(|order| order.id().to_string()).collect();
        if open.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("still open after {PATIENCE:?}: {}", open.join(", "));
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}
