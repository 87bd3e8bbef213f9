//! `swsync lab clock --live`: swsync, GStreamer's network clock and chrony follow a leader in real time, side by side.
//!
//! Each clock has its own link through a relay with the same delays, and runs on the same device clock, the host's. The leader's
//! clock is fast, so that all of them have a skew to learn.

mod chrony;
mod following;
mod gstnet;
mod swsync;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::relay::{Relay, RelayConfig, RelayStats};
use anyhow::Context;
use clap::Args;
use swsync_core::time::{Local, Skew, Span, Timestamp};
use swsync_sim::link::LinkModel;

use super::score::{Rules, Sample, Score, Tally};
use swsync_cli::table::{Align, Column, NOTHING, Table, micros, micros_unsigned};
use swsync_cli::{exit, output};

use following::{FollowingClock, MeasuredError};

/// The leader's clock runs faster than the host's by so much.
const LEADER_PPM: i32 = 25;

/// Arguments of the live comparison.
#[derive(Debug, Clone, Args)]
pub struct LiveArgs {
    /// Follows a leader in real time: swsync, GstNetClientClock and chrony (where it is installed) side
    /// by side, through a relay with a link's delays
    #[arg(long, conflicts_with_all = ["trace", "scenario", "seeds", "write_trace", "filter", "after"], help_heading = "Live")]
    pub live: bool,
    /// How long errors are sampled
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..), requires = "live", help_heading = "Live")]
    seconds: u32,
    /// How long before that the clocks may settle
    #[arg(long, value_name = "S", default_value_t = 10, requires = "live", help_heading = "Live")]
    settle: u32,
    /// The link: wifi, wifi-busy, wifi-asymmetric, ethernet or ideal
    #[arg(long, value_name = "LINK", default_value = "wifi", requires = "live", help_heading = "Live")]
    link: LinkModel,
    /// Samples a second
    #[arg(long, value_name = "HZ", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100), requires = "live", help_heading = "Live")]
    rate: u32,
}

/// A clock that is compared, or the reason why it is not.
struct ComparedClock {
    name: String,
    following: Result<Box<dyn FollowingClock>, String>,
    samples: Vec<Sample>,
    states_uncertainty: bool,
}

impl ComparedClock {
    fn new(name: &str, following: anyhow::Result<Box<dyn FollowingClock>>) -> Self {
        let following = following.map_err(|error| format!("{error:#}"));
        let name = following.as_ref().map_or_else(|_| name.to_owned(), |following| following.name());
        Self { name, following, samples: Vec::new(), states_uncertainty: false }
    }

    fn sample(&mut self, at: Timestamp<Local>) {
        let Ok(following) = &mut self.following else { return };
        if let Some(MeasuredError { error, uncertainty }) = following.read() {
            self.states_uncertainty |= uncertainty.is_some();
            self.samples.push(Sample {
                exchange: self.samples.len(),
                at,
                error,
                uncertainty: uncertainty.unwrap_or_default(),
            });
        } else if let Some(problem) = following.problem() {
            self.following = Err(problem);
        }
    }

    fn score(&self, asymmetry: Span) -> Option<Score> {
        let mut tally = Tally::default();
        tally.add(&self.samples, Timestamp::ZERO, Rules { after: 0, asymmetry });
        tally.score()
    }
}

