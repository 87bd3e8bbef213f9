//! `swsync demo`: a rig of cameras on this machine takes synchronized photographs, and the pictures prove it.
//!
//! One leader and several clients, each an ordinary `gst-launch-1.0` process that runs a script from `pipelines/`, each with its own
//! simulated clock and camera. The clients' time packets go through a relay with the WiFi delays of the paper. Everything stays on
//! loopback.

mod args;
mod browser;
mod contact_sheet;
mod devices;
mod readiness;
mod shot;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use swsync_core::order::Order;
use swsync_core::order::{Answer, FrameRun};
use swsync_core::time::Span;
use swsync_rig::{DeviceOutcome, Session};

pub use args::{Camera, DemoArgs};
use devices::DemoRig;
use shot::Shot;
use swsync_cli::rig_time::ReportedRigTime;

/// The spread of the paper's worst pair of phones, and so its bound for the spread of many (sec. VI.A).
const PAPER_WORST_SPREAD_US: f64 = 242.0;
/// The demo fails beyond this.
const MAX_SPREAD: Span = Span::from_micros(250);

/// The two orders of the demo: what they show, and when their frame is from the moment of ordering.
const SHOTS: [(&str, &str, Span); 2] =
    [("future", "in 1 s", Span::from_secs(1)), ("past", "500 ms ago", Span::from_millis(-500))];

/// Runs the demo.
///
/// # Errors
/// The rig does not start, or does not answer. A spread that is too large is an exit code, not an error.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let out = args.out.canonicalize()?;
    println!("swsync demo: {} devices, seed {}, {:?} cameras", args.cameras, args.seed, args.camera);
    let mut rig = DemoRig::start(args, &out)?;
    let begun = Instant::now();
    let session = rig.session(begun + args.timeout)?;
    readiness::wait_until_ready(&mut rig, &session, args, begun)?;
    if args.dashboard {
        drop(session);
        return serve_page(args, &mut rig);
    }
    let mut shots = Vec::new();
    for (name, when, delay) in SHOTS {
        let answers = shoot(&session, args, name, when, delay)?;
        shots.push(match args.camera {
            Camera::Simulated => shot::from_pictures(name, &answers)?,
            Camera::Libcamera => shot::from_stamps(name, &answers)?,
        });
        print_shot(shots.last().expect("just pushed"));
    }
    if args.camera == Camera::Libcamera {
        print_pace(&session, args)?;
    }
    let sheet = out.join("contact-sheet.png");
    contact_sheet::write(&sheet, &shots)?;
    drop(session);
    rig.stop();
    println!("\ncontact sheet: {}", sheet.display());
    println!("pictures, manifests and logs: {}", out.display());
    Ok(verdict(args.camera, &shots))
}

/// Serves the rig's page until Ctrl-C, which ends page and devices alike.
fn serve_page(args: &DemoArgs, rig: &mut DemoRig) -> anyhow::Result<ExitCode> {
    /// How often the devices are looked after.
    const LOOK: Duration = Duration::from_millis(500);
    println!("\nThe rig runs until Ctrl-C. Press the shutter on its page:");
    let mut page = rig.dashboard(args.listen)?;
    let (mut ended, mut is_open) = (BTreeSet::new(), args.no_open || args.listen.port() == 0);
    loop {
        // A device that is killed is something to look at, and not the end.
        if let Err(error) = rig.check_except(&mut ended) {
            println!("{error}");
        }
        if let Some(status) = page.try_wait()? {
            bail!("the page has ended ({status})");
        }
        if !is_open && TcpStream::connect(args.listen).is_ok() {
            is_open = true;
            if let Some(what) = browser::open(args.listen, browser::is_desktop()) {
                println!("{what}");
            }
        }
        std::thread::sleep(LOOK);
    }
}

