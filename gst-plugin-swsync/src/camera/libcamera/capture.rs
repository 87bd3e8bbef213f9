//! A streaming camera: its requests, and the frames of those that are completed.
//!
//! As many requests are in flight at any time as the pipeline handlers ask for. When a frame arrives, an idle request replaces it
//! immediately, and the frame's own memory goes downstream. When downstream holds all spare frame buffers, the frame is copied
//! and its own request is queued again. So the camera never waits for downstream, and controls always take the same time to
//! reach it.

use std::collections::VecDeque;

use ::libcamera::request::Request;
use gst::prelude::*;
use gst_video::VideoBufferPool;
use swsync_core::stamps::{Arrival, StampIdentifier, StampMismatch};
use swsync_core::time::Span;

use super::frame_memory::FrameBufferMemory;
use super::picture::PlaneLayout;
use super::pool::CameraBufferPool;
use super::sensor::{self, BufferMetadata, Pictures, REQUESTS, Sequence};
use super::session::{ConfiguredCamera, ConfiguredStream, Requests};
use crate::camera::{Controls, Frame, StallLimit};

/// Frames between checks for libcamera's own synchronisation: a check asks for each control that libcamera knows.
const SYNC_CHECK: u64 = 64;

/// Two mechanisms that shift the same frames would work against each other.
const SYNCHRONISED_ELSEWHERE: &str = "libcamera's own synchronisation (rpi::SyncMode) is on and moves this camera's \
     frames, as swsyncsrc does. Switch one of them off: SyncMode in the program or tuning file that sets it, or use \
     libcamerasrc";

pub(super) struct Capture {
    pub(super) configured: ConfiguredCamera,
    pub(super) pool: CameraBufferPool,
    /// How many requests are kept in flight.
    depth: usize,
    /// By cookie.
    slots: Vec<Slot>,
    /// For copies, by stream; `None` for compressed pictures, whose size varies.
    copy_pools: Vec<Option<gst::BufferPool>>,
    /// Sets of controls for the next requests, one each.
    pub(super) controls: VecDeque<Controls>,
    pub(super) in_flight: usize,
    sequence: Sequence,
    stamps: StampIdentifier,
    frames: u64,
    pub(super) gone: Option<String>,
}

/// Where the pictures of one request lie, by stream.
struct Slot {
    streams: Vec<Placement>,
}

struct Placement {
    /// Whether libcamera has allocated the frame buffer.
    allocated: bool,
    placed: PlaneLayout,
    /// Whether frames can go downstream without a copy.
    as_is: bool,
}

/// What [`Capture::take`] makes of a completed request.
pub(super) struct CompletedFrame {
    /// `None` if the frame is empty, has a bad stamp, or would have to be copied and cannot be.
    pub(super) frame: Result<Option<Frame>, CaptureError>,
    /// The request, if its memory has not gone downstream.
    pub(super) request: Option<Request>,
}

/// Why capturing cannot go on.
pub(super) enum CaptureError {
    /// Frames are stamped by an unknown clock.
    Stamps(StampMismatch),
    Other(String),
}

impl From<String> for CaptureError {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

impl Capture {
    /// Begins with the requests that the session has made. All are idle.
    ///
    /// # Errors
    /// GStreamer has no memory, or the driver's planes make no sense.
    pub(super) fn new(configured: ConfiguredCamera, (requests, planes): Requests) -> Result<Self, String> {
        let copy_pools = configured.streams.iter().map(picture_pool).collect::<Result<Vec<_>, _>>()?;
        let slots = planes.iter().map(|planes| Slot::new(&configured, planes)).collect::<Result<_, _>>()?;
        let memories = planes.into_iter().map(|planes| planes.into_iter().map(|of| of.memories).collect());
        let pool = CameraBufferPool::new(memories.collect());
        // One has to be left to replace a frame that goes downstream.
        let depth = (REQUESTS as usize).min(requests.len().saturating_sub(1)).max(1);
        for request in requests {
            pool.put_back(request);
        }
        Ok(Self {
            configured,
            pool,
            depth,
            slots,
            copy_pools,
            controls: VecDeque::new(),
            in_flight: 0,
            sequence: Sequence::default(),
            stamps: StampIdentifier::default(),
            frames: 0,
            gone: None,
        })
    }

