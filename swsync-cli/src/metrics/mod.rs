//! `swsync metrics`: the whole rig for Prometheus.

mod exposition;
mod list;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use parking_lot::Mutex;
use swsync_client::{RigConfig, Session};
use swsync_core::name::Name;

use crate::http;
use crate::orders::RigSnapshot;
use crate::output::{self, warn};
use crate::rig::RigArgs;
use exposition::{Format, Observed};

/// Whoever asks again within this time gets the same: the devices are not asked more often.
const REUSED_FOR: Duration = Duration::from_secs(1);

/// How long a scrape looks for a rig that was not found yet. Prometheus gives up after 10 s.
const SEARCH: Duration = Duration::from_secs(3);

/// Serve metrics of the whole rig for Prometheus.
///
/// Each scrape asks all devices. A device that belongs to the rig and does not answer has swsync_device_up 0 and no other values.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct MetricsArgs {
    #[command(flatten)]
    rig: MetricsRigArgs,
    /// Where; 0.0.0.0:9464 lets everybody who reaches this host read them
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464", conflicts_with = "once")]
    listen: SocketAddr,
    /// Print them once, for the textfile collector of node_exporter or to have a look
    #[arg(long)]
    once: bool,
}

/// As [`RigArgs`], without its `--listen`, which here is where Prometheus asks. (SWSYNC_LISTEN is as ever.)
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rig")]
struct MetricsRigArgs {
    /// Name of the rig. [env: SWSYNC_RIG, also for pipelines] [default: swsync]
    #[arg(long, value_name = "NAME")]
    rig: Option<Name>,
    /// A device (or Zenoh router) of the rig to connect to, as tcp/HOST:PORT; it leads to the others.
    /// Repeatable, or separated by commas. Without it devices are found by multicast.
    /// [env: SWSYNC_CONNECT, also for pipelines]
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',')]
    connect: Vec<String>,
    /// File of the rig's key. [env: SWSYNC_KEY_FILE, also for pipelines]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl MetricsRigArgs {
    fn args(&self) -> RigArgs {
        let Self { rig, connect, key_file } = self.clone();
        RigArgs { rig, connect, key_file, ..RigArgs::default() }
    }
}

const AFTER_HELP: &str = "\
Examples:
  swsync metrics                        # then scrape http://127.0.0.1:9464/metrics
  swsync metrics --once | grep celsius
  swsync metrics --listen 0.0.0.0:9464  # for a Prometheus on another host

docs/metrics.md lists them with units, and has a configuration for Prometheus and alerts.

Exit codes:
  0  with --once: they were printed; otherwise never, as it runs until Ctrl-C
  1  the address cannot be listened at
  2  wrong arguments
  3  with --once: no rig or no devices";

/// Runs the command.
///
/// # Errors
/// There is no rig (with `--once`), or the address cannot be listened at.
pub fn run(args: &MetricsArgs) -> anyhow::Result<ExitCode> {
    let rig = args.rig.args();
    let config = rig.settings()?.visitor_config()?;
    if args.once {
        let session = rig.visit()?;
        let text = scrape(&config, Some(&session)).text(Format::Prometheus);
        output::line(text.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let listener =
        TcpListener::bind(args.listen).with_context(|| format!("cannot listen at {}", args.listen))?;
    let address = listener.local_addr().context("cannot learn the port")?;
    if !address.ip().is_loopback() {
        let whose = if address.ip().is_unspecified() { "this host".into() } else { address.ip().to_string() };
        warn(&format!(
            "everybody who reaches {whose} can read the metrics: names, temperatures, versions and errors of all devices; \
             there is no password"
        ));
    }
    output::line(&format!("Metrics are at http://{address}/metrics until Ctrl-C"));
    std::io::stdout().flush().context("standard output")?;
    let exporter = Exporter { config, session: Mutex::default(), last: Mutex::default() };
    let body = move |head: &http::RequestHead| exporter.answer(head);
    http::serve(&listener, http::Page { path: "/metrics", name: "the metrics are", body })
}

struct Exporter {
    config: RigConfig,
    /// Once a rig was found.
    session: Mutex<Option<Arc<Session>>>,
    /// The last scrape. Its lock is held while devices are asked, so that scrapes take turns.
    last: Mutex<Option<(Observed, Instant)>>,
}

impl Exporter {
    /// The metrics as a client wants them.
    fn answer(&self, head: &http::RequestHead) -> (&'static str, Arc<[u8]>) {
        let format = Format::accepted(|media_type| head.accepts(media_type));
        let mut last = self.last.lock();
        let text = match &*last {
            Some((observed, at)) if at.elapsed() < REUSED_FOR => observed.text(format),
            _ => {
                let observed = scrape(&self.config, self.session().as_deref());
                let text = observed.text(format);
                *last = Some((observed, Instant::now()));
                text
            }
        };
        (format.content_type(), text.into_bytes().into())
    }

    /// The session with the rig, which is looked for until it is found.
    fn session(&self) -> Option<Arc<Session>> {
        let mut session = self.session.lock();
        if session.is_none() {
            *session = match Session::visit(&self.config, SEARCH) {
                Ok(found) => Some(found),
                Err(error) => {
                    swsync_core::log::info!(%error, "no rig yet");
                    None
                }
            };
        }
        session.clone()
    }
}

/// Asks all devices.
fn scrape(config: &RigConfig, session: Option<&Session>) -> Observed {
    let begun = Instant::now();
    let snapshot = session.map(RigSnapshot::take_with_hosts);
    Observed::new(&config.rig, snapshot.as_ref(), begun.elapsed())
}
