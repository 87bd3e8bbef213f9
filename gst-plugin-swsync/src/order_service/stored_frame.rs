//! A frame as the ring stores it, and what is known of its stream.

use std::sync::Arc;

use parking_lot::Mutex;
use swsync_core::coded::{CodedFrame, Coding, DependencyTracker, StreamFormat};
use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::frame_number::FrameNumbers;
use swsync_core::gap::FrameGap;
use swsync_core::grid::FrameGrid;
use swsync_core::log;
use swsync_core::order::MAX_FRAME_OFFSET;
use swsync_core::ring::RingFrame;
use swsync_core::status::ClockLog;
use swsync_core::time::{Rig, Span, Timestamp};

use super::stream_warnings::StreamWarnings;
use crate::clock::{rig_time, status_of};
use crate::meta;

/// GST_ALLOCATOR_SYSMEM.
const SYSTEM_MEMORY: &str = "SystemMemory";

/// A frame whose camera says that it is on a grid, but which is further than this from the grid of the caps, is on another grid.
const ON_GRID: Span = Span::from_millis(1);

/// What the caps say of a stream, and what is remembered from frame to frame.
#[derive(Debug)]
pub struct Stream {
    pub caps: gst::Caps,
    pub grid: FrameGrid,
    numbers: Mutex<FrameNumbers>,
    /// How good the clock was, for frames that do not say so themselves.
    clock: Mutex<ClockLog>,
    format: StreamFormat,
    dependencies: Mutex<DependencyTracker>,
    /// Parameters that came in a buffer of their own, for the next frame.
    parameters: Mutex<Option<gst::Buffer>>,
    warnings: Mutex<StreamWarnings>,
}

impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        (&self.caps, self.grid) == (&other.caps, other.grid)
    }
}

