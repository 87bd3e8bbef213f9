//! What to warn of in a stream's frames, each once.

use swsync_core::grid::FrameGrid;
use swsync_core::time::Span;

#[derive(Debug, Default)]
pub struct StreamWarnings {
    /// A frame lies so far off the grid of its caps: it is on another one.
    off_grid: Warning<Span>,
    /// A frame carries nothing but its PTS.
    without_meta: Warning<()>,
}

/// A warning that is given once.
#[derive(Debug, Default)]
enum Warning<T> {
    #[default]
    NotDue,
    Due(T),
    Given,
}

impl<T> Warning<T> {
    fn raise(&mut self, about: T) {
        if matches!(self, Self::NotDue) {
            *self = Self::Due(about);
        }
    }

    fn give(&mut self) -> Option<T> {
        if !matches!(self, Self::Due(_)) {
            return None;
        }
        match std::mem::replace(self, Self::Given) {
            Self::Due(about) => Some(about),
            Self::NotDue | Self::Given => None,
        }
    }
}

impl StreamWarnings {
    pub fn raise_off_grid(&mut self, phase_error: Span) {
        self.off_grid.raise(phase_error);
    }

    pub fn raise_without_meta(&mut self) {
        self.without_meta.raise(());
    }

    /// A warning that is due, and what helps.
    pub fn give(&mut self, grid: FrameGrid) -> Option<(String, &'static str)> {
        if self.without_meta.give().is_some() {
            let text = "Frames carry no meta of swsyncsrc: they are numbered by their PTS, and it is not known whether they were on \
                        the grid, and how they were exposed";
            let remedy = "An element in between (compositor?) makes buffers of its own and drops metas: put it into a branch of its \
                          own, or leave it out. Frames of other sources than swsyncsrc never carry it";
            return Some((text.into(), remedy));
        }
        let by = self.off_grid.give()?;
        let (frames, seconds) = grid.rate();
        let text = format!(
            "Frames are off the grid of the {frames}/{seconds} per second that their caps say: one by {by:?}. They do not \
             count as locked"
        );
        let remedy = "An element in between (videorate?) has dropped or doubled frames to change the rate. Have the \
                      camera take them at this rate: leave that element out, and give the rate in the caps behind swsyncsrc";
        Some((text, remedy))
    }
}
