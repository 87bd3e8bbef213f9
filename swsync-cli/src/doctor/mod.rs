//! `swsync doctor`: what is wrong with a device or a rig, how it was found, and what mends it.
//!
//! - `local`: the checks of this host, which are files ([`swsync_host::doctor`]) and programs (`programs`);
//! - `rig_checks`: what is in view of this host, and what follows from the statuses of the devices;
//! - `report`: the result, for people and as JSON;
//! - `archive`: what to send when asking for help.

mod archive;
mod local;
mod programs;
mod redact;
mod report;
mod rig_checks;
mod time_port;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use swsync_client::{ControlError, Session};
use swsync_core::doctor::Diagnosis;
use swsync_core::name::Name;
use swsync_core::order::Targets;
use swsync_host::HostRoot;
use swsync_host::doctor::User;
use swsync_host::doctor::mend::Mender;

use crate::orders::RigSnapshot;
use crate::output;
use crate::rig::RigArgs;
pub use report::Examination;
use report::{Examined, Mend};

/// How long all devices have for their checks. A slow disk takes three seconds.
const DIAGNOSES: Duration = Duration::from_secs(12);

/// Find out what is wrong with this device, or with --rig with the whole rig, and how to mend it.
///
/// Run it on a device; it needs no running pipeline, but knows more with one. With --rig each device examines itself and answers
/// over the network, and this host looks at the network.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DoctorArgs {
    /// Do what mends a finding and can do no harm, on this host. Says what was done and what was not.
    #[arg(long)]
    fix: bool,
    /// Write what to send when asking for help into this file (.tar.gz): the checks, statuses, versions, settings and log lines,
    /// without secrets.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where this device's takes go, if no pipeline runs that knows it.
    #[arg(long, value_name = "FOLDER")]
    takes: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Examine all devices of the rig, not only this host. NAME is the rig's. [env: SWSYNC_RIG] [default: swsync]
    #[arg(long, value_name = "NAME", num_args = 0..=1, conflicts_with = "fix", help_heading = "Rig")]
    rig: Option<Option<Name>>,
    /// A device of the rig to connect to, as tcp/HOST:PORT. Repeatable. Without it (and --listen) devices are found by multicast.
    /// [env: SWSYNC_CONNECT]
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',', help_heading = "Rig")]
    connect: Vec<String>,
    /// Where to wait for devices that are set to connect to this host, as tcp/ADDRESS:PORT. Repeatable.
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',', help_heading = "Rig")]
    listen: Vec<String>,
    /// File of the rig's key. [env: SWSYNC_KEY_FILE]
    #[arg(long, value_name = "FILE", help_heading = "Rig")]
    key_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  swsync doctor                    this host, and what it sees of its rig
  sudo swsync doctor --fix         and mend what can be mended without harm
  swsync doctor --rig              all devices of the rig
  swsync doctor --rig --connect tcp/pi0.local:7447 --report help.tar.gz

Each line begins with one of
  error    something does not work
  warning  it does harm: frames are lost, time or phase is worse
  note     it costs some precision, or may do harm later
  unknown  the check could not be done; what would let it be done is said
  ok       it was done, and nothing is wrong

docs/doctor.md lists all findings.

Exit codes:
  0  every check was done, and nothing was found
  1  something was found, or a device does not answer
  2  wrong arguments
  3  --rig: no rig or no devices
  6  nothing was found, but some check could not be done";