impl Stream {
    pub fn new(caps: gst::Caps, grid: FrameGrid) -> Self {
        let format = format_of(&caps);
        Self {
            caps,
            grid,
            numbers: Mutex::default(),
            clock: Mutex::default(),
            format,
            dependencies: Mutex::default(),
            parameters: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// The frame in `buffer`, with the parameters that came before it; `None`: it has parameters only.
    pub fn with_parameters(&self, mut buffer: gst::Buffer) -> Option<gst::Buffer> {
        if !self.format.is_parsed() {
            return Some(buffer);
        }
        let is_header = buffer.map_readable().is_ok_and(|map| self.format.is_header(&map));
        let mut parameters = self.parameters.lock();
        if let Some(before) = parameters.take() {
            let is_after_loss = before.flags().contains(gst::BufferFlags::DISCONT);
            let whole = buffer.make_mut();
            for memory in before.iter_memories_owned().collect::<Vec<_>>().into_iter().rev() {
                whole.prepend_memory(memory);
            }
            if is_after_loss {
                whole.set_flags(gst::BufferFlags::DISCONT);
            }
        }
        if is_header {
            *parameters = Some(buffer);
            return None;
        }
        Some(buffer)
    }

    /// Which other frames the next frame, in `buffer`, depends on.
    fn coding(&self, buffer: &gst::BufferRef) -> Coding {
        let flags = buffer.flags();
        let map = self.format.is_parsed().then(|| buffer.map_readable().ok()).flatten();
        let frame = CodedFrame {
            is_key: !flags.contains(gst::BufferFlags::DELTA_UNIT),
            is_discont: flags.contains(gst::BufferFlags::DISCONT),
            is_corrupted: flags.contains(gst::BufferFlags::CORRUPTED),
            pts: buffer.pts().map(gst::ClockTime::nseconds),
            bytes: map.as_deref(),
        };
        self.dependencies.lock().coding(self.format, &frame)
    }

    /// Whether frames may need others to be decoded.
    fn is_coded(&self) -> bool {
        self.format != StreamFormat::Intra
    }

    /// A warning about the stream's frames that is due, and what helps; each once.
    pub fn warning(&self) -> Option<(String, &'static str)> {
        self.warnings.lock().give(self.grid)
    }
}

/// The format that `caps` describe.
fn format_of(caps: &gst::CapsRef) -> StreamFormat {
    let Some(structure) = caps.structure(0) else { return StreamFormat::Unknown };
    let data = structure.get::<gst::Buffer>("codec_data").ok();
    let data = data.as_ref().and_then(|data| data.map_readable().ok());
    StreamFormat::new(structure.name(), structure.get("stream-format").ok(), data.as_deref())
}

/// A frame in the ring.
#[derive(Debug, Clone)]
pub struct StoredFrame {
    pub buffer: gst::Buffer,
    pub info: FrameInfo,
    /// What is needed to decode it.
    pub coding: Coding,
    /// The last gap before it; `None`: its source does not report gaps.
    pub gap: Option<FrameGap>,
    pub stream: Arc<Stream>,
    /// Of the pipeline when it arrived.
    pub segment: gst::FormattedSegment<gst::ClockTime>,
}

impl PartialEq for StoredFrame {
    fn eq(&self, other: &Self) -> bool {
        self.buffer == other.buffer && self.info == other.info && self.stream == other.stream
    }
}

impl StoredFrame {
    /// The frame in `buffer`; `None` if it has no time, or another frame has its number.
    ///
    /// Its time is the rig time that it carries, or else its running time on `clock`.
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
        let coding = stream.coding(&buffer);
        let time = meta::rig_time_of(&buffer).or_else(by_clock)?;
        let Some((info, gap)) = frame_info(&buffer, time, stream, clock) else {
            log::debug!(?time, "another frame has this one's number");
            return None;
        };
        let mut buffer = in_system_memory(buffer);
        if !coding.is_key() && stream.is_coded() && !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
            // Some parsers leave it out: muxers and readers need it.
            buffer.make_mut().set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        Some(Self { buffer, info, coding, gap, stream: Arc::clone(stream), segment: segment.clone() })
    }

    pub fn into_ring_frame(self) -> RingFrame<Self> {
        RingFrame {
            number: self.info.number,
            time: self.info.rig_time_ns,
            bytes: self.buffer.size(),
            coding: self.coding,
            gap: self.gap,
            timescale: self.info.timescale,
            payload: self,
        }
    }
}

/// The same frame in system memory. Cameras and hardware encoders have few buffers: a ring that kept them would leave the
/// device without any.
fn in_system_memory(buffer: gst::Buffer) -> gst::Buffer {
    if buffer.iter_memories().all(|memory| memory.is_type(SYSTEM_MEMORY)) {
        return buffer;
    }
    match buffer.copy_deep() {
        Ok(copy) => copy,
        Err(error) => {
            log::warn!(%error, "a frame cannot be copied, so it is kept in the memory it came in");
            buffer
        }
    }
}

/// What is known of the frame in `buffer`, which was taken at `time`, and the last gap before it.
fn frame_info(
    buffer: &gst::BufferRef,
    time: Timestamp<Rig>,
    stream: &Stream,
    clock: Option<&gst::Clock>,
) -> Option<(FrameInfo, Option<FrameGap>)> {
    let grid = stream.grid;
    let details = meta::details_of(buffer);
    // The meta's number counts, if it is of this grid: frames with `phase-offset` lie off the grid's instants by as much. A
    // number that is further from the time counts frames of another rate.
    let valid =
        details.as_ref().filter(|details| (grid.instant(details.number) - time).abs() <= MAX_FRAME_OFFSET);
    let (meta_number, meta_phase, gap) =
        valid.map_or((None, None, None), |meta| (Some(meta.number), Some(meta.phase_error), meta.gap));
    let number = stream.numbers.lock().number(meta_number, time, grid, stream.is_coded())?;
    let meta_phase = meta_phase.filter(|_| meta_number == Some(number));
    let mut info = FrameInfo::new(number, time, meta_phase.unwrap_or_else(|| time - grid.instant(number)));
    if let Some(details) = details {
        info.clock_uncertainty_ns = details.clock_uncertainty;
        (info.sync, info.timescale) = (details.sync, details.timescale);
        if meta_phase.is_some() || info.phase_error_ns.abs() <= ON_GRID {
            info.lock = Some(details.lock);
        } else {
            info.lock = Some(LockState::Free);
            stream.warnings.lock().raise_off_grid(info.phase_error_ns);
        }
        info.exposure_ns = details.exposure;
        info.analogue_gain = details.analogue_gain;
        info.sensor_time_ns = details.sensor_time;
        info.details = details.frame;
    } else {
        // An element dropped the meta, or the source is another one: only the clock itself can tell.
        stream.warnings.lock().raise_without_meta();
        if let Some(status) = clock.map(status_of) {
            let mut log = stream.clock.lock();
            log.note(&status);
            let (sync, timescale) = log.at(time).unwrap_or((status.quality, status.timescale()));
            info.clock_uncertainty_ns = status.uncertainty_ns;
            (info.sync, info.timescale) = (sync, timescale);
        }
    }
    Some((info, gap))
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use gst::prelude::Cast as _;
    use swsync_core::frame::SyncState;
    use swsync_time::{DeviceClock, RigClock};

    use super::*;
    use crate::clock::{SwsyncClock, clock_time};

    /// Frames without a meta, on a clock that leads or knows nothing.
    struct Arrivals {
        rig: Arc<RigClock>,
        clock: SwsyncClock,
        stream: Arc<Stream>,
    }

    impl Arrivals {
        fn new() -> Self {
            gst::init().unwrap();
            let rig = Arc::new(RigClock::new(Arc::new(DeviceClock::real())));
            rig.lead(7);
            let clock = SwsyncClock::new("test", rig.clone());
            clock.start();
            let caps = gst::Caps::builder("image/jpeg").build();
            let stream = Arc::new(Stream::new(caps, FrameGrid::new(1_000, 1).unwrap()));
            Self { rig, clock, stream }
        }

        /// What is known of a frame that was taken at `time` and arrives now.
        fn arrive(&self, time: Timestamp<Rig>) -> FrameInfo {
            let mut buffer = gst::Buffer::new();
            buffer.get_mut().unwrap().set_pts(clock_time(time));
            let segment = gst::FormattedSegment::new();
            let (clock, base) = (Some(self.clock.upcast_ref()), Some(gst::ClockTime::ZERO));
            StoredFrame::new(buffer, &self.stream, &segment, clock, base).expect("it has a time").info
        }

        /// A frame that arrives at once, after some time without.
        fn next(&self) -> FrameInfo {
            sleep(Duration::from_millis(5));
            let info = self.arrive(self.rig.now());
            sleep(Duration::from_millis(5));
            info
        }
    }

    #[test]
    fn a_frame_without_meta_has_the_state_of_the_clock_when_it_was_taken() {
        let arrivals = Arrivals::new();
        assert_eq!(arrivals.next().sync, SyncState::Leading);
        let good = arrivals.rig.now();
        assert_eq!(arrivals.next().sync, SyncState::Leading);
        arrivals.rig.forget();
        assert_eq!(arrivals.next().sync, SyncState::Unsynced);
        let bad = arrivals.rig.now();
        assert_eq!(arrivals.next().sync, SyncState::Unsynced);
        // An encoder had held them back.
        assert_eq!(arrivals.arrive(good).sync, SyncState::Leading);
        arrivals.rig.lead(7);
        arrivals.next();
        assert_eq!(arrivals.arrive(bad).sync, SyncState::Unsynced);
        assert_eq!(arrivals.next().sync, SyncState::Leading);
    }
}