/// Runs the comparison until it is over or interrupted.
///
/// # Errors
/// swsync's own leader or relay cannot be started. A peer that cannot be started is a row with the reason.
pub fn run(args: &LiveArgs, asymmetry: Option<Span>, seed: u64, json: bool) -> anyhow::Result<ExitCode> {
    let (interrupt, interrupted) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = interrupt.send(()); // fails at a second Ctrl-C, when nothing waits any more
    })
    .context("cannot catch Ctrl-C")?;
    let LiveArgs { link, seconds, settle, rate, .. } = args;
    let leader = swsync::Leader::start(Skew::from_ppm(f64::from(LEADER_PPM)))?;
    let start_relay = |server: SocketAddr| relay(link, seed, server);
    let relay = start_relay(leader.address())?;
    let through = relay.local_addr();
    let chrony = |poll: i8| {
        let longest = Duration::from_secs(u64::from(settle + seconds) + 60);
        let chronyd = chrony::Chronyd::start(through, poll, leader.clock(), longest);
        chronyd.map(|chronyd| Box::new(chronyd) as Box<dyn FollowingClock>)
    };
    let client = swsync::Client::start(through, leader.clock())?;
    let mut clocks = vec![
        ComparedClock::new("swsync", Ok(Box::new(client))),
        ComparedClock::new(
            "GstNetClientClock",
            gstnet::GstNet::start(LEADER_PPM, start_relay).map(|clock| Box::new(clock) as _),
        ),
        ComparedClock::new("chrony", chrony(0)),
        ComparedClock::new("chrony", chrony(-4)),
    ];
    let total = settle + seconds;
    eprintln!("swsync: four clocks follow a leader for {total} s; Ctrl-C ends it and shows what there is");
    let mut ended = wait(&interrupted, Duration::from_secs(u64::from(*settle)), "settling", *settle);
    let begin = Instant::now();
    let mut ticks = 0;
    while !ended && ticks < seconds * rate {
        let elapsed = Span::from(begin.elapsed());
        clocks.iter_mut().for_each(|clock| clock.sample(Timestamp::ZERO + elapsed));
        ticks += 1;
        let due = begin + Duration::from_secs(1) * ticks / *rate;
        let pause = due.saturating_duration_since(Instant::now());
        ended = wait(&interrupted, pause, "sampling", seconds - ticks / rate);
    }
    output::status_line("");
    let asymmetry = asymmetry.unwrap_or_else(|| link.asymmetry());
    let relayed = relay.stats();
    let report = Report { link, asymmetry, samples: ticks, rate: *rate, clocks: &clocks, relayed };
    output::line(&if json { report.to_json().to_string() } else { report.to_table() });
    Ok(if ended { ExitCode::from(exit::INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// A relay in front of `server`, with this link.
fn relay(link: &LinkModel, seed: u64, server: SocketAddr) -> anyhow::Result<Relay> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = RelayConfig { listen, forward_to: server, link: link.clone(), seed };
    Relay::spawn(&config).context("cannot start a relay on 127.0.0.1")
}

/// Waits for `pause` and shows what for. Returns whether it was interrupted.
fn wait(interrupted: &mpsc::Receiver<()>, pause: Duration, what: &str, seconds_left: u32) -> bool {
    output::status_line(&format!("{what}: {seconds_left} s left"));
    !matches!(interrupted.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
}

/// The result.
struct Report<'a> {
    link: &'a LinkModel,
    asymmetry: Span,
    /// Number of samples.
    samples: u32,
    rate: u32,
    clocks: &'a [ComparedClock],
    /// Counters of the relay of swsync and chrony.
    relayed: RelayStats,
}

impl Report<'_> {
    fn to_table(&self) -> String {
        let number = |heading, width| Column { heading, width, align: Align::Right };
        let table = Table::new([
            Column { heading: "clock", width: 20, align: Align::Left },
            number("samples", 7),
            number("mean abs", 8),
            number("p95", 8),
            number("p99", 8),
            number("max", 8),
            number("bias", 8),
            number("% in 2u", 7),
        ]);
        let mut lines = vec![
            format!(
                "live, link {}, {:.0} s at {} samples a second; errors in us against the leader",
                self.link.name,
                f64::from(self.samples) / f64::from(self.rate),
                self.rate
            ),
            format!(
                "the leader's clock runs {LEADER_PPM} ppm fast; asymmetry of the link {:+.1} us, taken off for `% in 2u`",
                self.asymmetry.as_micros_f64()
            ),
            table.headings(),
        ];
        for clock in self.clocks {
            lines.push(match (&clock.following, clock.score(self.asymmetry)) {
                (Err(why), _) => format!("{:<20}  {why}", clock.name),
                (Ok(_), None) if self.samples == 0 => format!("{:<20}  not sampled", clock.name),
                (Ok(_), None) => format!("{:<20}  did not find the leader's time", clock.name),
                (Ok(_), Some(score)) => table.row(&[
                    clock.name.clone(),
                    score.count.to_string(),
                    micros_unsigned(score.mean_abs),
                    micros_unsigned(score.p95),
                    micros_unsigned(score.p99),
                    micros_unsigned(score.max),
                    micros(score.bias),
                    if clock.states_uncertainty {
                        format!("{:.1}", 100.0 * score.coverage)
                    } else {
                        NOTHING.into()
                    },
                ]),
            });
        }
        lines.push(NOTES.to_owned());
        let RelayStats { forwarded, late, .. } = self.relayed;
        if late * 100 > forwarded {
            lines.push(format!(
                "the machine was busy: of {forwarded} datagrams, the relay passed {late} on more than 100 us late"
            ));
        }
        lines.join("\n")
    }

    fn to_json(&self) -> serde_json::Value {
        let clock = |clock: &ComparedClock| {
            let score = clock.score(self.asymmetry);
            serde_json::json!({
                "clock": clock.name,
                "problem": clock.following.as_ref().err(),
                "samples": clock.samples.len(),
                "mean_abs_ns": score.as_ref().map(|score| score.mean_abs),
                "p95_ns": score.as_ref().map(|score| score.p95),
                "p99_ns": score.as_ref().map(|score| score.p99),
                "max_ns": score.as_ref().map(|score| score.max),
                "bias_ns": score.as_ref().map(|score| score.bias),
                "coverage": score.as_ref().filter(|_| clock.states_uncertainty).map(|score| score.coverage),
            })
        };
        serde_json::json!({
            "link": self.link.name,
            "samples": self.samples,
            "rate_hz": self.rate,
            "leader_skew_ppm": LEADER_PPM,
            "asymmetry_ns": self.asymmetry,
            "relayed": { "datagrams": self.relayed.forwarded, "late": self.relayed.late },
            "clocks": self.clocks.iter().map(clock).collect::<Vec<_>>(),
        })
    }
}

const NOTES: &str = "\
All have the host's clock below them. chronyd runs with -x: it keeps the leader's time and leaves
the host's alone; asked for it as an NTP server, over loopback, it is read to about 10 us.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_peer_has_a_row_with_the_reason() {
        let clocks =
            [ComparedClock::new("chrony", Err(anyhow::anyhow!("not installed: apt install chrony")))];
        let report = Report {
            link: &LinkModel::wifi(),
            asymmetry: Span::ZERO,
            samples: 0,
            rate: 10,
            clocks: &clocks,
            relayed: RelayStats { forwarded: 9_000, lost: 0, late: 900, refused: 0 },
        };
        let table = report.to_table();
        assert!(table.contains("chrony                not installed: apt install chrony"), "{table}");
        assert!(table.contains("of 9000 datagrams, the relay passed 900 on"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        assert_eq!(report.to_json()["clocks"][0]["problem"], "not installed: apt install chrony");
    }
}
