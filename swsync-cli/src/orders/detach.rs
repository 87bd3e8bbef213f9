//! `--detach`: gives an order and returns, without the devices' answers.

use std::process::ExitCode;

use swsync_core::order::Order;

use super::FollowOrder;
use super::report::GivenDocument;
use crate::exit;
use crate::output::{self, warn};

impl FollowOrder<'_> {
    /// Gives `order`, described by `what`, and returns: 0 if every device has taken it, and they do not differ. Nothing is saved
    /// yet.
    ///
    /// # Errors
    /// No device is there any more.
    pub fn detach(&self, order: &Order, what: &str) -> anyhow::Result<ExitCode> {
        let taken = self.offer(order)?;
        let targets = order.targets();
        let split = self.rig.lasting_split(targets, self.snapshot);
        split.iter().for_each(|split| warn(&split.what));
        let all = taken && self.snapshot.is_alike(targets) && !split.is_some_and(|split| split.is_apart);
        if self.json {
            output::json(&GivenDocument::new(order));
        } else {
            output::line(&format!("{}  {what}", order.id()));
        }
        Ok(ExitCode::from(if all { 0 } else { exit::INCOMPLETE }))
    }
}
