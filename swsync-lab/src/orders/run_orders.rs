//! Gives the orders; stops and cancels some, and kills devices meanwhile.

use std::time::{Duration, Instant};

use anyhow::bail;
use swsync_core::order::{Order, OrderCommand, Targets};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::{Session, Summary};

use super::args::OrdersArgs;
use super::devices::Devices;
use super::random_order::random_order;
use crate::split_mix::SplitMix64;
use swsync_cli::rig_time::ReportedRigTime;

/// How long devices may take to start, and to answer at the end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a device has to answer a question.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// No more orders are given while so many are open: a device takes 64.
const MAX_OPEN: usize = 40;
/// A kill may affect orders that ended so long before it: as long as the ring reaches back, and an order waits for late frames.
const BEFORE: Span = Span::from_secs(10);
/// Frames may be missing for so long after a device was started again: until it is synced and its ring is full.
const AFTER: Span = Span::from_secs(30);

/// An order that was given, and whether it was stopped or cancelled.
pub struct GivenOrder {
    pub order: Order,
    pub cancelled: bool,
    pub stopped: bool,
    /// When it was given.
    given: Timestamp<Rig>,
}

/// The time in which a killed device was down.
pub struct Outage {
    device: usize,
    from: Timestamp<Rig>,
    until: Timestamp<Rig>,
}

impl Outage {
    pub const fn is_leaders(&self) -> bool {
        self.device == 0
    }

    /// Whether it may have affected the answer of that device to `given`.
    pub fn disturbs(&self, device: &str, given: &GivenOrder) -> bool {
        let order = &given.order;
        let end = order.ends_at(Span::ZERO).unwrap_or(Timestamp::MAX).max(given.given);
        device == format!("device{}", self.device)
            && self.from < end + BEFORE
            && order.at().min(given.given) < self.until + AFTER
    }
}

/// What was done, and the answers.
pub struct OrdersRun {
    pub orders: Vec<(GivenOrder, Summary)>,
    pub outages: Vec<Outage>,
    pub took: Duration,
}

/// Gives all orders, kills devices, and waits until everything is answered.
pub fn run_orders(args: &OrdersArgs, devices: &mut Devices) -> anyhow::Result<OrdersRun> {
    let session = devices.session()?;
    let clock = devices.wait_until_ready(&session)?;
    let mut random = SplitMix64::new(args.seed);
    let begun = Instant::now();
    let mut given: Vec<GivenOrder> = Vec::new();
    let mut outages: Vec<Outage> = Vec::new();
    let mut down: Option<Instant> = None;
    for index in 0..args.orders {
        let now = clock.at(Instant::now());
        let order = random_order(&mut random, index, now)?;
        let _ = session.offer(&order, ASK_TIMEOUT); // a device that is down gets it later
        given.push(GivenOrder { order, cancelled: false, stopped: false, given: now });
        stop_or_cancel(&session, &mut random, &clock, &mut given);
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
            if session.registry(ASK_TIMEOUT).orders.len() <= MAX_OPEN {
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
        let summary = session.place(&one.order, ANSWER_TIMEOUT, |_| ())?;
        orders.push((one, summary));
    }
    Ok(OrdersRun { orders, outages, took })
}

/// Starts the device that was killed last.
fn end_outage(devices: &mut Devices, outages: &mut [Outage], clock: &ReportedRigTime) -> anyhow::Result<()> {
    if let Some(outage) = outages.last_mut() {
        devices.restart(outage.device)?;
        outage.until = clock.at(Instant::now());
    }
    Ok(())
}

/// Now and then stops or cancels an order, which may be over already.
fn stop_or_cancel(
    session: &Session,
    random: &mut SplitMix64,
    clock: &ReportedRigTime,
    given: &mut [GivenOrder],
) {
    let recent = given.len().saturating_sub(8);
    let index = recent + usize::try_from(random.below(8)).expect("less than 8");
    let Some(one) = given.get_mut(index) else { return };
    match random.below(6) {
        0 => {
            one.cancelled = true;
            let command = OrderCommand::Cancel { order: one.order.id().clone() };
            let _ = session.command(&command, &Targets::All, ASK_TIMEOUT); // a device that is down gets it later
        }
        1 if one.order.ends_at(Span::ZERO).is_none() => stop(session, clock, one),
        _ => {}
    }
}

fn stop(session: &Session, clock: &ReportedRigTime, one: &mut GivenOrder) {
    let at = clock.at(Instant::now()) + Span::from_millis(800);
    one.stopped = true;
    one.order.stop_at(at);
    let command = OrderCommand::Stop { order: one.order.id().clone(), at_ns: at };
    let _ = session.command(&command, &Targets::All, ASK_TIMEOUT); // a device that is down gets it later
}

/// Waits until no device has an order open.
fn wait_until_idle(session: &Session, devices: &mut Devices) -> anyhow::Result<()> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        devices.check()?;
        let open: Vec<String> =
            session.registry(ASK_TIMEOUT).orders.iter().map(|order| order.id().to_string()).collect();
        if open.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("still open after {ANSWER_TIMEOUT:?}: {}", open.join(", "));
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}
