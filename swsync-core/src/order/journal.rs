//! What a device must remember of its orders across a restart: which are open, and what it answered.
//!
//! Which frames are on disk is not in here: the manifests beside them say so.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Answer, Order};
use crate::control;
use crate::grid::FrameGrid;
use crate::name::OrderId;
use crate::time::{Rig, Timestamp};

/// Answers that are kept for orders that arrive again, at most.
const MAX_ANSWERS: usize = 1_024;

/// Runs of frames in all of them, at most: bounds memory and file to a few megabytes. Beyond it the oldest are kept
/// without what is known of single frames.
const MAX_RUNS: usize = 5_000;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// An order has arrived.
    Opened {
        /// The order.
        opened: Order,
    },
    /// It ends at this instant, if not earlier.
    Stopped {
        /// The order.
        order: OrderId,
        /// The instant.
        at_ns: Timestamp<Rig>,
    },
    /// It was cancelled.
    Cancelled {
        /// The order.
        order: OrderId,
    },
    /// It is answered.
    Answered {
        /// The answer.
        answer: Answer,
    },
    /// Frames are numbered on this grid from now on.
    Grid {
        /// The grid.
        grid: FrameGrid,
    },
}

impl Record {
    /// The record as one line of JSON, with its newline.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = control::encode(self);
        line.push(b'\n');
        line
    }
}

/// An order that is not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The order, with its stop.
    pub order: Order,
    /// Whether it was cancelled.
    pub cancelled: bool,
}

/// What the records say together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Journal {
    open: Vec<Pending>,
    answers: Answers,
    grid: Option<FrameGrid>,
}

impl Journal {
    /// What the lines in `text` say, and how many of them say nothing: one that a power cut tore, or of a version
    /// of swsync with other orders.
    #[must_use]
    pub fn parse(text: &[u8]) -> (Self, usize) {
        let (mut journal, mut unread) = (Self::default(), 0);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match control::decode(line) {
                Ok(record) => journal.apply(record),
                Err(_) => unread += 1,
            }
        }
        (journal, unread)
    }

    /// Takes in one more record.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Opened { opened } => {
                if self.pending(opened.id()).is_none() {
                    self.open.push(Pending { order: opened, cancelled: false });
                }
            }
            Record::Stopped { order, at_ns } => {
                if let Some(pending) = self.pending(&order) {
                    pending.order.stop_at(at_ns);
                }
            }
            Record::Cancelled { order } => {
                if let Some(pending) = self.pending(&order) {
                    pending.cancelled = true;
                }
            }
            Record::Answered { answer } => {
                self.open.retain(|pending| *pending.order.id() != answer.order);
                self.answers.keep(answer);
            }
            Record::Grid { grid } => self.grid = Some(grid),
        }
    }

    fn pending(&mut self, order: &OrderId) -> Option<&mut Pending> {
        self.open.iter_mut().find(|pending| pending.order.id() == order)
    }

    /// The fewest records that say the same: to begin a new file with when the old one has grown long.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let grid = self.grid.map(|grid| Record::Grid { grid });
        let answered = self.answers.0.iter().map(|answer| Record::Answered { answer: answer.clone() });
        let open = self.open.iter().flat_map(|pending| {
            let cancelled =
                pending.cancelled.then(|| Record::Cancelled { order: pending.order.id().clone() });
            [Record::Opened { opened: pending.order.clone() }].into_iter().chain(cancelled)
        });
        grid.into_iter().chain(answered).chain(open)
    }

    /// Orders that are not answered yet, in the order of their arrival.
    #[must_use]
    pub fn open(&self) -> &[Pending] {
        &self.open
    }

    pub(super) fn into_parts(self) -> (Vec<Pending>, Answers, Option<FrameGrid>) {
        (self.open, self.answers, self.grid)
    }
}

/// The last answers, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answers(VecDeque<Answer>);

impl Answers {
    pub(super) fn get(&self, order: &OrderId) -> Option<&Answer> {
        self.0.iter().find(|answer| answer.order == *order)
    }

