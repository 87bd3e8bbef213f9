//! A frame as the ring holds it, and what is known of its stream.

use std::sync::{Arc, Mutex};

use swsync_core::frame::{FrameDetails, FrameInfo, LockState, SyncQuality};
use swsync_core::gap::Gap;
use swsync_core::grid::FrameGrid;
use swsync_core::order::MOST_OFFSET;
use swsync_core::ring::{Coding, Entry};
use swsync_core::time::{Rig, Span, Timestamp};

use super::coded::{Follower, Form};
use super::frame_number::Numbers;
use crate::clock::{rig_time, status_of};
use crate::lock::lock;
use crate::meta;

/// GST_ALLOCATOR_SYSMEM.
const ORDINARY: &str = "SystemMemory";

/// Frames that are further from the grid than this, though their camera says that they are on one, are on another.
const ON_GRID: Span = Span::from_millis(1);

/// What caps say of a stream, and how its frames are numbered.
#[derive(Debug)]
pub struct Stream {
    pub caps: gst::Caps,
    pub grid: FrameGrid,
    numbers: Mutex<Numbers>,
    form: Form,
    coded: Mutex<Follower>,
    /// Parameters that came in buffers of their own, for the next frame.
    header: Mutex<Option<gst::Buffer>>,
    remarks: Mutex<Remarks>,
}

/// What there is to say of a stream's frames, once.
#[derive(Debug, Default)]
struct Remarks {
    /// How far a frame is off the grid of its caps that is on another.
    off_grid: Remark<Span>,
    /// That a frame has nothing with it but its PTS.
    bare: Remark<()>,
}

#[derive(Debug, Default)]
struct Remark<T> {
    due: Option<T>,
    is_made: bool,
}

impl<T> Remark<T> {
    fn is_due(&mut self, about: T) {
        if !self.is_made {
            self.due.get_or_insert(about);
        }
    }

    fn make(&mut self) -> Option<T> {
        let about = self.due.take()?;
        self.is_made = true;
        Some(about)
    }
}

impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        (&self.caps, self.grid) == (&other.caps, other.grid)
    }
}

impl Stream {
    pub fn new(caps: gst::Caps, grid: FrameGrid) -> Self {
        let form = Form::of(&caps);
        Self {
            caps,
            grid,
            numbers: Mutex::default(),
            form,
            coded: Mutex::default(),
            header: Mutex::default(),
            remarks: Mutex::default(),
        }
    }

    /// The frame in `buffer`, with what was sent for it before; `None`: it is that alone.
    pub fn whole(&self, mut buffer: gst::Buffer) -> Option<gst::Buffer> {
        if !self.form.is_read() {
            return Some(buffer);
        }
        let is_header = buffer.map_readable().is_ok_and(|map| self.form.is_header(&map));
        let mut header = lock(&self.header);
        if let Some(before) = header.take() {
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
            *header = Some(buffer);
            return None;
        }
        Some(buffer)
    }

    /// Whether pictures build on others.
    fn is_coded(&self) -> bool {
        self.form != Form::Pictures
    }

    /// What whoever runs the pipeline should know of its frames, each once, and what helps.
    pub fn remark(&self) -> Option<(String, &'static str)> {
        let mut remarks = lock(&self.remarks);
        if remarks.bare.make().is_some() {
            let text = "Frames come without what swsyncsrc says of them: they are numbered by their PTS, and whether they were on \
                        the grid, and how they were exposed, is not known";
            let remedy = "An element in between (compositor?) makes buffers of its own and drops metas: put it behind swsyncsink in a \
                          branch of its own, or leave it out. Of a source that is not swsyncsrc, nothing more is to be had";
            return Some((text.into(), remedy));
        }
        let by = remarks.off_grid.make()?;
        let (frames, seconds) = self.grid.rate();
        let text = format!(
            "Frames are off the grid of the {frames}/{seconds} per second that their caps say: one by {by:?}. They are \
             not called locked"
        );
        let remedy = "An element in between (videorate?) has left out or doubled frames to make this rate of another. Have the \
                      camera take them at it: leave that element out, and give the rate in the caps behind swsyncsrc";
        Some((text, remedy))
    }
}

/// A frame in the ring.
#[derive(Debug, Clone)]
pub struct Held {
    pub buffer: gst::Buffer,
    pub info: FrameInfo,
    /// What it builds on.
    pub coding: Coding,
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
    /// The frame in `buffer`; `None` where it has no time, or another one its number.
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
        let coding = lock(&stream.coded).coding(&stream.form, &buffer);
        let time = meta::rig_time_of(&buffer).or_else(by_clock)?;
        let Some((info, gap)) = frame_info(&buffer, time, stream, clock) else {
            tracing::debug!(?time, "another frame has this one's number");
            return None;
        };
        let mut buffer = detached(buffer);
        if !coding.is_key() && stream.is_coded() && !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
            // Whoever reads it from here on is to know.
            buffer.make_mut().set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        Some(Self { buffer, info, coding, gap, stream: Arc::clone(stream), segment: segment.clone() })
    }

    /// Its place in the ring.
    pub fn into_entry(self) -> Entry<Self> {
        Entry {
            number: self.info.number,
            time: self.info.rig_time_ns,
            bytes: self.buffer.size(),
            coding: self.coding,
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
    stream: &Stream,
    clock: Option<&gst::Clock>,
) -> Option<(FrameInfo, Option<Gap>)> {
    let grid = stream.grid;
    let details = meta::details_of(buffer);
    // Cameras that take turns are off the grid's instants by as much as they were told to be. A number that is
    // far from the time counts frames of another rate than they have here.
    let told = details.as_ref().filter(|details| (grid.instant(details.number) - time).abs() <= MOST_OFFSET);
    let (told, told_phase, gap) =
        told.map_or((None, None, None), |told| (Some(told.number), Some(told.phase_error), told.gap));
    let number = lock(&stream.numbers).give(told, time, grid, stream.is_coded())?;
    let told_phase = told_phase.filter(|_| told == Some(number));
    let mut info = FrameInfo {
        number,
        rig_time_ns: time,
        phase_error_ns: told_phase.unwrap_or_else(|| time - grid.instant(number)),
        clock_uncertainty_ns: None,
        sync: SyncQuality::Unsynced,
        lock: None,
        exposure_ns: None,
        analogue_gain: None,
        sensor_time_ns: None,
        details: FrameDetails::default(),
    };
    if let Some(details) = details {
        info.clock_uncertainty_ns = details.clock_uncertainty;
        info.sync = details.sync;
        if told_phase.is_some() || info.phase_error_ns.abs() <= ON_GRID {
            info.lock = Some(details.lock);
        } else {
            info.lock = Some(LockState::Free);
            lock(&stream.remarks).off_grid.is_due(info.phase_error_ns);
        }
        info.exposure_ns = details.exposure;
        info.analogue_gain = details.analogue_gain;
        info.sensor_time_ns = details.sensor_time;
        info.details = details.frame;
    } else {
        // An element dropped the meta, or the source is another one: what the clock says now.
        lock(&stream.remarks).bare.is_due(());
        if let Some(status) = clock.map(status_of) {
            info.clock_uncertainty_ns = status.uncertainty_ns;
            info.sync = status.quality;
        }
    }
    Some((info, gap))
}
