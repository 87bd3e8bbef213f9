//! The journal of a device's orders, which survives a restart: open orders, and answers.
//!
//! Which frames are on disk stands in the manifests, not in the journal.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Answer, Order};
use crate::grid::FrameGrid;
use crate::message::{self, TimeScale};
use crate::name::OrderId;
use crate::time::{Rig, Timestamp};

/// Most answered orders that are remembered: a shot every ten seconds for more than a day. Older ones are found on disk, as
/// long as their takes are there.
const MAX_ORDERS: usize = 10_000;

/// Most of these with a full answer. Older answers are shortened to a single run.
const MAX_ANSWERS: usize = 1_024;

/// Most runs of frames in the full answers together. Bounds memory and file to a few megabytes.
const MAX_RUNS: usize = 5_000;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum JournalRecord {
    /// An order has arrived.
    Opened {
        /// The order.
        opened: Order,
    },
    /// An order was stopped.
    Stopped {
        /// The order.
        order: OrderId,
        /// The instant.
        at_ns: Timestamp<Rig>,
    },
    /// An order was cancelled.
    Cancelled {
        /// The order.
        order: OrderId,
    },
    /// An order was answered.
    Answered {
        /// The answer.
        answer: Answer,
    },
    /// Frames are numbered on another grid from here on.
    Grid {
        /// The grid.
        grid: FrameGrid,
    },
    /// The device's clock is on this time scale from here on. Open orders that name none are of this one.
    TimeScale {
        /// The time scale.
        timescale: TimeScale,
    },
}

impl JournalRecord {
    /// The record as one line of JSON, with its newline.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = message::encode(self);
        line.push(b'\n');
        line
    }
}

/// An order that is not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingOrder {
    /// The order, with its stop.
    pub order: Order,
    /// Whether it was cancelled.
    pub cancelled: bool,
}

/// The state after all records of a journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Journal {
    open: Vec<PendingOrder>,
    answers: Answers,
    grid: Option<FrameGrid>,
    timescale: Option<TimeScale>,
}

/// The parts of a journal that an order queue goes on with.
pub(super) struct JournalParts {
    pub open: Vec<PendingOrder>,
    pub answers: Answers,
    pub grid: Option<FrameGrid>,
    /// The last time scale of the device's clock.
    pub timescale: Option<TimeScale>,
}

impl Journal {
    /// Reads the lines of `text`. Also returns how many lines could not be read: torn by a power cut, or written by another
    /// version of swsync.
    #[must_use]
    pub fn parse(text: &[u8]) -> (Self, usize) {
        let (mut journal, mut unread) = (Self::default(), 0);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match message::decode(line) {
                Ok(record) => journal.apply(record),
                Err(_) => unread += 1,
            }
        }
        (journal, unread)
    }

    /// Applies one more record.
    pub fn apply(&mut self, record: JournalRecord) {
        match record {
            JournalRecord::Opened { opened } => {
                if self.pending(opened.id()).is_none() {
                    self.open.push(PendingOrder { order: opened, cancelled: false });
                }
            }
            JournalRecord::Stopped { order, at_ns } => {
                if let Some(pending) = self.pending(&order) {
                    pending.order.stop_at(at_ns);
                }
            }
            JournalRecord::Cancelled { order } => {
                if let Some(pending) = self.pending(&order) {
                    pending.cancelled = true;
                }
            }
            JournalRecord::Answered { answer } => {
                let open = self.open.iter().position(|pending| *pending.order.id() == answer.order);
                let order = open.map(|index| self.open.remove(index).order);
                self.answers.keep(order, answer);
            }
            JournalRecord::Grid { grid } => self.grid = Some(grid),
            JournalRecord::TimeScale { timescale } => {
                self.timescale = Some(timescale);
                self.open.iter_mut().for_each(|pending| pending.order.settle_timescale(Some(timescale)));
            }
        }
    }

    fn pending(&mut self, order: &OrderId) -> Option<&mut PendingOrder> {
        self.open.iter_mut().find(|pending| pending.order.id() == order)
    }

    /// The fewest records with the same state, to replace a file that has grown long.
    pub fn records(&self) -> impl Iterator<Item = JournalRecord> {
        let grid = self.grid.map(|grid| JournalRecord::Grid { grid });
        let timescale = self.timescale.map(|timescale| JournalRecord::TimeScale { timescale });
        let answered = self.answers.oldest_first().flat_map(|Answered { order, answer }| {
            let opened = order.clone().map(|opened| JournalRecord::Opened { opened });
            opened.into_iter().chain([JournalRecord::Answered { answer: answer.clone() }])
        });
        let open = self.open.iter().flat_map(|pending| {
            let cancelled =
                pending.cancelled.then(|| JournalRecord::Cancelled { order: pending.order.id().clone() });
            [JournalRecord::Opened { opened: pending.order.clone() }].into_iter().chain(cancelled)
        });
        grid.into_iter().chain(timescale).chain(answered).chain(open)
    }

    /// Orders that are not answered yet, in the order of their arrival.
    #[must_use]
    pub fn open(&self) -> &[PendingOrder] {
        &self.open
    }

    pub(super) fn into_parts(self) -> JournalParts {
        let Self { open, answers, grid, timescale } = self;
        JournalParts { open, answers, grid, timescale }
    }
}