    /// A request to queue, if fewer are in flight than should be.
    pub(super) fn next_request(&self) -> Option<Request> {
        (self.in_flight < self.depth).then(|| self.pool.take_idle()).flatten()
    }

    fn period(&self) -> Span {
        self.configured.streams.first().map_or(Span::ZERO, |stream| stream.wanted.period)
    }

    /// How long the next frame may take.
    pub(super) fn longest_wait(&self, stall_limit: StallLimit) -> Span {
        let period = self.period();
        if self.frames > 0 { stall_limit.next(period) } else { stall_limit.first(period) }
    }

    /// Takes the frame of a request that was completed at `arrival`.
    pub(super) fn take(&mut self, request: Request, arrival: Arrival) -> CompletedFrame {
        let check = self.frames.is_multiple_of(SYNC_CHECK);
        self.frames += 1;
        let elsewhere = check && sensor::is_synchronised_elsewhere(request.metadata());
        let cookie = usize::try_from(request.cookie()).unwrap_or(usize::MAX);
        let spare = self.pool.idle() > 0;
        let pictures = if elsewhere {
            Err(CaptureError::Other(SYNCHRONISED_ELSEWHERE.to_owned()))
        } else {
            self.pictures(&request, cookie, spare).map_err(CaptureError::from)
        };
        let frame = pictures.and_then(|pictures| match pictures {
            Some(pictures) => self.frame(pictures, &request, arrival),
            None => Ok(None),
        });
        // Also if there is no frame: then its memory is back already.
        let request = if spare {
            self.pool.put_back(request);
            None
        } else {
            Some(request)
        };
        CompletedFrame { frame, request }
    }

    /// The frame with these `pictures`, if its stamp can be read.
    fn frame(
        &mut self,
        pictures: Pictures,
        request: &Request,
        arrival: Arrival,
    ) -> Result<Option<Frame>, CaptureError> {
        let stamp = sensor::stamp(request, pictures.filled);
        let stamp = stamp.ok_or_else(|| "the driver does not say when it was taken".to_owned())?;
        let stamped = match self.stamps.handle(stamp, arrival, self.period()) {
            Ok(stamped) => stamped,
            Err(misfit) if misfit.is_lasting() => return Err(CaptureError::Stamps(misfit)),
            Err(misfit) => {
                swsync_core::log::warn!(%misfit, "a frame is dropped: its stamp is of an unknown clock");
                return Ok(None);
            }
        };
        let can = self.configured.controllable;
        Ok(Some(sensor::frame(pictures, request, stamped, &mut self.sequence, can)))
    }

