//! Deciding that frames of an order are missing, and why.

use std::ops::Range;

use super::OpenOrder;
use crate::grid::FrameNumber;
use crate::order::queue::action::OrderAction;
use crate::order::{FrameOutcome, FrameRun, NamedFrames};

const BEFORE_RESTART: &str = "not saved before the device was restarted, and it is no longer known why";

impl OpenOrder {
    /// Named frames below `number` that have not arrived are missing because of `why`, or with `None` because of what later
    /// frames tell.
    pub(super) fn settle<T>(
        &mut self,
        named: &NamedFrames,
        number: FrameNumber,
        why: Option<&str>,
        actions: &mut Vec<OrderAction<T>>,
    ) {
        let number = named.end().map_or(number, |end| number.min(end));
        if number <= self.frontier {
            return;
        }
        let range = self.frontier..number;
        self.frontier = number;
        for gap in self.account.gaps(range, &self.writing) {
            for (part, why) in self.reasons(gap, why) {
                if let Some(run) = missed_run(named, part, why) {
                    self.begin(named, actions);
                    self.decide(named, run, actions);
                }
            }
        }
        self.known_gaps.forget_before(number);
    }

    /// Why the frames of `gap` are missing, part by part.
    fn reasons(&self, gap: Range<FrameNumber>, why: Option<&str>) -> Vec<(Range<FrameNumber>, String)> {
        let restart = self.decided_before.clamp(gap.start, gap.end);
        let mut parts = vec![(gap.start..restart, BEFORE_RESTART.to_owned())];
        let unavailable = self.unavailable_before.as_ref();
        let bound = unavailable.map_or(0, |(bound, _)| *bound).clamp(restart, gap.end);
        parts.extend(unavailable.map(|(_, why)| (restart..bound, why.clone())));
        match why {
            Some(why) => parts.push((bound..gap.end, why.to_owned())),
            None => {
                let known = self.known_gaps.why(bound..gap.end);
                parts.extend(known.into_iter().map(|(part, why)| (part, why.to_owned())));
            }
        }
        parts.retain(|(part, _)| !part.is_empty());
        parts
    }

    /// Accounts for frames that will not come, and tells the writer.
    pub(super) fn decide<T>(
        &mut self,
        named: &NamedFrames,
        run: FrameRun,
        actions: &mut Vec<OrderAction<T>>,
    ) {
        self.account.note(named, run.clone());
        actions.push(OrderAction::Hole { order: self.order.id().clone(), run });
    }
}

/// The frames of `named` in `range`, all missed because of `why`. `None`: it names none there.
pub fn missed_run(named: &NamedFrames, range: Range<FrameNumber>, why: String) -> Option<FrameRun> {
    let (first, last) = (named.next_from(range.start)?, named.last_before(range.end)?);
    let count = named.count_in(range);
    (count > 0).then_some(FrameRun { first, last, count, outcome: FrameOutcome::Missed { why } })
}
