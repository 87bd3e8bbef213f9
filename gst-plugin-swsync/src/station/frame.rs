//! A frame as the ring holds it, and what is known of its stream.

use std::sync::Arc;

use swsync_core::frame::{FrameDetails, FrameInfo, LockState, SyncQuality};
use swsync_core::gap::Gap;
use swsync_core::grid::FrameGrid;
use swsync_core::order::MOST_OFFSET;
use swsync_core::ring::Entry;
use swsync_core::time::{Rig, Timestamp};

use crate::clock::{rig_time, status_of};
use crate::meta;

/// GST_ALLOCATOR_SYSMEM.
const ORDINARY: &str = "SystemMemory";

/// What caps say of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub caps: gst::Caps,
    pub grid: FrameGrid,
}

/// A frame in the ring.
#[derive(Debug, Clone)]
pub struct Held {
    pub buffer: gst::Buffer,
    pub info: FrameInfo,
    /// The last gap of its source; `None`: the source does not tell of gaps.
    pub gap: Option<Gap>,
    pub stream: Arc<Stream>,
    /// Of the pipeline when it arrived.
    pub segment: gst::FormattedSegment<gst::ClockTime>,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.buffer == other.buffer && self.info == other.info && self.stream == other.stream
    }
}

impl Held {
    /// The frame in `buffer`; `None` where it has no time.
    ///
    /// It is numbered by its rig time, or on a source that knows none by its running time on `clock`.
    pub fn new(
        buffer: gst::Buffer,
        stream: &Arc<Stream>,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        clock: Option<&gst::Clock>,
        base_time: Option<gst::ClockTime>,
    ) -> Option<Self> {
        let by_clock = || {
            let running = segment.to_running_time(buffer.pts()?)?;
            Some(rig_time(base_time? + running))
        };
        let time = meta::rig_time_of(&buffer).or_else(by_clock)?;
        let (info, gap) = frame_info(&buffer, time, stream.grid, clock);
        let buffer = detached(buffer);
        Some(Self { buffer, info, gap, stream: Arc::clone(stream), segment: segment.clone() })
    }

    /// Its place in the ring.
    pub fn into_entry(self) -> Entry<Self> {
        Entry {
            number: self.info.number,
            time: self.info.rig_time_ns,
            bytes: self.buffer.size(),
            key: !self.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            gap: self.gap,
            payload: self,
        }
    }
}

/// The same frame in ordinary memory. A ring that kept that of a camera or of an encoder in hardware would leave it
/// without any.
fn detached(buffer: gst::Buffer) -> gst::Buffer {
    if buffer.iter_memories().all(|memory| memory.is_type(ORDINARY)) {
        return buffer;
    }
    match buffer.copy_deep() {
        Ok(copy) => copy,
        Err(error) => {
            tracing::warn!(%error, "a frame cannot be copied, so it is kept where it is");
            buffer
        }
    }
}

/// What is known of the frame in `buffer`, which was taken at `time`, and the last gap before it.
fn frame_info(
    buffer: &gst::BufferRef,
    time: Timestamp<Rig>,
    grid: FrameGrid,
    clock: Option<&gst::Clock>,
) -> (FrameInfo, Option<Gap>) {
    let mut gap = None;
    let mut info = FrameInfo {
        number: grid.nearest(time),
        rig_time_ns: time,
        phase_error_ns: grid.phase_error(time),
        clock_uncertainty_ns: None,
        sync: SyncQuality::Unsynced,
        lock: LockState::Free,
        exposure_ns: None,
        analogue_gain: None,
        sensor_time_ns: None,
        details: FrameDetails::default(),
    };
    if let Some(details) = meta::details_of(buffer) {
        // Cameras that take turns are off the grid's instants by as much as they were told to be. A number that is
        // far from the time counts frames of another rate than they have here.
        if (grid.instant(details.number) - time).abs() <= MOST_OFFSET {
            (info.number, info.phase_error_ns) = (details.number, details.phase_error);
            gap = details.gap;
        }
        info.clock_uncertainty_ns = details.clock_uncertainty;
        info.sync = details.sync;
        info.lock = details.lock;
        info.exposure_ns = details.exposure;
        info.analogue_gain = details.analogue_gain;
        info.sensor_time_ns = details.sensor_time;
        info.details = details.frame;
    } else if let Some(status) = clock.map(status_of) {
        // The encoder dropped the meta, or the source is another one: what the clock says now.
        info.clock_uncertainty_ns = status.uncertainty_ns;
        info.sync = status.quality;
    }
    (info, gap)
}