    pub(super) fn keep(&mut self, answer: Answer) {
        self.0.retain(|known| known.order != answer.order);
        self.0.push_back(answer);
        let mut runs: usize = self.0.iter().map(|answer| answer.frames.len()).sum();
        let before = self.0.len() - 1;
        for old in self.0.iter_mut().take(before) {
            if runs <= MAX_RUNS {
                break;
            }
            let condensed = old.clone().condensed();
            runs -= old.frames.len() - condensed.frames.len();
            *old = condensed;
        }
        while self.0.len() > MAX_ANSWERS || self.0.len() > 1 && runs > MAX_RUNS {
            runs -= self.0.pop_front().map_or(0, |forgotten| forgotten.frames.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::order::{Fate, FrameRun, Kind};

    fn order(id: &str) -> Order {
        let kind = Kind::Take { segment: None, fill: Default::default() };
        Order::new(Name::new(id).unwrap(), Timestamp::from_nanos(5), None, kind).unwrap()
    }

    fn answer(id: &str, runs: u64) -> Answer {
        let run = |number| FrameRun::one(number, Fate::Missed { why: "x".into() });
        let name = |text: &str| Name::new(text).unwrap();
        let frames = (0..runs).map(run).collect();
        Answer { order: name(id), device: name("d"), frames, unnumbered: None, basis: Default::default() }
    }

    fn journal(records: &[Record]) -> Journal {
        let text: Vec<u8> = records.iter().flat_map(Record::to_line).collect();
        let (journal, unread) = Journal::parse(&text);
        assert_eq!(unread, 0);
        journal
    }

    #[test]
    fn what_is_open_and_answered_is_read_back() {
        let stop = Timestamp::from_nanos(900);
        let records = [
            Record::Opened { opened: order("a") },
            Record::Opened { opened: order("b") },
            Record::Opened { opened: order("b") }, // again
            Record::Stopped { order: order("b").id().clone(), at_ns: stop },
            Record::Cancelled { order: order("b").id().clone() },
            Record::Answered { answer: answer("a", 1) },
            Record::Grid { grid: FrameGrid::new(25, 1).unwrap() },
            Record::Opened { opened: order("c") },
            Record::Grid { grid: FrameGrid::new(30, 1).unwrap() },
        ];
        let journal = journal(&records);
        assert_eq!(journal.grid, FrameGrid::new(30, 1).ok());
        let [b, c] = journal.open() else { panic!("{journal:?}") };
        assert_eq!((b.order.stop(), b.cancelled, c.cancelled), (Some(stop), true, false));
        assert_eq!(journal.answers.get(order("a").id()), Some(&answer("a", 1)));
        assert_eq!(
            self::journal(&journal.records().collect::<Vec<_>>()),
            journal,
            "the short form says the same"
        );
    }

    #[test]
    fn a_torn_line_costs_only_itself() {
        let mut text = Record::Opened { opened: order("a") }.to_line();
        text.extend(&Record::Opened { opened: order("b") }.to_line()[..20]);
        let (journal, unread) = Journal::parse(&text);
        assert_eq!((journal.open().len(), unread), (1, 1));
    }

    #[test]
    fn answers_are_bounded() {
        let mut journal = Journal::default();
        for id in 0..1_100 {
            journal.apply(Record::Answered { answer: answer(&format!("o{id}"), 1) });
        }
        assert_eq!(journal.answers.0.len(), MAX_ANSWERS);
        for id in 0..10 {
            journal.apply(Record::Answered { answer: answer(&format!("p{id}"), 1_000) });
        }
        assert_eq!(journal.answers.0.len(), MAX_ANSWERS, "none is forgotten for its length");
        let [first, last] = ["p0", "p9"].map(|id| journal.answers.get(order(id).id()).unwrap());
        assert_eq!((first.frames.len(), last.frames.len()), (1, 1_000), "the oldest by runs");
        assert_eq!((first.named(), last.named()), (1_000, 1_000));
    }

    #[test]
    fn what_no_summing_up_makes_short_goes_in_the_end() {
        let mut journal = Journal::default();
        for id in 0..10 {
            let mut long = answer(&format!("o{id}"), 1_000);
            for (index, run) in long.frames.iter_mut().enumerate() {
                run.fate = Fate::Missed { why: (index % 2).to_string() };
            }
            journal.apply(Record::Answered { answer: long });
        }
        assert_eq!(journal.answers.0.len(), 5);
    }
}
