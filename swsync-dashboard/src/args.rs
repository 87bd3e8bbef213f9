//! The arguments of `swsync dashboard`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use swsync_cli::duration;
use swsync_cli::rig::RigArgs;
use swsync_core::name::Name;

/// Serve a page for the whole rig, and an HTTP API beneath it.
///
/// The page shows every device live, has the shutter, shows results side by side, sets cameras, and lists takes. For a phone in front of
/// the cameras, and for a desk. Beyond this machine, or in a rig with a key, it asks for a login: the address with its token, and a
/// QR code of it, are printed here.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DashboardArgs {
    /// Where the page is; 0.0.0.0:8080 lets phones of the network open it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// For spectators: the page shows everything and changes nothing.
    #[arg(long)]
    pub read_only: bool,
    /// Another name by which browsers may open the page, beside IP addresses, localhost and this host's name. Repeatable.
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Serve by TLS, with the certificates (PEM) in this file, the server's own first.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key (PEM) of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Time from one question to the devices to the next.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::positive)]
    pub every: Duration,
    /// End once standard input is closed: for programs that start this one, and may be killed.
    #[arg(long)]
    pub while_stdin: bool,
    /// Print where the page is as one JSON document.
    #[arg(long)]
    pub json: bool,
    /// Name of the rig. [env: SWSYNC_RIG, also for pipelines] [default: swsync]
    #[arg(long, value_name = "NAME", help_heading = "Rig")]
    pub rig: Option<Name>,
    /// A device (or Zenoh router) of the rig to connect to, as tcp/HOST:PORT. Repeatable, or separated by commas. [env: SWSYNC_CONNECT]
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',', help_heading = "Rig")]
    pub connect: Vec<String>,
    /// File of the rig's key. [env: SWSYNC_KEY_FILE, also for pipelines]
    #[arg(long, value_name = "FILE", help_heading = "Rig")]
    pub key_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  swsync dashboard                              # then open http://127.0.0.1:8080
  swsync dashboard --listen 0.0.0.0:8080        # scan the QR code with the phone
  swsync dashboard --listen 0.0.0.0:8080 --read-only
  swsync dashboard --listen 0.0.0.0:8443 --tls-cert rig.pem --tls-key rig.key
  curl http://127.0.0.1:8080/api/v1/status      # what `swsync status --json` prints

docs/dashboard.md describes page and API; the page serves its own description at /api/v1/openapi.json.

Exit codes:
  0  never: it runs until Ctrl-C
  1  the address cannot be listened at, or the certificate cannot be used
  2  wrong arguments";

impl DashboardArgs {
    /// The arguments that name the rig.
    #[must_use]
    pub fn rig_args(&self) -> RigArgs {
        let Self { rig, connect, key_file, .. } = self.clone();
        RigArgs { rig, connect, key_file, ..RigArgs::default() }
    }
}
