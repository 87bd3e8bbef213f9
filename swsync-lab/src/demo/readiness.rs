//! Waits until every device of the rig is ready, and shows their status meanwhile.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::bail;
use swsync_core::frame::LockState;
use swsync_core::status::Status;
use swsync_core::time::Span;
use swsync_rig::Session;

use super::args::{Camera, DemoArgs};
use super::devices::DemoRig;

/// Largest clock uncertainty of a device that is ready: a fifth of the demo's limit of 250 us.
const MAX_UNCERTAINTY: Span = Span::from_micros(50);
/// How often the devices are asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);
/// How often a status is printed if there is no terminal to repaint.
const PRINT_INTERVAL: Duration = Duration::from_secs(2);

/// Waits until every device is synced, with a small uncertainty, and locked. They have `--timeout` for it since `begun`.
pub fn wait_until_ready(
    rig: &mut DemoRig,
    session: &Session,
    args: &DemoArgs,
    begun: Instant,
) -> anyhow::Result<()> {
    let mut screen = Screen::new();
    let mut seen = BTreeMap::new();
    loop {
        rig.check()?;
        for report in session.statuses(Duration::from_secs(1)) {
            seen.insert(report.status.device.to_string(), report.status);
        }
        let ready = seen.values().filter(|status| is_ready(status, args.camera)).count();
        let elapsed = begun.elapsed();
        let headline =
            format!("{ready} of {} devices ready after {:.1} s", args.cameras, elapsed.as_secs_f64());
        let done = ready == usize::from(args.cameras);
        screen.show(&headline, &seen, done);
        if done {
            return Ok(());
        }
        if elapsed > args.timeout {
            bail!(
                "not all devices were ready within {:?}: see the logs in {}",
                args.timeout,
                args.out.display()
            );
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn is_ready(status: &Status, camera: Camera) -> bool {
    let Some(clock) = status.clock else { return false };
    let certain = clock.uncertainty_ns.is_some_and(|uncertainty| uncertainty <= MAX_UNCERTAINTY);
    let synced = clock.quality.is_synced();
    let aligned = status.frames.as_ref().is_some_and(|frames| match camera {
        Camera::Simulated => frames.newest.lock == Some(LockState::Locked),
        Camera::Libcamera => frames.ring_frames > 10,
    });
    certain && synced && aligned
}

fn describe(status: &Status) -> String {
    let micros = |span: Option<Span>| span.map_or("?".into(), |s| format!("{:.0}", s.as_micros_f64()));
    let clock = status.clock.map_or("no clock yet".into(), |clock| {
        format!("{} +-{} us", clock.quality.as_str(), micros(clock.uncertainty_ns))
    });
    let phase = status.frames.as_ref().map_or("no frames yet".into(), |frames| {
        let newest = &frames.newest;
        format!("{}, phase error {:.0} us", newest.lock_text(), newest.phase_error_ns.as_micros_f64())
    });
    format!("  {:<10} {clock:<24} {phase}", status.device)
}

/// Shows the status: repainted on a terminal, else printed now and then.
struct Screen {
    is_terminal: bool,
    lines: usize,
    printed: Option<Instant>,
}

impl Screen {
    fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), lines: 0, printed: None }
    }

    fn show(&mut self, headline: &str, seen: &BTreeMap<String, Status>, last: bool) {
        if !self.is_terminal && !last && self.printed.is_some_and(|at| at.elapsed() < PRINT_INTERVAL) {
            return;
        }
        self.printed = Some(Instant::now());
        let mut text = String::new();
        if self.is_terminal && self.lines > 0 {
            text.push_str(&format!("\x1b[{}A\x1b[J", self.lines));
        }
        text.push_str(headline);
        text.push('\n');
        for status in seen.values() {
            text.push_str(&describe(status));
            text.push('\n');
        }
        self.lines = seen.len() + 1;
        print!("{text}");
        // A failure to show the status does not matter.
        let _ = std::io::stdout().flush();
    }
}
