//! Whether frames arrive where they are to be kept.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;

/// Elements of swsync that every frame reaches, also while no order is open.
const KEEPERS: [&str; 2] = ["swsyncsink", "swsyncgate"];

/// The frames that arrived at each of the pads that count: those of `swsyncsink` and `swsyncgate`, or in a pipeline with neither
/// those of all sinks.
///
/// A stalled camera shows there, and so does a stalled encoder. What is behind a gate does not count: frames pass it only
/// while an order is open.
#[derive(Debug)]
pub struct Flow {
    arrived: Vec<Arc<AtomicU64>>,
}

impl Flow {
    /// Begins to count in `pipeline`, which has all of its elements.
    #[must_use]
    pub fn watch(pipeline: &gst::Bin) -> Self {
        let elements: HashSet<_> = pipeline.iterate_recurse().into_iter().flatten().collect();
        let is_keeper = |element: &&gst::Element| {
            element.factory().is_some_and(|it| KEEPERS.contains(&it.name().as_str()))
        };
        let is_sink = |element: &&gst::Element| element.src_pads().is_empty();
        let keepers: Vec<_> = elements.iter().filter(is_keeper).collect();
        let counted = if keepers.is_empty() { elements.iter().filter(is_sink).collect() } else { keepers };
        let pads = counted
            .into_iter()
            .filter(|it| it.downcast_ref::<gst::Bin>().is_none())
            .flat_map(|it| it.sink_pads());
        Self { arrived: pads.map(|pad| count(&pad)).collect() }
    }

    /// Whether there is a pad at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// Frames that have arrived at each pad.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        self.arrived.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

fn count(pad: &gst::Pad) -> Arc<AtomicU64> {
    let arrived = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&arrived);
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
        let frames = info.buffer_list().map_or(1, |list| list.len());
        counter.fetch_add(frames as u64, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    arrived
}

/// Whether frames went on arriving at every pad since it was asked last.
#[derive(Debug, Default)]
pub struct Progress {
    seen: Vec<u64>,
}

impl Progress {
    /// Takes note of `counts`. Whether each of them is greater than when it last was.
    ///
    /// A pad at which nothing arrived keeps what was noted of the others, so that all have the whole time between two
    /// true answers for a frame.
    pub fn has_gone_on(&mut self, counts: &[u64]) -> bool {
        self.seen.resize(counts.len(), 0);
        let all = !counts.is_empty() && counts.iter().zip(&self.seen).all(|(now, before)| now > before);
        if all {
            self.seen.copy_from_slice(counts);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pad_has_to_go_on() {
        let mut progress = Progress::default();
        assert!(!progress.has_gone_on(&[]), "nothing is watched");
        assert!(!progress.has_gone_on(&[0, 0]));
        assert!(!progress.has_gone_on(&[5, 0]));
        assert!(progress.has_gone_on(&[6, 1]));
        assert!(!progress.has_gone_on(&[9, 1]));
        assert!(!progress.has_gone_on(&[12, 1]));
        assert!(progress.has_gone_on(&[12, 2]), "the first went on since the last true answer");
        assert!(!progress.has_gone_on(&[12, 2]));
    }

    #[test]
    fn frames_count_at_sinks_and_nothing_behind_other_pads() {
        gst::init().unwrap();
        let line = "fakesrc num-buffers=7 ! tee name=t t. ! queue ! fakesink t. ! queue ! fakesink";
        let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let flow = Flow::watch(pipeline.upcast_ref());
        assert_eq!(flow.counts(), [0, 0]);
        pipeline.set_state(gst::State::Playing).unwrap();
        let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos]);
        assert!(end.is_some());
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(flow.counts(), [7, 7]);
    }
}
