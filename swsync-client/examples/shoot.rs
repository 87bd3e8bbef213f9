//! Finds a rig, shows how its devices are, takes one picture with every camera, and fetches the pictures.
//!
//! `cargo run -p swsync-client --example shoot -- takes`: the rig is that of `swsync config` (SWSYNC_RIG, SWSYNC_CONNECT, ...).

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

use swsync_client::settings::RigSettings;
use swsync_client::{OrderRequest, Rig, RigConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args().nth(1).unwrap_or_else(|| "takes".into());
    let mut settings = RigSettings::default();
    settings.add_surroundings()?;
    shoot(&settings.visitor_config()?, Path::new(&out), &mut stdout())
}

/// Does it with the rig that `config` names, and says what happens.
pub fn shoot(config: &RigConfig, out: &Path, say: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let rig = Rig::connect(config)?;
    for update in rig.statuses(Duration::from_secs(1)).take(2) {
        for report in &update.snapshot.reports {
            let problems = update.snapshot.objections(&report.status);
            let ready = if problems.is_empty() { "ready".into() } else { problems.join("; ") };
            writeln!(say, "{}: {ready}", report.status.device)?;
        }
        for (device, silent) in &update.silent_for {
            writeln!(say, "{device}: silent for {silent:?}: {}", update.snapshot.missed[device])?;
        }
    }
    let mut ordered = rig.order(&OrderRequest::still())?;
    let mut answers = ordered.answers();
    for outcome in &mut answers {
        let what = if outcome.is_complete() { "saved" } else { "NOT saved" };
        writeln!(say, "{}: {what}", outcome.device())?;
    }
    let conclusion = ordered.conclude(answers.summary()?, None);
    writeln!(say, "{} of {} devices", conclusion.summary.complete(), conclusion.summary.outcomes.len())?;
    for part in rig.collect(ordered.order().id(), ordered.order().targets(), out, |_, _| ()) {
        let collected = part.result?;
        writeln!(say, "{}: {} files in {}", part.device, collected.files, collected.folder.display())?;
    }
    Ok(())
}
