//! A streaming camera: requests on their way round, and pictures out of them.
//!
//! So many requests are in flight at any time as the pipeline handlers ask for: a frame that arrives is
//! replaced at once by a request that nobody uses, and its own memory goes downstream. Where downstream
//! holds all spare frame buffers, the frame is copied and its own request goes back instead. The camera
//! therefore never waits for downstream, and controls always take the same time to reach it.

use std::collections::VecDeque;

use ::libcamera::framebuffer::FrameMetadataStatus;
use ::libcamera::request::Request;
use gst::prelude::*;
use gst_video::VideoBufferPool;
use swsync_core::time::Span;

use super::memory::{Lender, Planes};
use super::picture::Placed;
use super::sensor::{self, Pictures, Sequence};
use super::session::{Configured, ConfiguredStream, REQUESTS, Requests};
use crate::camera::{Controls, Frame, Patience};

/// Frames from one look at who else moves the camera's frames to the next: it takes asking for each control
/// that libcamera knows.
const SYNC_CHECK: u64 = 64;

/// Two that shift the same frames would chase each other for ever.
const SYNCHRONISED_ELSEWHERE: &str = "libcamera's own synchronisation (rpi::SyncMode) is on and moves this camera's \
     frames, as swsyncsrc does. Switch one of them off: SyncMode in the program or tuning file that sets it, or use \
     libcamerasrc";

pub(super) struct Streaming {
    pub(super) configured: Configured,
    pub(super) lender: Lender,
    /// How many requests are in flight when all is well.
    depth: usize,
    /// By cookie.
    slots: Vec<Slot>,
    /// Of each stream, for copies. Compressed pictures have a size of their own each.
    pools: Vec<Option<gst::BufferPool>>,
    /// To go out with the next requests, one each.
    pub(super) controls: VecDeque<Controls>,
    pub(super) in_flight: usize,
    sequence: Sequence,
    frames: u64,
    pub(super) gone: Option<String>,
}

/// Where the pictures of one request lie.
struct Slot {
    streams: Vec<Placement>,
}

struct Placement {
    /// How many of the request's memories are this stream's.
    memories: usize,
    placed: Placed,
    /// Whether frames can go out as they are.
    as_is: bool,
}

/// What became of a request that brought a frame.
pub(super) struct Taken {
    /// `None`: downstream holds too much, and the frame could not be copied; or it is an empty one.
    pub(super) frame: Result<Option<Frame>, String>,
    /// The request, where its memory is not lent.
    pub(super) request: Option<Request>,
}

impl Streaming {
    /// Of the requests that a session started with; they are idle.
    ///
    /// # Errors
    /// Where GStreamer has no memory, or the driver's planes make no sense.
    pub(super) fn new(configured: Configured, (requests, planes): Requests) -> Result<Self, String> {
        let pools = configured.streams.iter().map(picture_pool).collect::<Result<Vec<_>, _>>()?;
        let slots = planes.iter().map(|planes| Slot::new(&configured, planes)).collect::<Result<_, _>>()?;
        let memories =
            planes.into_iter().map(|planes| planes.into_iter().flat_map(|of| of.memories).collect());
        let lender = Lender::new(memories.collect());
        // One must be left to replace another.
        let depth = (REQUESTS as usize).min(requests.len().saturating_sub(1)).max(1);
        for request in requests {
            lender.park(request);
        }
        Ok(Self {
            configured,
            lender,
            depth,
            slots,
            pools,
            controls: VecDeque::new(),
            in_flight: 0,
            sequence: Sequence::default(),
            frames: 0,
            gone: None,
        })
    }

    /// A request to queue, while fewer are in flight than should be.
    pub(super) fn next_request(&self) -> Option<Request> {
        (self.in_flight < self.depth).then(|| self.lender.take_idle()).flatten()
    }

    /// How long the next frame may take.
    pub(super) fn longest_wait(&self, patience: Patience) -> Span {
        let period = self.configured.streams.first().map_or(Span::ZERO, |stream| stream.wanted.period);
        if self.frames > 0 { patience.next(period) } else { patience.first(period) }
    }

    /// The frame that `request` brought.
    pub(super) fn take(&mut self, request: Request) -> Taken {
        let check = self.frames.is_multiple_of(SYNC_CHECK);
        self.frames += 1;
        let elsewhere = check && sensor::is_synchronised_elsewhere(request.metadata());
        let cookie = usize::try_from(request.cookie()).unwrap_or(usize::MAX);
        let spare = self.lender.idle() > 0;
        let pictures = if spare { self.lend(cookie, &request) } else { self.copies(cookie, &request) };
        let frame = pictures.and_then(|pictures| {
            if elsewhere {
                return Err(SYNCHRONISED_ELSEWHERE.to_owned());
            }
            let Some(pictures) = pictures else {
                return Ok(None);
            };
            let streams = &self.configured.streams;
            let stream = &streams.first().ok_or("there is no stream")?.stream;
            let frame =
                sensor::frame(pictures, &request, stream, &mut self.sequence, self.configured.controllable);
            frame.map(Some).ok_or_else(|| "the driver does not say when it was taken".to_owned())
        });
        // Also where the frame came to nothing: its memory is home by now.
        let request = if spare {
            self.lender.park(request);
            None
        } else {
            Some(request)
        };
        Taken { frame, request }
    }

