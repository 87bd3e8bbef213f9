//! What stands in the way of alignment, said once where it begins and once where it ends.

use swsync_core::align::Trouble;

/// Frames without it after which a trouble counts as over: three seconds at 30/s.
const OVER: u32 = 90;
/// Frames with it after which it is said. A latency that differs for half a minute at 30/s may be libcamera's
/// delayed controls at work, and nothing is wrong.
const SAID: u32 = 2;
const LATENCY_SAID: u32 = 900;

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issue {
    /// The aligner says so.
    Aligner(Trouble),
    /// The camera does not say how long it exposed.
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

    /// What it is and what helps, for a person.
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

    /// Whether frames are left as they come because of it.
    pub const fn is_given_up(&self) -> bool {
        matches!(self, Self::Aligner(Trouble::NoEffect { .. }))
    }

    /// Its numbers, by the names of their fields in messages.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let numbers: [Option<(&'static str, u32)>; 3] = match *self {
            Self::Aligner(trouble) => match trouble {
                Trouble::OffRate { min, max, period } => {
                    [Some(("min-lines", min)), Some(("max-lines", max)), Some(("period-lines", period))]
                }
                Trouble::ExposureTooLong { exposure, period } => {
                    [Some(("exposure-lines", exposure)), Some(("period-lines", period)), None]
                }
                Trouble::LittleHeadroom { frames, min, max } => {
                    [Some(("frames", frames)), Some(("min-lines", min)), Some(("max-lines", max))]
                }
                Trouble::Clamped { asked, got } => {
                    [Some(("asked-lines", asked)), Some(("got-lines", got)), None]
                }
                Trouble::NoEffect { injections } => [Some(("injections", injections)), None, None],
                Trouble::Latency { told, found } => {
                    [Some(("told-frames", told)), Some(("found-frames", found)), None]
                }
                _ => [None; 3],
            },
            Self::UnknownExposure => [None; 3],
        };
        numbers.into_iter().flatten()
    }

    const fn patience(&self) -> u32 {
        match self {
            Self::Aligner(Trouble::Latency { .. }) => LATENCY_SAID,
            Self::Aligner(_) | Self::UnknownExposure => SAID,
        }
    }
}

/// A change that is worth a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueChange {
    Began(Issue),
    Ended(Issue),
}

/// Follows the issues of frames; their numbers change from frame to frame, their kinds seldom do.
#[derive(Debug, Default)]
pub struct IssueTracker {
    said: Option<Issue>,
    /// An issue of another kind, and frames in a row that had it.
    next: Option<(Issue, u32)>,
    /// Frames in a row without the one that was said.
    without: u32,
}

impl IssueTracker {
    /// What stands in the way now, as last said.
    pub const fn current(&self) -> Option<Issue> {
        self.said
    }

    /// One frame more, with the gravest issue that it has.
    pub fn observe(&mut self, issue: Option<Issue>) -> Option<IssueChange> {
        let same = |a: Option<&Issue>| a.map(Issue::kind) == issue.as_ref().map(Issue::kind);
        match issue {
            Some(issue) if same(self.said.as_ref()) => {
                (self.said, self.next, self.without) = (Some(issue), None, 0);
                return None;
            }
            Some(issue) => {
                let frames =
                    self.next.filter(|(next, _)| same(Some(next))).map_or(1, |(_, frames)| frames + 1);
                self.next = Some((issue, frames));
                if frames >= issue.patience() {
                    (self.said, self.next, self.without) = (Some(issue), None, 0);
                    return Some(IssueChange::Began(issue));
                }
            }
            None => self.next = None,
        }
        let said = self.said?;
        self.without += 1;
        if self.without < OVER {
            return None;
        }
        (self.said, self.without) = (None, 0);
        Some(IssueChange::Ended(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn headroom(frames: u32) -> Issue {
        Issue::Aligner(Trouble::LittleHeadroom { frames, min: 1000, max: 1800 })
    }
    const LATENCY: Issue = Issue::Aligner(Trouble::Latency { told: 3, found: 4 });

    #[test]
    fn numbers_that_change_are_no_news() {
        let mut watch = IssueTracker::default();
        let changes: Vec<_> = (0..100).rev().filter_map(|n| watch.observe(Some(headroom(n)))).collect();
        assert_eq!(changes, [IssueChange::Began(headroom(98))]);
        assert_eq!(watch.current(), Some(headroom(0)));
        let changes: Vec<_> = (0..100).filter_map(|_| watch.observe(None)).collect();
        assert_eq!(changes, [IssueChange::Ended(headroom(0))]);
    }

    #[test]
    fn what_comes_and_goes_is_not_said_each_time() {
        let mut watch = IssueTracker::default();
        let mut changes = 0;
        for frame in 0..1_000 {
            changes += u32::from(watch.observe((frame % 80 < 40).then_some(LATENCY)).is_some());
        }
        assert_eq!(changes, 0);
        for frame in 0..1_000 {
            changes += u32::from(watch.observe((frame % 80 < 40).then_some(headroom(100))).is_some());
        }
        assert_eq!(changes, 1);
    }

    #[test]
    fn another_issue_takes_the_place_of_the_first() {
        let mut watch = IssueTracker::default();
        watch.observe(Some(headroom(5)));
        watch.observe(Some(headroom(5)));
        let changes: Vec<_> = (0..2_000).filter_map(|_| watch.observe(Some(LATENCY))).collect();
        assert_eq!(changes, [IssueChange::Ended(headroom(5)), IssueChange::Began(LATENCY)]);
        assert_eq!(watch.current(), Some(LATENCY));
    }

    #[test]
    fn each_has_a_name_numbers_and_a_remedy() {
        let issue = Issue::Aligner(Trouble::ExposureTooLong { exposure: 1800, period: 1763 });
        assert_eq!(issue.kind(), "exposure-too-long");
        let numbers: Vec<_> = issue.numbers().collect();
        assert_eq!(numbers, [("exposure-lines", 1800), ("period-lines", 1763)]);
        assert!(issue.text().contains("shorten it"));
        assert_eq!(Issue::UnknownExposure.numbers().count(), 0);
    }
}