    /// The pictures of `request`: the frame buffers themselves if they are `lent`, else copies. `None` if one is empty, or
    /// would have to be copied and downstream takes dma-bufs only.
    fn pictures(&self, request: &Request, cookie: usize, lent: bool) -> Result<Option<Pictures>, String> {
        let streams = &self.configured.streams;
        if !lent && streams.iter().any(|stream| stream.wanted.dma_bufs_only) {
            return Ok(None);
        }
        let slot = self.slots.get(cookie).ok_or("the request is not ours")?;
        let mut pictures = Vec::with_capacity(streams.len());
        let mut main = None;
        for (index, ((stream, placement), pool)) in
            streams.iter().zip(&slot.streams).zip(&self.copy_pools).enumerate()
        {
            let filled = sensor::filled(request, &stream.stream, placement.allocated);
            let picture = if lent && placement.as_is {
                let buffer = self.pool.lend(cookie, index).ok_or("its memory is still in use")?;
                as_it_is(stream, placement, buffer, filled)?
            } else {
                copy(stream, placement, self.pool.read(cookie, index), filled, pool.as_ref())?
            };
            let Some(mut picture) = picture else {
                return Ok(None);
            };
            if filled.is_some_and(|filled| filled.damaged) {
                picture.make_mut().set_flags(gst::BufferFlags::CORRUPTED);
            }
            if index == 0 {
                main = filled;
            }
            pictures.push(picture);
        }
        Ok(Some(Pictures { pictures, copied: !lent, filled: main }))
    }
}

/// The picture in `buffer`, which has the memory that the camera wrote to; `None` if it is empty.
fn as_it_is(
    stream: &ConfiguredStream,
    placement: &Placement,
    mut buffer: gst::Buffer,
    filled: Option<BufferMetadata>,
) -> Result<Option<gst::Buffer>, String> {
    let writable = buffer.make_mut();
    stream.wanted.describe(writable, &placement.placed)?;
    if let (None, None) = (&stream.wanted.layout, stream.wanted.copied_size()) {
        let Some(size) = compressed_size(filled, writable.size()) else {
            return Ok(None);
        };
        writable.set_size(size);
    }
    Ok(Some(buffer))
}

/// A copy of the picture in the memories `own`; `None` if it is empty.
fn copy(
    stream: &ConfiguredStream,
    placement: &Placement,
    own: Vec<gst::Memory>,
    filled: Option<BufferMetadata>,
    pool: Option<&gst::BufferPool>,
) -> Result<Option<gst::Buffer>, String> {
    let maps = own.into_iter().map(gst::Memory::into_mapped_memory_readable).collect::<Result<Vec<_>, _>>();
    let maps = maps.map_err(|_| "its memory cannot be read")?;
    let planes = placement.placed.bytes(&maps)?;
    let Some(pool) = pool else {
        let data = planes.first().copied().unwrap_or_default();
        let used = compressed_size(filled, data.len());
        return Ok(used.map(|used| gst::Buffer::from_slice(data[..used].to_vec())));
    };
    let mut buffer = pool.acquire_buffer(None).map_err(|error| error.to_string())?;
    stream.wanted.copy(&placement.placed, &planes, buffer.make_mut())?;
    Ok(Some(buffer))
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.pool.close();
        for pool in self.copy_pools.iter().flatten() {
            let _ = pool.set_active(false);
        }
    }
}

impl Slot {
    fn new(configured: &ConfiguredCamera, planes: &[FrameBufferMemory]) -> Result<Self, String> {
        let streams = configured.streams.iter().zip(planes).map(|(stream, planes)| {
            let placed = stream.wanted.placed(stream.stride, &planes.offsets())?;
            let as_is = stream.wanted.goes_out_as(&placed);
            Ok(Placement { allocated: planes.allocated, placed, as_is })
        });
        Ok(Self { streams: streams.collect::<Result<_, String>>()? })
    }
}

/// Bytes of the compressed picture in a buffer of `size` bytes; `None` for an empty frame, which v4l2src drops too. If the
/// driver does not say, the whole buffer counts.
fn compressed_size(filled: Option<BufferMetadata>, size: usize) -> Option<usize> {
    match filled.and_then(|filled| filled.bytes_used) {
        Some(0) => None,
        Some(used) => Some(used.min(size)),
        None => Some(size),
    }
}

/// Buffers for copies of pictures; `None` for compressed ones. They are made when first needed, and reused, because fresh
/// memory for each frame costs page faults.
fn picture_pool(stream: &ConfiguredStream) -> Result<Option<gst::BufferPool>, String> {
    let Some(size) = stream.wanted.copied_size() else {
        return Ok(None);
    };
    let size = u32::try_from(size).map_err(|error| error.to_string())?;
    let pool: gst::BufferPool = if stream.wanted.layout.is_some() && !stream.wanted.dma_bufs_only {
        VideoBufferPool::new().upcast()
    } else {
        gst::BufferPool::new()
    };
    let mut config = pool.config();
    config.set_params(Some(&stream.wanted.caps), size, 0, 0);
    pool.set_config(config).and_then(|()| pool.set_active(true)).map_err(|error| error.to_string())?;
    Ok(Some(pool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_pictures_are_as_long_as_the_driver_says() {
        let size = |bytes_used| {
            compressed_size(
                Some(BufferMetadata { sequence: 0, timestamp: 0, damaged: false, bytes_used }),
                100_000,
            )
        };
        assert_eq!(size(Some(4_321)), Some(4_321));
        assert_eq!(size(Some(100_001)), Some(100_000), "never beyond the buffer");
        assert_eq!(size(Some(0)), None, "an empty frame is no picture");
        assert_eq!((size(None), compressed_size(None, 7)), (Some(100_000), Some(7)));
    }
}
