//! Issues that prevent or impair alignment. Each is reported once when it begins and once when it ends.

use swsync_core::align::AlignProblem;

/// Frames without an issue after which it has ended: three seconds at 30/s.
const ENDED_AFTER: u32 = 90;
/// Frames with an issue after which it is reported. A latency that differs for up to half a minute at 30/s may be due to
/// libcamera's delayed controls, which is no issue.
const REPORT_AFTER: u32 = 2;
const LATENCY_REPORT_AFTER: u32 = 900;

/// An issue of alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issue {
    /// Reported by the aligner.
    Aligner(AlignProblem),
    /// The camera does not report exposure times.
    UnknownExposure,
}

impl Issue {
    /// Its name in messages.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Aligner(trouble) => trouble.kind(),
            Self::UnknownExposure => "unknown-exposure",
        }
    }

    /// What it is and what helps, for people.
    pub fn text(&self) -> String {
        match self {
            Self::Aligner(trouble) => trouble.to_string(),
            Self::UnknownExposure => {
                "the camera does not say how long it exposed: frame times are those of its \
                                      stamps, and what is aligned is off by what depends on the exposure"
                    .into()
            }
        }
    }

    /// Whether aligning was given up because of it.
    pub const fn is_given_up(&self) -> bool {
        matches!(self, Self::Aligner(AlignProblem::NoEffect { .. }))
    }

    /// Its numbers, with the names of their fields in messages.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let numbers: [Option<(&'static str, u32)>; 3] = match *self {
            Self::Aligner(trouble) => match trouble {
                AlignProblem::OffRate { min, max, period } => {
                    [Some(("min-lines", min)), Some(("max-lines", max)), Some(("period-lines", period))]
                }
                AlignProblem::ExposureTooLong { exposure, period } => {
                    [Some(("exposure-lines", exposure)), Some(("period-lines", period)), None]
                }
                AlignProblem::LittleHeadroom { frames, min, max } => {
                    [Some(("frames", frames)), Some(("min-lines", min)), Some(("max-lines", max))]
                }
                AlignProblem::Clamped { asked, got } => {
                    [Some(("asked-lines", asked)), Some(("got-lines", got)), None]
                }
                AlignProblem::NoEffect { injections } => [Some(("injections", injections)), None, None],
                AlignProblem::Latency { told, found } => {
                    [Some(("told-frames", told)), Some(("found-frames", found)), None]
                }
                _ => [None; 3],
            },
            Self::UnknownExposure => [None; 3],
        };
        numbers.into_iter().flatten()
    }

    const fn report_after(&self) -> u32 {
        match self {
            Self::Aligner(AlignProblem::Latency { .. }) => LATENCY_REPORT_AFTER,
            Self::Aligner(_) | Self::UnknownExposure => REPORT_AFTER,
        }
    }
}

/// A change to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueChange {
    Began(Issue),
    Ended(Issue),
}

/// Tracks issues from frame to frame. Their numbers change often, their kinds seldom.
#[derive(Debug, Default)]
pub struct IssueTracker {
    reported: Option<Issue>,
    /// An issue of another kind, and how many frames in a row have had it.
    next: Option<(Issue, u32)>,
    /// Frames in a row without the reported one.
    without: u32,
}

impl IssueTracker {
    /// The reported issue, with its newest numbers.
    pub const fn current(&self) -> Option<Issue> {
        self.reported
    }

    /// Handles the next frame, with its gravest issue.
    pub fn observe(&mut self, issue: Option<Issue>) -> Option<IssueChange> {
        let same = |a: Option<&Issue>| a.map(Issue::kind) == issue.as_ref().map(Issue::kind);
        match issue {
            Some(issue) if same(self.reported.as_ref()) => {
                (self.reported, self.next, self.without) = (Some(issue), None, 0);
                return None;
            }
            Some(issue) => {
                let frames =
                    self.next.filter(|(next, _)| same(Some(next))).map_or(1, |(_, frames)| frames + 1);
                self.next = Some((issue, frames));
                if frames >= issue.report_after() {
                    (self.reported, self.next, self.without) = (Some(issue), None, 0);
                    return Some(IssueChange::Began(issue));
                }
            }
            None => self.next = None,
        }
        let reported = self.reported?;
        self.without += 1;
        if self.without < ENDED_AFTER {
            return None;
        }
        (self.reported, self.without) = (None, 0);
        Some(IssueChange::Ended(reported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn headroom(frames: u32) -> Issue {
        Issue::Aligner(AlignProblem::LittleHeadroom { frames, min: 1000, max: 1800 })
    }
    const LATENCY: Issue = Issue::Aligner(AlignProblem::Latency { told: 3, found: 4 });

    #[test]
    fn changed_numbers_are_not_reported() {
        let mut tracker = IssueTracker::default();
        let changes: Vec<_> = (0..100).rev().filter_map(|n| tracker.observe(Some(headroom(n)))).collect();
        assert_eq!(changes, [IssueChange::Began(headroom(98))]);
        assert_eq!(tracker.current(), Some(headroom(0)));
        let changes: Vec<_> = (0..100).filter_map(|_| tracker.observe(None)).collect();
        assert_eq!(changes, [IssueChange::Ended(headroom(0))]);
    }

    #[test]
    fn intermittent_issues_are_reported_once() {
        let mut tracker = IssueTracker::default();
        let mut changes = 0;
        for frame in 0..1_000 {
            changes += u32::from(tracker.observe((frame % 80 < 40).then_some(LATENCY)).is_some());
        }
        assert_eq!(changes, 0);
        for frame in 0..1_000 {
            changes += u32::from(tracker.observe((frame % 80 < 40).then_some(headroom(100))).is_some());
        }
        assert_eq!(changes, 1);
    }

    #[test]
    fn another_issue_replaces_the_first() {
        let mut tracker = IssueTracker::default();
        tracker.observe(Some(headroom(5)));
        tracker.observe(Some(headroom(5)));
        let changes: Vec<_> = (0..2_000).filter_map(|_| tracker.observe(Some(LATENCY))).collect();
        assert_eq!(changes, [IssueChange::Ended(headroom(5)), IssueChange::Began(LATENCY)]);
        assert_eq!(tracker.current(), Some(LATENCY));
    }

    #[test]
    fn issues_have_a_name_numbers_and_a_remedy() {
        let issue = Issue::Aligner(AlignProblem::ExposureTooLong { exposure: 1800, period: 1763 });
        assert_eq!(issue.kind(), "exposure-too-long");
        let numbers: Vec<_> = issue.numbers().collect();
        assert_eq!(numbers, [("exposure-lines", 1800), ("period-lines", 1763)]);
        assert!(issue.text().contains("shorten it"));
        assert_eq!(Issue::UnknownExposure.numbers().count(), 0);
    }
}