/// An answered order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answered {
    /// The order. `None`: an older version did not write it down.
    pub order: Option<Order>,
    pub answer: Answer,
}

/// The orders that were answered last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answers {
    by_id: HashMap<OrderId, Answered>,
    /// Oldest first.
    ids: VecDeque<OrderId>,
    /// How many of the oldest have shortened answers.
    short: usize,
    /// Runs in the full answers.
    runs: usize,
}

impl Answers {
    pub(super) fn get(&self, order: &OrderId) -> Option<&Answered> {
        self.by_id.get(order)
    }

    fn oldest_first(&self) -> impl Iterator<Item = &Answered> {
        self.ids.iter().filter_map(|id| self.by_id.get(id))
    }

    /// Keeps an answer. `order`: `None` keeps the order that is known under this id, if there is one.
    pub(super) fn keep(&mut self, order: Option<Order>, answer: Answer) {
        let id = answer.order.clone();
        let before = self.by_id.remove(&id);
        if let Some(index) = before.as_ref().and_then(|_| self.ids.iter().position(|known| *known == id)) {
            self.ids.remove(index);
            match index < self.short {
                true => self.short -= 1,
                false => self.runs -= before.as_ref().map_or(0, |before| before.answer.frames.len()),
            }
        }
        self.runs += answer.frames.len();
        self.ids.push_back(id.clone());
        let order = order.or(before.and_then(|before| before.order));
        self.by_id.insert(id, Answered { order, answer });
        self.shorten_and_forget();
    }