    /// The frame buffers themselves.
    fn lend(&self, cookie: usize, request: &Request) -> Result<Option<Pictures>, String> {
        let slot = self.slots.get(cookie).ok_or("the request is not ours")?;
        let mut memories = self.lender.lend(cookie).into_iter();
        let mut buffers = Vec::with_capacity(slot.streams.len());
        for (index, (stream, placement)) in self.configured.streams.iter().zip(&slot.streams).enumerate() {
            let own: Vec<gst::Memory> = memories.by_ref().take(placement.memories).collect();
            let mut buffer = gst::Buffer::new();
            if placement.as_is {
                let writable = buffer.make_mut();
                own.into_iter().for_each(|memory| writable.append_memory(memory));
                stream.wanted.describe(writable, &placement.placed)?;
                if let (None, None) = (&stream.wanted.layout, stream.wanted.copied_size()) {
                    let Some(size) = compressed_size(request, stream, writable.size()) else {
                        return Ok(None);
                    };
                    writable.set_size(size);
                }
            } else {
                let Some(copy) = self.copy(index, placement, &own, request)? else { return Ok(None) };
                buffer = copy;
            }
            self.flag(request, stream, &mut buffer);
            buffers.push(buffer);
        }
        Ok(pictures(buffers, false))
    }

    /// Copies of the pictures; `None` where a reader takes nothing but the frame buffers themselves.
    fn copies(&self, cookie: usize, request: &Request) -> Result<Option<Pictures>, String> {
        if self.configured.streams.iter().any(|stream| stream.wanted.dma_bufs_only) {
            return Ok(None);
        }
        let slot = self.slots.get(cookie).ok_or("the request is not ours")?;
        let mut memories = self.lender.read(cookie).into_iter();
        let mut buffers = Vec::with_capacity(slot.streams.len());
        for (index, (stream, placement)) in self.configured.streams.iter().zip(&slot.streams).enumerate() {
            let own: Vec<gst::Memory> = memories.by_ref().take(placement.memories).collect();
            let Some(mut buffer) = self.copy(index, placement, &own, request)? else { return Ok(None) };
            self.flag(request, stream, &mut buffer);
            buffers.push(buffer);
        }
        Ok(pictures(buffers, true))
    }

    /// A copy of one picture; `None` where there is none.
    fn copy(
        &self,
        index: usize,
        placement: &Placement,
        memories: &[gst::Memory],
        request: &Request,
    ) -> Result<Option<gst::Buffer>, String> {
        let stream = self.configured.streams.get(index).ok_or("there is no such stream")?;
        let maps = memories.iter().map(|memory| memory.map_readable()).collect::<Result<Vec<_>, _>>();
        let maps = maps.map_err(|error| error.to_string())?;
        let planes = placement.placed.bytes(&maps)?;
        let Some(pool) = self.pools.get(index).and_then(Option::as_ref) else {
            let data = planes.first().copied().unwrap_or_default();
            let used = compressed_size(request, stream, data.len());
            return Ok(used.map(|used| gst::Buffer::from_slice(data[..used].to_vec())));
        };
        let mut buffer = pool.acquire_buffer(None).map_err(|error| error.to_string())?;
        stream.wanted.copy(&placement.placed, &planes, buffer.make_mut())?;
        Ok(Some(buffer))
    }

    /// Marks a picture that the driver calls damaged.
    fn flag(&self, request: &Request, stream: &ConfiguredStream, buffer: &mut gst::Buffer) {
        let metadata = sensor::buffer_metadata(request, &stream.stream);
        if metadata.is_some_and(|metadata| metadata.status() == FrameMetadataStatus::Error) {
            buffer.make_mut().set_flags(gst::BufferFlags::CORRUPTED);
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.lender.close();
        for pool in self.pools.iter().flatten() {
            let _ = pool.set_active(false);
        }
    }
}

impl Slot {
    fn new(configured: &Configured, planes: &[Planes]) -> Result<Self, String> {
        let streams = configured.streams.iter().zip(planes).map(|(stream, planes)| {
            let placed = stream.wanted.placed(stream.stride, &planes.offsets())?;
            let as_is = stream.wanted.goes_out_as(&placed);
            Ok(Placement { memories: planes.memories.len(), placed, as_is })
        });
        Ok(Self { streams: streams.collect::<Result<_, String>>()? })
    }
}

/// Bytes of the compressed picture in a buffer of `size` bytes, by what the driver says of the buffer.
fn compressed_size(request: &Request, stream: &ConfiguredStream, size: usize) -> Option<usize> {
    let metadata = sensor::buffer_metadata(request, &stream.stream);
    let used = metadata.as_ref().and_then(|metadata| metadata.planes().get(0));
    used_size(used.map(|plane| plane.bytes_used as usize), size)
}

/// `None` of a frame without a picture: USB cameras send such ones when the bus was too slow for the whole picture. A
/// driver that says nothing may have filled the buffer.
fn used_size(used: Option<usize>, size: usize) -> Option<usize> {
    match used {
        Some(0) => None,
        Some(used) => Some(used.min(size)),
        None => Some(size),
    }
}

fn pictures(buffers: Vec<gst::Buffer>, copied: bool) -> Option<Pictures> {
    let mut buffers = buffers.into_iter();
    Some(Pictures { main: buffers.next()?, others: buffers.collect(), copied })
}

/// Buffers for copies of pictures: reused, because fresh megabytes per frame cost page faults. None for
/// compressed ones. They are only made when they are needed.
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
        assert_eq!(used_size(Some(4_321), 100_000), Some(4_321));
        assert_eq!(used_size(Some(100_001), 100_000), Some(100_000), "never beyond the buffer");
        assert_eq!(used_size(Some(0), 100_000), None, "an empty frame is no picture");
        assert_eq!(used_size(None, 100_000), Some(100_000));
    }
}
