//! `swsync lab relay`: a UDP relay that delays datagrams as a simulated link would.

mod udp_relay;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use swsync_cli::output;
use swsync_sim::link::LinkModel;

pub use udp_relay::{Relay, RelayConfig, RelayStats};

/// Relay UDP datagrams as a simulated link would: delayed, and lost now and then.
///
/// Each client has a link of its own, drawn from the same distribution. Ends at Ctrl-C, and says how
/// many datagrams went through.
#[derive(Debug, Clone, Args)]
#[command(after_help = RELAY_HELP)]
pub struct RelayArgs {
    /// Where clients send to, as ADDRESS:PORT; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The server behind the link, as ADDRESS:PORT.
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// The link: wifi, wifi-busy, wifi-asymmetric, ethernet or ideal (50 us both ways).
    #[arg(long, value_name = "LINK", default_value = "wifi")]
    link: LinkModel,
    /// Seed of the first client's delays; the next client's is one more.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

const RELAY_HELP: &str = "\
Example: a client that follows the leader on this host as if over WiFi
  swsync lab relay --listen 127.0.0.1:11124 --to 127.0.0.1:11123 --link wifi
  gst-launch-1.0 swsyncclock role=client server=127.0.0.1:11124 ...";

/// Runs the command.
///
/// # Errors
/// The relay cannot listen at the address.
pub fn run(args: &RelayArgs) -> anyhow::Result<ExitCode> {
    let RelayArgs { listen, to, link, seed } = args.clone();
    let config = RelayConfig { listen, forward_to: to, link, seed };
    let relay = Relay::spawn(&config).with_context(|| format!("cannot relay from {listen}"))?;
    let (interrupt, interrupted) = std::sync::mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = interrupt.send(()); // fails at a second Ctrl-C, when nothing waits any more
    })
    .context("cannot catch Ctrl-C")?;
    output::line(&format!("relaying from {} to {to}; Ctrl-C ends", relay.local_addr()));
    interrupted.recv()?;
    let stats = relay.stats();
    output::line(&format!(
        "{} datagrams passed on ({} of them more than 100 us late), {} lost, {} refused",
        stats.forwarded, stats.late, stats.lost, stats.refused
    ));
    Ok(ExitCode::SUCCESS)
}