fn verdict(camera: Camera, shots: &[Shot]) -> ExitCode {
    let worst = shots.iter().map(Shot::spread).max().unwrap_or_default();
    if camera == Camera::Libcamera {
        println!("\nframes of one number on all devices; without a panel, pictures prove no time");
        return ExitCode::SUCCESS;
    }
    println!(
        "\nlargest spread: {:.1} us between any two of {} pictures of one instant (the paper: up to {PAPER_WORST_SPREAD_US} us)",
        worst.as_micros_f64(),
        shots.first().map_or(0, |shot| shot.views.len()),
    );
    if worst > MAX_SPREAD {
        println!("that is more than {} us: NOT synchronized", MAX_SPREAD.as_micros_f64());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Orders one frame from every device until all have it, and returns the answers.
///
/// Cameras drop a frame now and then, the simulated ones too. The device then says so, and another order is given.
fn shoot(
    session: &Arc<Session>,
    args: &DemoArgs,
    name: &str,
    when: &str,
    delay: Span,
) -> anyhow::Result<Vec<Answer>> {
    const ATTEMPTS: usize = 5;
    /// So long that the next order in the past names other frames.
    const PAUSE: Duration = Duration::from_secs(1);
    for _ in 0..ATTEMPTS {
        let order = new_order(session, name, delay, 1)?;
        println!("\norder {}: one frame from every device, {when}", order.id());
        let summary = session.place(&order, Duration::from_secs(20), |_| {})?;
        let devices = summary.outcomes.len();
        if devices != usize::from(args.cameras) {
            bail!("{devices} of {} devices answered", args.cameras);
        }
        let mut answers = Vec::new();
        for outcome in summary.outcomes {
            match outcome {
                DeviceOutcome::Answered(answer) if answer.is_complete() => answers.push(answer),
                DeviceOutcome::Answered(answer) => println!("  {}: {}", answer.device, why(&answer)),
                DeviceOutcome::NoAnswer { device, why } | DeviceOutcome::Refused { device, why } => {
                    bail!("{device}: {why}")
                }
            }
        }
        if answers.len() == devices {
            return Ok(answers);
        }
        println!("  not all devices have that frame: ordering another one");
        std::thread::sleep(PAUSE);
    }
    bail!("{ATTEMPTS} orders, and each time a device missed its frame")
}

fn new_order(session: &Session, name: &str, delay: Span, count: u32) -> anyhow::Result<Order> {
    let clock = ReportedRigTime::best(&session.statuses(Duration::from_secs(3)))
        .context("no device knows rig time")?;
    let now = clock.at(Instant::now());
    let id = swsync_core::name::Name::new(format!("{name}-{:08x}", rand::random::<u32>()))?;
    Ok(Order::burst(id, now + delay, count)?)
}

fn why(answer: &Answer) -> String {
    let reasons = answer
        .frames
        .iter()
        .filter_map(FrameRun::why)
        .chain(answer.unnumbered.as_deref())
        .chain(answer.unfinished.as_deref());
    reasons.collect::<Vec<_>>().join("; ")
}

fn print_shot(shot: &Shot) {
    println!("  device      frame          off mean    phase error   clock +-     file");
    let micros = |span: Option<Span>| span.map_or("-".into(), |s| format!("{:.1} us", s.as_micros_f64()));
    for view in &shot.views {
        println!(
            "  {:<10}  {}  {:>9}  {:>12}  {:>9}     {}",
            view.device,
            view.info.number,
            micros(Some(shot.error(view))),
            micros(Some(view.info.phase_error_ns)),
            micros(view.info.clock_uncertainty_ns),
            view.file.display(),
        );
    }
    println!("  spread: {:.1} us {}", shot.spread().as_micros_f64(), shot.source);
}

/// Orders two seconds of frames, and prints their rate and intervals.
fn print_pace(session: &Arc<Session>, args: &DemoArgs) -> anyhow::Result<()> {
    const FRAMES: u32 = 60;
    let order = new_order(session, "pace", Span::from_millis(300), FRAMES)?;
    println!("\norder {}: {FRAMES} frames from every device", order.id());
    let summary = session.place(&order, Duration::from_secs(30), |_| {})?;
    for outcome in &summary.outcomes {
        let DeviceOutcome::Answered(answer) = outcome else {
            bail!("{}: no answer", outcome.device());
        };
        let pace = shot::Pace::of(answer);
        println!("  {:<10}  {pace}", answer.device);
    }
    if summary.outcomes.len() != usize::from(args.cameras) {
        bail!("{} of {} devices answered", summary.outcomes.len(), args.cameras);
    }
    Ok(())
}
