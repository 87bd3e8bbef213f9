//! Answers to an open order, and its progress.

use super::settle::missed_run;
use super::{CANCELLED, OpenOrder, STOPPED, Stage};
use crate::grid::FrameGrid;
use crate::name::DeviceId;
use crate::order::{Answer, FrameRun, NamedFrames, OrderProgress, TimeBasis};

impl OpenOrder {
    /// The answer with the account so far; unfinished if the device was stopped.
    ///
    /// `grid`: of the device's frames, if it is known.
    pub fn answer(&self, device: &DeviceId, grid: Option<FrameGrid>) -> Answer {
        self.answer_as(device, grid, self.is_told || self.is_suspended())
    }

    /// The answer after which the order is over.
    pub fn final_answer(&self, device: &DeviceId, grid: Option<FrameGrid>) -> Answer {
        self.answer_as(device, grid, self.is_suspended())
    }

    fn answer_as(&self, device: &DeviceId, grid: Option<FrameGrid>, is_stopped: bool) -> Answer {
        let rate = self.named().map(|named| named.grid()).or(grid);
        let (unnumbered, frames) = match &self.stage {
            Stage::Unnumbered(on_disk) => {
                let no_frame = if self.cancelled { CANCELLED } else { "the device has not seen a frame yet" };
                (Some(self.ended.as_deref().unwrap_or(no_frame).to_owned()), on_disk.clone())
            }
            Stage::Closing(_) => (None, self.account.runs()),
            Stage::Waiting(named) | Stage::Serving(named) | Stage::Suspending(named) => {
                (None, self.runs_so_far(named))
            }
        };
        let unfinished = match &self.ended {
            None => is_stopped.then(|| {
                "the device was stopped before the order ended, which goes on when it is back".into()
            }),
            Some(why) => unnumbered.is_none().then(|| format!("it ended before the order did: {why}")),
        };
        let order = self.order.id().clone();
        let basis = TimeBasis { timescale: self.timescale, rate };
        Answer { order, device: device.clone(), frames, unnumbered, unfinished, basis }
    }

    /// The account so far. If the order has an end, frames that are still to come are missed.
    fn runs_so_far(&self, named: &NamedFrames) -> Vec<FrameRun> {
        let mut runs = self.account.runs();
        let end = named.end().unwrap_or(named.first());
        let gaps = self.account.gaps(named.first()..end, &self.writing);
        runs.extend(gaps.into_iter().filter_map(|gap| missed_run(named, gap, STOPPED.into())));
        runs.sort_by_key(|run| run.first);
        runs
    }

    pub fn progress(&self) -> OrderProgress {
        OrderProgress {
            order: self.order.id().clone(),
            at_ns: self.order.at(),
            stop_ns: self.order.stop(),
            named: self.named().and_then(|named| named.count()),
            saved: self.account.saved() + self.writing.len() as u64,
            lost: self.account.lost(),
            bytes: self.account.bytes(),
            why: self.account.why().cloned(),
        }
    }
}
