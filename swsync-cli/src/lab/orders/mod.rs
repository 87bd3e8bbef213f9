//! `swsync lab orders`: random orders to a rig of real pipelines, some of which are killed now and then; then every file is
//! held against every answer.

mod check;
mod devices;
mod random;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use swsync_core::order::{Command, Order, Targets};
use swsync_core::time::Span;
use swsync_rig::control::Session;

use crate::clock::RigClock;
use crate::exit;
use crate::output;
use check::Report;
pub use devices::Devices;
use random::{Random, random_order};

/// How long devices may take to start, and to answer in the end.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a device has to say something.
const ASK: Duration = Duration::from_secs(3);
/// No more orders while so many are open: a device takes 64.
const MANY: usize = 40;

/// Give random orders to real pipelines, kill some now and then, and account for every file.
///
/// Needs gst-launch-1.0 with the swsync plugin. Orders are stills, bursts, time lapses and takes, future and past,
/// overlapping, stopped and cancelled. In the end every device is asked for its answers, and they are held against what
/// is on disk: each frame that an order names is accounted for once, each file is whole, none is there that no answer
/// names.
#[derive(Debug, Clone, Args)]
pub struct OrdersArgs {
    /// Devices, the leader among them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=20))]
    devices: u16,
    /// Orders.
    #[arg(long, default_value_t = 200)]
    orders: u32,
    /// A device is killed and started again after so many orders.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    kill_every: u32,
    /// What is random follows from it, but for the scheduling of processes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where files go; removed in the end unless given.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// An order that was given, and what was done to it.
struct Given {
    order: Order,
    cancelled: bool,
    stopped: bool,
}

/// Runs the command.
///
/// # Errors
/// Where the rig cannot be set up. What is amiss with files and answers is an exit code.
pub fn run(args: &OrdersArgs) -> anyhow::Result<ExitCode> {
    let temporary = match &args.out {
        Some(_) => None,
        None => Some(std::env::temp_dir().join(format!("swsync-orders-{}", std::process::id()))),
    };
    let out = args.out.clone().or_else(|| temporary.clone()).expect("one of the two is there");
    let mut random = Random::new(args.seed);
    let mut devices = Devices::start(args.devices, &out)?;
    let result = play(args, &mut devices, &mut random);
    drop(devices);
    let report = result?;
    if args.json {
        output::line(&report.json().to_string());
    } else {
        for line in report.lines() {
            output::line(&line);
        }
    }
    if let Some(folder) = temporary.filter(|_| report.is_clean()) {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(ExitCode::from(if report.is_clean() { 0 } else { exit::INCOMPLETE }))
}

fn play(args: &OrdersArgs, devices: &mut Devices, random: &mut Random) -> anyhow::Result<Report> {
    let session = devices.session()?;
    let all = usize::from(args.devices);
    let clock = wait_for_frames(&session, devices, all)?;
    let begun = Instant::now();
    let mut given: Vec<Given> = Vec::new();
    let mut kills = 0;
    let mut down: Option<(usize, Instant)> = None;
    for index in 0..args.orders {
        let order = random_order(random, index, clock.at(Instant::now()))?;
        let _ = session.offer(&order, ASK); // who is down learns of it later
        given.push(Given { order, cancelled: false, stopped: false });
        meddle(&session, random, &clock, &mut given);
        if down.is_none() && (index + 1).is_multiple_of(args.kill_every) {
            let victim = 1 + random.below(u64::from(args.devices) - 1);
            let victim = usize::try_from(victim).expect("there are few devices");
            devices.kill(victim)?;
            kills += 1;
            down = Some((victim, Instant::now() + Duration::from_millis(500 + random.below(2500))));
        }
        if let Some((victim, _)) = down.take_if(|(_, until)| Instant::now() >= *until) {
            devices.restart(victim)?;
        }
        std::thread::sleep(Duration::from_millis(20 + random.below(180)));
        while session.registry(ASK).orders.len() > MANY {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    if let Some((victim, _)) = down {
        devices.restart(victim)?;
    }
    for one in given.iter_mut().filter(|one| one.order.ends_at(Span::ZERO).is_none()) {
        stop(&session, &clock, one);
    }
    wait_for_frames(&session, devices, all)?;
    wait_until_idle(&session, devices)?;
    let mut report = Report::new(args.seed, all, kills, begun.elapsed());
    for one in &given {
        let summary = session.place(&one.order, PATIENCE, |_| ())?;
        report.check(one, &summary, devices.out());
    }
    report.check_leftovers(devices.out());
    Ok(report)
}

/// Now and then an order is stopped or cancelled, be it over or not.
fn meddle(session: &Session, random: &mut Random, clock: &RigClock, given: &mut [Given]) {
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

fn stop(session: &Session, clock: &RigClock, one: &mut Given) {
    let at = clock.at(Instant::now()) + Span::from_millis(800);
    one.stopped = true;
    one.order.stop_at(at);
    let command = Command::Stop { order: one.order.id().clone(), at_ns: at };
    let _ = session.command(&command, &Targets::All, ASK); // who is down learns of it later
}

/// Until every device has frames and knows the time. A rig clock.
pub fn wait_for_frames(
    session: &Arc<Session>,
    devices: &mut Devices,
    all: usize,
) -> anyhow::Result<RigClock> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        devices.check()?;
        let reports = session.statuses(ASK);
        let ready = reports.iter().filter(|report| report.status.frames.is_some()).count();
        if let (true, Some(clock)) = (ready == all, RigClock::best(&reports)) {
            return Ok(clock);
        }
        if Instant::now() >= deadline {
            bail!(
                "{ready} of {all} devices have frames after {PATIENCE:?}; logs are in {}",
                devices.out().display()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
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