impl DoctorArgs {
    fn rig_args(&self) -> RigArgs {
        #[allow(clippy::field_reassign_with_default, reason = "the other fields are for other commands")]
        {
            let mut args = RigArgs::default();
            args.rig = self.rig.clone().flatten();
            args.connect.clone_from(&self.connect);
            args.listen.clone_from(&self.listen);
            args.key_file.clone_from(&self.key_file);
            args
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The settings are wrong; there is no rig, with --rig; or the report cannot be written.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let examination = if args.rig.is_some() { examine_rig(args)? } else { examine_host(args)? };
    if args.json {
        output::json(&examination);
    } else {
        examination.lines().iter().for_each(|line| output::line(line));
    }
    if let Some(path) = &args.report {
        archive::write(path, &examination, &args.rig_args().settings()?)?;
        output::tell(&format!(
            "wrote {}: look into it before you send it (tar tzf lists what is in it)",
            path.display()
        ));
    }
    Ok(ExitCode::from(examination.exit_code()))
}

/// This host, and what it sees of its rig.
fn examine_host(args: &DoctorArgs) -> anyhow::Result<Examination> {
    let rig_args = args.rig_args();
    let (settings, config) = {
        let settings = rig_args.settings()?;
        let config = settings.visitor_config()?;
        (settings, config)
    };
    output::status_line("looking for the rig ...");
    let visited = rig_args.visit();
    let session = match visited {
        Ok(session) => Ok(session),
        Err(error) if is_no_rig(&error) => Err(format!("{error:#}")),
        Err(error) => return Err(error),
    };
    output::status_line("examining this host ...");
    let own = settings.device().ok();
    let (snapshot, diagnosis) = match (&session, &own) {
        (Ok(session), own) => {
            let snapshot = RigSnapshot::take(session);
            let device =
                own.clone().filter(|own| snapshot.reports.iter().any(|report| report.status.device == *own));
            let asked = device.map(|device| Targets::Devices([device].into()));
            let replies = asked.map(|asked| session.diagnoses(&asked, DIAGNOSES)).unwrap_or_default();
            (Some(snapshot), replies.into_iter().find_map(|reply| reply.reply.ok()))
        }
        (Err(_), _) => (None, None),
    };
    // Another host's device may have this host's name, as of a copied SD card: then its answers are not of this host.
    let diagnosis = diagnosis.filter(|diagnosis| diagnosis.host == swsync_client::host_name());
    let root = HostRoot::from_environment();
    let examine = || {
        local::examine(
            &root,
            args.takes.clone(),
            diagnosis.as_ref(),
            rate_of(snapshot.as_ref(), own.as_ref()),
        )
    };
    let mut checks = examine();
    let mut mends = Vec::new();
    if args.fix {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        let mender = Mender::new(root.clone(), User::current(), cache);
        mends = checks
            .iter()
            .flat_map(swsync_core::doctor::Check::findings)
            .map(|finding| Mend::of(&mender, finding))
            .collect();
        if mends.iter().any(|mend: &Mend| mend.done) {
            checks = examine();
        }
    }
    output::status_line("looking at the network ...");
    let rig = match (&session, &snapshot) {
        (Ok(session), Some(snapshot)) => rig_checks::all(session, snapshot, &config),
        (Err(why), _) => rig_checks::not_reached(why, &config),
        (Ok(_), None) => unreachable!("a rig that is reached has a snapshot"),
    };
    output::status_line("");
    let host = Diagnosis {
        device: own.filter(|_| diagnosis.is_some()),
        host: swsync_client::host_name(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        checks,
    };
    Ok(Examination::new(config.rig, vec![Examined::Host(host)], rig, mends, snapshot))
}

/// Whether there is no rig, or it cannot be reached. Other errors are mistakes in the arguments or settings.
fn is_no_rig(error: &anyhow::Error) -> bool {
    let known = error.downcast_ref::<ControlError>();
    matches!(
        known,
        Some(ControlError::NobodyThere { .. } | ControlError::Connect { .. } | ControlError::Key { .. })
    )
}

/// Frames per second of this host's own device.
fn rate_of(snapshot: Option<&RigSnapshot>, own: Option<&Name>) -> Option<String> {
    let report = snapshot?.reports.iter().find(|report| Some(&report.status.device) == own)?;
    let (frames, seconds) = report.status.frames.as_ref()?.rate.rate();
    Some(format!("{frames}/{seconds}"))
}

/// All devices of the rig.
fn examine_rig(args: &DoctorArgs) -> anyhow::Result<Examination> {
    let rig_args = args.rig_args();
    let config = rig_args.settings()?.visitor_config()?;
    output::status_line("looking for the rig ...");
    let session: Arc<Session> = rig_args.visit().inspect_err(|_| output::status_line(""))?;
    let snapshot = RigSnapshot::take(&session);
    output::status_line(&format!("{} devices examine themselves ...", snapshot.devices().count()));
    let examined = std::thread::scope(|scope| {
        let asked = scope.spawn(|| session.diagnoses(&Targets::All, DIAGNOSES));
        let rig = rig_checks::all(&session, &snapshot, &config);
        (asked.join().unwrap_or_default(), rig)
    });
    output::status_line("");
    let (replies, rig) = examined;
    let devices = replies.into_iter().map(|reply| match reply.reply {
        Ok(diagnosis) => Examined::Host(Diagnosis { device: Some(reply.device), ..diagnosis }),
        Err(why) => Examined::Silent { device: reply.device, why },
    });
    Ok(Examination::new(config.rig, devices.collect(), rig, Vec::new(), Some(snapshot)))
}

#[cfg(test)]
mod tests {
    use swsync_core::doctor::Problem;

    /// docs/doctor.md lists every problem, with its severity, and who mends it.
    #[test]
    fn the_documentation_lists_every_finding() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.md");
        let Ok(text) = std::fs::read_to_string(path) else {
            eprintln!("docs/doctor.md is not in this package: not compared");
            return;
        };
        let rows: Vec<[String; 3]> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|row| {
                let cells: Vec<_> = row.split('|').map(str::trim).collect();
                Some([
                    cells.first()?.trim_end_matches('`').to_owned(),
                    (*cells.get(1)?).to_owned(),
                    (*cells.get(2)?).to_owned(),
                ])
            })
            .collect();
        let expected: Vec<_> = Problem::ALL
            .iter()
            .map(|problem| {
                let fix = if problem.is_mended_by_doctor() { "yes" } else { "" };
                [problem.id().to_owned(), problem.severity().to_string(), fix.to_owned()]
            })
            .collect();
        assert_eq!(rows, expected);
    }
}
