//! Progress of an order that runs, on standard error: a block that is redrawn on a terminal; else lines when something happens,
//! and the sum every minute.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use swsync_client::Session;
use swsync_core::name::OrderId;
use swsync_core::order::Targets;

use super::live::RigProgress;
use crate::output::{tell, warn};
use swsync_client::snapshot::STATUS_TIMEOUT;

/// Time from one sum to the next if standard error is no terminal.
const SUM_INTERVAL: Duration = Duration::from_secs(60);

/// Prints how far an order is.
pub struct ProgressDisplay {
    targets: Targets,
    progress: RigProgress,
    begin: Instant,
    /// On a terminal.
    block: Option<ProgressBar>,
    last_sum: Option<Instant>,
}

impl ProgressDisplay {
    pub fn new(order: OrderId, targets: Targets) -> Self {
        let block = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
            ProgressBar::new_spinner().with_style(style)
        });
        Self { targets, progress: RigProgress::new(order), begin: Instant::now(), block, last_sum: None }
    }

    /// Asks the devices and prints what they say.
    pub fn show(&mut self, session: &Session) {
        let reports = session.statuses(STATUS_TIMEOUT);
        let meant = reports.iter().filter(|report| self.targets.include(&report.status.device));
        let events = self.progress.update(meant);
        let elapsed = self.begin.elapsed();
        match &self.block {
            Some(block) => {
                block.suspend(|| events.iter().for_each(|event| warn(event)));
                block.set_message(self.progress.block(elapsed).join("\n"));
                block.tick();
            }
            None => {
                events.iter().for_each(|event| warn(event));
                if self.last_sum.is_none_or(|last| last.elapsed() >= SUM_INTERVAL) {
                    self.last_sum = Some(Instant::now());
                    tell(&self.progress.sum(elapsed));
                }
            }
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        // The table of answers has what the block had.
        if let Some(block) = &self.block {
            block.finish_and_clear();
        }
    }
}
