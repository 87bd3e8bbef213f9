//! Records video with all cameras of a rig, from one key press to the next. It needs neither a camera nor GStreamer: the devices of
//! the rig record.
//!
//! ```text
//! cargo run -p swsync-example --bin swsync-example-record
//! ```
//!
//! Enter begins a take, Enter ends it; q and Enter leaves. Which rig that is, the environment and a file say, as for the `swsync`
//! command (docs/settings.md). The devices' files are fetched by `swsync collect`, or as in `swsync-client/examples/shoot.rs`.

use std::io::{BufRead, stdin};
use std::process::ExitCode;

use anyhow::Context;
use swsync_client::settings::RigSettings;
use swsync_client::{OrderRequest, Rig};

fn main() -> anyhow::Result<ExitCode> {
    let mut settings = RigSettings::default();
    settings.add_surroundings()?;
    let rig = Rig::connect(&settings.visitor_config()?)?;
    show_devices(&rig);
    let mut keys = stdin().lock().lines();
    let mut all_complete = true;
    loop {
        println!("Enter begins a take, q and Enter leaves");
        match keys.next().transpose()? {
            Some(line) if line.trim() != "q" => all_complete &= record_until(&rig, || keys.next())?,
            _ => break,
        }
    }
    Ok(if all_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints which devices there are, and what speaks against recording with them now.
fn show_devices(rig: &Rig) {
    let snapshot = rig.snapshot();
    for report in &snapshot.reports {
        let problems = snapshot.objections(&report.status);
        let ready = if problems.is_empty() { "ready".into() } else { problems.join("; ") };
        println!("{}: {ready}", report.status.device);
    }
}

/// Records until `key` returns. Returns whether every device saved every frame.
fn record_until<K>(rig: &Rig, key: impl FnOnce() -> K) -> anyhow::Result<bool> {
    let mut ordered = rig.order(&OrderRequest::take(None)).context("the take cannot begin")?;
    for problem in ordered.problems() {
        println!("NOT with all devices: {problem}");
    }
    // All devices begin with the same frame, which is in the future: the order has to reach them first.
    let until_then = ordered.order().at() - ordered.snapshot().now_for(ordered.order());
    std::thread::sleep(until_then.to_duration());
    println!("recording {}; Enter ends it", ordered.order().id());

    key();
    // They also end with the same frame.
    let (_, problems) = ordered.stop();
    for problem in problems {
        println!("NOT stopped in time: {problem}");
    }
    let mut answers = ordered.answers();
    for outcome in &mut answers {
        println!("{}: {}", outcome.device(), if outcome.is_complete() { "saved" } else { "NOT saved" });
    }
    let conclusion = ordered.conclude(answers.summary()?, None);
    let (complete, devices) = (conclusion.summary.complete(), conclusion.summary.outcomes.len());
    println!("{} is complete on {complete} of {devices} devices", ordered.order().id());
    Ok(complete == devices && devices > 0)
}
