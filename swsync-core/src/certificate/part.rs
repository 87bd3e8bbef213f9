//! What one device knows of the frames of its part of a take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ErrorTerms, Unbounded, terms};
use crate::frame::FrameInfo;
use crate::grid::FrameNumber;
use crate::name::DeviceId;
use crate::time::Span;

/// What `certificate.json` says of one device's part of a take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartCertificate {
    /// The device.
    pub device: DeviceId,
    /// Number of saved frames.
    pub frames: u64,
    /// The largest bound. `None`: there is no frame, or not every frame has a bound.
    pub worst_ns: Option<Span>,
    /// The frame with the largest known bound.
    pub worst_frame: Option<FrameNumber>,
    /// Its terms.
    pub terms: Option<ErrorTerms>,
    /// Frames without a bound, by reason.
    pub unbounded: Vec<UnboundedFrames>,
}

/// Frames without a bound, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnboundedFrames {
    /// The first.
    pub first: FrameNumber,
    /// The last.
    pub last: FrameNumber,
    /// How many between these, both included.
    pub count: u64,
    /// The reason, for a person.
    pub why: String,
}

/// Makes a [`PartCertificate`], frame by frame, in constant memory.
#[derive(Debug, Clone)]
pub struct PartCertifier {
    frames: u64,
    worst: Option<(Span, FrameNumber, ErrorTerms)>,
    unbounded: BTreeMap<Unbounded, (FrameNumber, FrameNumber, u64)>,
}

impl Default for PartCertifier {
    fn default() -> Self {
        Self::new()
    }
}

impl PartCertifier {
    /// No frame yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { frames: 0, worst: None, unbounded: BTreeMap::new() }
    }

    /// Adds a saved frame, and returns its bound.
    pub fn add(&mut self, info: &FrameInfo) -> Option<Span> {
        self.frames += 1;
        let number = info.number;
        match terms(info) {
            Ok(terms) => {
                let bound = terms.bound();
                if self.worst.is_none_or(|(worst, ..)| bound > worst) {
                    self.worst = Some((bound, number, terms));
                }
                Some(bound)
            }
            Err(why) => {
                let (first, last, count) = self.unbounded.entry(why).or_insert((number, number, 0));
                (*first, *last, *count) = ((*first).min(number), (*last).max(number), *count + 1);
                None
            }
        }
    }

    /// The certificate of `device`'s part.
    #[must_use]
    pub fn finish(self, device: DeviceId) -> PartCertificate {
        let unbounded = self.unbounded.into_iter().map(|(why, (first, last, count))| UnboundedFrames {
            first,
            last,
            count,
            why: why.to_string(),
        });
        let unbounded: Vec<_> = unbounded.collect();
        PartCertificate {
            device,
            frames: self.frames,
            worst_ns: self.worst.map(|(bound, ..)| bound).filter(|_| unbounded.is_empty()),
            worst_frame: self.worst.map(|(_, number, _)| number),
            terms: self.worst.map(|(.., terms)| terms),
            unbounded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::testing::bounded;
    use crate::frame::SyncState;
    use crate::name::Name;

    #[test]
    fn the_worst_frame_and_those_without_a_bound_are_named() {
        let us = Span::from_micros;
        let mut part = PartCertifier::new();
        for (number, phase) in [(5, 3), (6, -8), (7, 1)] {
            assert!(part.add(&bounded(number, us(phase))).is_some());
        }
        let good = part.clone().finish(Name::new("a").unwrap());
        assert_eq!((good.frames, good.worst_frame), (3, Some(6)));
        assert_eq!(good.worst_ns, Some(good.terms.unwrap().bound()));
        assert_eq!(good.terms.unwrap().phase, us(8));

        for number in [12, 9] {
            let unsynced = FrameInfo { sync: SyncState::Unsynced, ..bounded(number, us(0)) };
            assert_eq!(part.add(&unsynced), None);
        }
        let bad = part.finish(Name::new("a").unwrap());
        assert_eq!((bad.worst_ns, bad.worst_frame), (None, Some(6)), "not all is known");
        let [UnboundedFrames { first: 9, last: 12, count: 2, why }] = &bad.unbounded[..] else {
            panic!("{bad:?}")
        };
        assert!(why.contains("unsynced"), "{why}");
    }
}