    fn shorten_and_forget(&mut self) {
        while self.short + 1 < self.ids.len()
            && (self.runs > MAX_RUNS || self.ids.len() - self.short > MAX_ANSWERS)
        {
            if let Some(oldest) = self.ids.get(self.short).and_then(|id| self.by_id.get_mut(id)) {
                self.runs -= oldest.answer.frames.len();
                oldest.answer = oldest.answer.clone().shortened();
            }
            self.short += 1;
        }
        while self.ids.len() > MAX_ORDERS {
            let forgotten = self.ids.pop_front();
            forgotten.and_then(|id| self.by_id.remove(&id));
            self.short = self.short.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::testing::name;
    use crate::order::{FrameOutcome, FrameRun, OrderKind};

    fn order(id: &str) -> Order {
        let kind = OrderKind::Take { segment: None, fill: Default::default() };
        Order::new(name(id), Timestamp::from_nanos(5), None, kind).unwrap()
    }

    fn answer(id: &str, runs: u64) -> Answer {
        let run = |number| FrameRun::one(number, FrameOutcome::Missed { why: "x".into() });
        let frames = (0..runs).map(run).collect();
        Answer {
            order: name(id),
            device: name("d"),
            frames,
            unnumbered: None,
            unfinished: None,
            basis: Default::default(),
        }
    }

    fn journal(records: &[JournalRecord]) -> Journal {
        let text: Vec<u8> = records.iter().flat_map(JournalRecord::to_line).collect();
        let (journal, unread) = Journal::parse(&text);
        assert_eq!(unread, 0);
        journal
    }

    #[test]
    fn open_orders_and_answers_are_read_back() {
        let stop = Timestamp::from_nanos(900);
        let records = [
            JournalRecord::Opened { opened: order("a") },
            JournalRecord::Opened { opened: order("b") },
            JournalRecord::Opened { opened: order("b") }, // again
            JournalRecord::Stopped { order: order("b").id().clone(), at_ns: stop },
            JournalRecord::Cancelled { order: order("b").id().clone() },
            JournalRecord::Answered { answer: answer("a", 1) },
            JournalRecord::Grid { grid: FrameGrid::new(25, 1).unwrap() },
            JournalRecord::Opened { opened: order("c") },
            JournalRecord::TimeScale { timescale: TimeScale(7) },
            JournalRecord::Opened { opened: order("d").on_timescale(Some(TimeScale(7))) },
            JournalRecord::Grid { grid: FrameGrid::new(30, 1).unwrap() },
            JournalRecord::TimeScale { timescale: TimeScale(8) },
        ];
        let journal = journal(&records);
        assert_eq!(journal.grid, FrameGrid::new(30, 1).ok());
        let [b, c, d] = journal.open() else { panic!("{journal:?}") };
        assert_eq!((b.order.stop(), b.cancelled, c.cancelled), (Some(stop), true, false));
        // An order that named no time scale is of the first one that the device knew.
        assert_eq!([b, c, d].map(|open| open.order.timescale()), [Some(TimeScale(7)); 3]);
        assert_eq!(journal.timescale, Some(TimeScale(8)));
        let kept = Answered { order: Some(order("a")), answer: answer("a", 1) };
        assert_eq!(journal.answers.get(order("a").id()), Some(&kept));
        assert_eq!(
            self::journal(&journal.records().collect::<Vec<_>>()),
            journal,
            "the compacted journal has the same state"
        );
    }

    #[test]
    fn a_torn_line_is_skipped() {
        let mut text = JournalRecord::Opened { opened: order("a") }.to_line();
        text.extend(&JournalRecord::Opened { opened: order("b") }.to_line()[..20]);
        let (journal, unread) = Journal::parse(&text);
        assert_eq!((journal.open().len(), unread), (1, 1));
    }

    fn answered(journal: &mut Journal, answer: Answer) {
        journal.apply(JournalRecord::Opened { opened: order(answer.order.as_str()) });
        journal.apply(JournalRecord::Answered { answer });
    }

    #[test]
    fn answers_are_bounded_and_orders_are_remembered_for_longer() {
        let mut journal = Journal::default();
        for id in 0..MAX_ANSWERS + 76 {
            answered(&mut journal, answer(&format!("o{id}"), 3));
        }
        for id in 0..10 {
            answered(&mut journal, answer(&format!("p{id}"), 1_000));
        }
        let kept = |id: &str| journal.answers.get(order(id).id()).unwrap();
        assert_eq!(kept("o0").order, Some(order("o0")), "the order itself is remembered");
        let [old, first, last] = ["o0", "p0", "p9"].map(|id| &kept(id).answer);
        assert_eq!((old.frames.len(), first.frames.len(), last.frames.len()), (1, 1, 1_000));
        assert_eq!((old.named(), first.named(), last.named()), (3, 1_000, 1_000));
        let text: Vec<u8> = journal.records().flat_map(|record| record.to_line()).collect();
        assert_eq!(Journal::parse(&text), (journal, 0), "after a restart too");
    }

    #[test]
    fn answers_that_cannot_be_merged_become_one_run() {
        let mut journal = Journal::default();
        for id in 0..10 {
            let mut long = answer(&format!("o{id}"), 1_000);
            for (index, run) in long.frames.iter_mut().enumerate() {
                run.outcome = FrameOutcome::Missed { why: (index % 2).to_string() };
            }
            answered(&mut journal, long);
        }
        let lengths: Vec<_> = journal.answers.oldest_first().map(|kept| kept.answer.frames.len()).collect();
        assert_eq!(lengths, [1, 1, 1, 1, 1, 1_000, 1_000, 1_000, 1_000, 1_000]);
        assert!(journal.answers.oldest_first().all(|kept| kept.answer.named() == 1_000));
    }

    #[test]
    fn the_oldest_orders_are_forgotten() {
        let mut journal = Journal::default();
        for id in 0..MAX_ORDERS + 5 {
            answered(&mut journal, answer(&format!("o{id}"), 1));
        }
        answered(&mut journal, answer("o5", 1)); // again
        let answers = &journal.answers;
        assert_eq!((answers.by_id.len(), answers.ids.len()), (MAX_ORDERS, MAX_ORDERS));
        assert!(answers.get(order("o4").id()).is_none() && answers.get(order("o5").id()).is_some());
        assert_eq!(answers.oldest_first().next().unwrap().answer.order, *order("o6").id());
    }
}
