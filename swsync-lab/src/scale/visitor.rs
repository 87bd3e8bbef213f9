//! One that gives orders: a process in a network of its own, with the session of `swsync shoot`.

use std::io::BufRead as _;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use swsync_cli::rig_time::ReportedRigTime;
use swsync_core::name::Name;
use swsync_core::order::Order;
use swsync_core::time::Span;
use swsync_rig::{DeviceOutcome, RigConfig, Session};

use super::protocol::{Command, Placed, Told};
use super::tell;

/// How long all devices may take to be seen.
const SIGHT: Duration = Duration::from_secs(60);
/// How long devices may take to answer a status, and an order.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Gives the orders that standard input asks for, until that ends.
///
/// # Errors
/// There is no rig, or not as many devices as there should be.
pub fn run(rig: &Name) -> anyhow::Result<()> {
    let begun = Instant::now();
    let session = Session::visit(&RigConfig::discovering(rig.clone()), SIGHT)?;
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line?).context("a command that cannot be read")? {
            Command::Order { devices, orders } => {
                wait_for(&session, devices)?;
                tell(&Told::Sees { after_ns: begun.elapsed().into() });
                for number in 0..orders {
                    tell(&Told::Placed(order(&session, number)?));
                }
                tell(&Told::Done);
            }
            Command::Sample => anyhow::bail!("a visitor has no clock"),
        }
    }
    Ok(())
}

fn wait_for(session: &Session, devices: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let seen = session.statuses(STATUS_TIMEOUT).len();
        if seen == devices {
            return Ok(());
        }
        ensure!(begun.elapsed() < SIGHT, "{seen} of {devices} devices are seen after {SIGHT:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Gives an order for this very instant.
fn order(session: &Session, number: u32) -> anyhow::Result<Placed> {
    let clock = ReportedRigTime::best(&session.statuses(STATUS_TIMEOUT)).context("nobody knows the time")?;
    let begun = Instant::now();
    let order = Order::still(Name::new(format!("scale-{number}"))?, clock.at(begun))?;
    let (mut last, mut answered, mut why) = (None, 0, None);
    let placed = session.place(&order, ANSWER_TIMEOUT, |outcome| match outcome {
        DeviceOutcome::Answered(_) => {
            answered += 1;
            last = Some(begun.elapsed());
        }
        DeviceOutcome::NoAnswer { device, why: reason } | DeviceOutcome::Refused { device, why: reason } => {
            why.get_or_insert_with(|| format!("{device}: {reason}"));
        }
    });
    if let Err(error) = placed {
        why = Some(error.to_string());
    }
    Ok(Placed { last_answer_ns: last.map(Span::from), answered, why })
}
