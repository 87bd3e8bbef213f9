//! The requests of a streaming camera, and the buffers in which their frames go downstream.
//!
//! A frame goes out in the memory that the camera wrote it to. When the last reference to that memory is dropped, on
//! whichever thread, the memory is not freed but returns to the pool. Once all memory of a request is back, the
//! request may go to the camera again.
//!
//! Two things come back, each by itself:
//!
//! - The GstBuffer returns to this GstBufferPool, with the metas that the next frame needs too, and without its memory.
//! - Each GstMemory returns by its dispose function, as in libcamera's own GStreamer plugin (`gstlibcameraallocator.cpp`).
//!   So it is never handed out while anyone still refers to it, with or without the buffer.

use std::ops::ControlFlow;
use std::sync::Arc;

use ::libcamera::request::Request;
use gst::buffer::BufferMetaForeachAction as MetaAction;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoMeta;
use parking_lot::Mutex;

use crate::meta::OwnMeta;

glib::wrapper! {
    /// See the module's documentation.
    pub struct CameraBufferPool(ObjectSubclass<imp::CameraBufferPool>)
        @extends gst::BufferPool, gst::Object;
}

/// What the pool holds. Memory that is out refers to it weakly.
#[derive(Default)]
struct State {
    /// Requests that nobody uses.
    idle: Vec<Request>,
    /// By cookie.
    slots: Vec<Slot>,
    /// Buffers without memory, by stream.
    buffers: Vec<Vec<gst::Buffer>>,
    /// Addresses of buffers that are out, and their streams.
    out: Vec<(usize, usize)>,
    closed: bool,
}

/// A request and its memory.
#[derive(Default)]
struct Slot {
    /// By stream, then by place in the frame buffer; `None` while it is out.
    memories: Vec<Vec<Option<gst::Memory>>>,
    /// Waits for its memory.
    request: Option<Request>,
}

impl Slot {
    fn is_complete(&self) -> bool {
        self.memories.iter().flatten().all(Option::is_some)
    }
}

impl CameraBufferPool {
    /// Takes over the memory of each request: by cookie, stream, and place in the frame buffer.
    ///
    /// The requests themselves are to be [put back](Self::put_back).
    pub(super) fn new(memories: Vec<Vec<Vec<gst::Memory>>>) -> Self {
        let pool: Self = glib::Object::new();
        let shared = &pool.imp().state;
        let streams = memories.first().map_or(0, Vec::len);
        let slot = |(cookie, streams): (usize, Vec<Vec<gst::Memory>>)| {
            let of_stream = |(stream, memories): (usize, Vec<gst::Memory>)| {
                let tracked = memories.into_iter().enumerate().map(|(place, memory)| {
                    let origin = Origin { pool: Arc::downgrade(shared), cookie, stream, place };
                    Some(memory_origin::attach(memory, origin))
                });
                tracked.collect()
            };
            Slot { memories: streams.into_iter().enumerate().map(of_stream).collect(), request: None }
        };
        let slots = memories.into_iter().enumerate().map(slot).collect();
        *shared.lock() =
            State { slots, buffers: (0..streams).map(|_| Vec::new()).collect(), ..State::default() };
        pool
    }

    /// A buffer with the picture of a stream in the request with this cookie; `None` while its memory is out.
    ///
    /// A buffer that was out before still has its GstVideoMeta and swsync's own metas.
    pub(super) fn lend(&self, cookie: usize, stream: usize) -> Option<gst::Buffer> {
        let index = gst::format::Default::from_usize(stream);
        let params =
            gst::BufferPoolAcquireParams::with_start_stop(index, index, gst::BufferPoolAcquireFlags::empty());
        let mut buffer = self.acquire_buffer(Some(&params)).ok()?;
        let writable = buffer.get_mut()?;
        let mut state = self.imp().state.lock();
        let memories = state.slots.get_mut(cookie)?.memories.get_mut(stream)?;
        if memories.iter().any(Option::is_none) {
            return None;
        }
        memories.iter_mut().filter_map(Option::take).for_each(|memory| writable.append_memory(memory));
        drop(state);
        Some(buffer)
    }

    /// The memory of a stream's picture in the request with this cookie, for reading while it is in the pool.
    pub(super) fn read(&self, cookie: usize, stream: usize) -> Vec<gst::Memory> {
        let state = self.imp().state.lock();
        let memories = state.slots.get(cookie).and_then(|slot| slot.memories.get(stream));
        memories.map_or_else(Vec::new, |memories| memories.iter().flatten().cloned().collect())
    }

    /// Takes back a request. It is idle once its memory is back.
    pub(super) fn put_back(&self, request: Request) {
        let mut state = self.imp().state.lock();
        let cookie = usize::try_from(request.cookie()).ok();
        match cookie.and_then(|cookie| state.slots.get_mut(cookie)) {
            Some(slot) if !slot.is_complete() => slot.request = Some(request),
            _ => state.idle.push(request),
        }
    }

    /// How many requests are idle.
    pub(super) fn idle(&self) -> usize {
        self.imp().state.lock().idle.len()
    }

    /// A request that nobody uses.
    pub(super) fn take_idle(&self) -> Option<Request> {
        self.imp().state.lock().idle.pop()
    }

    /// Ends all requests. Memory that is out stays readable, and is freed by its last user.
    pub(super) fn close(&self) {
        let closed = State { closed: true, ..State::default() };
        let ended = std::mem::replace(&mut *self.imp().state.lock(), closed);
        // Without the lock, which memory takes as it is dropped.
        drop(ended);
    }
}

/// Where a memory belongs.
struct Origin {
    pool: std::sync::Weak<Mutex<State>>,
    cookie: usize,
    stream: usize,
    place: usize,
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct CameraBufferPool {
        pub(super) state: Arc<Mutex<State>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for CameraBufferPool {
        const NAME: &'static str = "GstSwsyncCameraBufferPool";
        type Type = super::CameraBufferPool;
        type ParentType = gst::BufferPool;
    }

    impl ObjectImpl for CameraBufferPool {}
    impl GstObjectImpl for CameraBufferPool {}

    impl BufferPoolImpl for CameraBufferPool {
        /// A buffer without memory for the stream whose number `params` start with.
        fn acquire_buffer(
            &self,
            params: Option<&gst::BufferPoolAcquireParams>,
        ) -> Result<gst::Buffer, gst::FlowError> {
            let start = params.map_or(0, |params| params.start().value());
            let stream = usize::try_from(start).map_err(|_| gst::FlowError::Error)?;
            let mut state = self.state.lock();
            let State { buffers, out, closed: false, .. } = &mut *state else {
                return Err(gst::FlowError::Flushing);
            };
            let known = buffers.get_mut(stream).ok_or(gst::FlowError::Error)?;
            let buffer = known.pop().unwrap_or_default();
            out.push((buffer.as_ptr() as usize, stream));
            Ok(buffer)
        }

        /// Removes what belongs to one frame alone: memory, flags, and all metas but the first of each that every frame has.
        fn reset_buffer(&self, buffer: &mut gst::BufferRef) {
            buffer.remove_all_memory();
            let flags = buffer.flags();
            buffer.unset_flags(flags);
            buffer.set_dts(None);
            let mut seen = [false; 5];
            buffer.foreach_meta_mut(|mut meta| {
                let kind = match OwnMeta::of(&mut meta) {
                    Some(OwnMeta::RigTime) => Some(0),
                    Some(OwnMeta::UnixTime) => Some(1),
                    Some(OwnMeta::NtpTime) => Some(2),
                    Some(OwnMeta::Details) => Some(3),
                    None => meta.downcast_ref::<VideoMeta>().map(|_| 4),
                };
                let keep = kind.is_some_and(|kind| !std::mem::replace(&mut seen[kind], true));
                ControlFlow::Continue(if keep { MetaAction::Keep } else { MetaAction::Remove })
            });
        }

        fn release_buffer(&self, buffer: gst::Buffer) {
            let mut state = self.state.lock();
            let address = buffer.as_ptr() as usize;
            if let Some(index) = state.out.iter().position(|(out, _)| *out == address) {
                let (_, stream) = state.out.swap_remove(index);
                if let Some(buffers) = state.buffers.get_mut(stream) {
                    buffers.push(buffer);
                }
            }
        }
    }
}

impl State {
    /// Takes `memory` back; the request whose memory is now complete becomes idle.
    fn take_back(&mut self, memory: gst::Memory, (cookie, stream, place): (usize, usize, usize)) {
        let Some(slot) = self.slots.get_mut(cookie) else { return };
        slot.memories[stream][place] = Some(memory);
        if slot.is_complete()
            && let Some(request) = slot.request.take()
        {
            self.idle.push(request);
        }
    }
}

/// GstMemory that returns to its pool: a dispose function, and where the memory belongs as qdata.
mod memory_origin {
    use std::sync::LazyLock;

    use gst::glib::translate::{IntoGlib, from_glib_none};
    use gst::{ffi, glib};

    use super::Origin;

    static ORIGIN: LazyLock<glib::Quark> = LazyLock::new(|| glib::Quark::from_str("swsync-memory-origin"));

    /// `memory` returns to `origin` when its last reference is dropped, for as long as the pool is open.
    pub(super) fn attach(memory: gst::Memory, origin: Origin) -> gst::Memory {
        let object = memory.as_ptr().cast_mut().cast::<ffi::GstMiniObject>();
        let origin = Box::into_raw(Box::new(origin)).cast();
        // SAFETY: the memory is alive and in no pipeline yet, so nobody else looks at its dispose function. GStreamer frees the
        // qdata with the memory, by `free_origin`, which gets the very pointer that is set here.
        unsafe {
            ffi::gst_mini_object_set_qdata(object, ORIGIN.into_glib(), origin, Some(free_origin));
            (*object).dispose = Some(dispose);
        }
        memory
    }

    unsafe extern "C" fn free_origin(origin: glib::ffi::gpointer) {
        // SAFETY: `attach` made it of a box, and GStreamer calls this once.
        drop(unsafe { Box::from_raw(origin.cast::<Origin>()) });
    }

    /// Called when the last reference is gone. FALSE: the memory lives on, and has a new reference.
    unsafe extern "C" fn dispose(object: *mut ffi::GstMiniObject) -> glib::ffi::gboolean {
        // SAFETY: `attach` set both this function and the qdata, which lives as long as the memory.
        let origin =
            unsafe { ffi::gst_mini_object_get_qdata(object, ORIGIN.into_glib()).cast::<Origin>().as_ref() };
        let Some((origin, pool)) = origin.and_then(|origin| Some((origin, origin.pool.upgrade()?))) else {
            return glib::ffi::GTRUE;
        };
        // The qdata may go with the memory, once that is in the pool.
        let place = (origin.cookie, origin.stream, origin.place);
        let mut state = pool.lock();
        if state.closed {
            return glib::ffi::GTRUE;
        }
        // SAFETY: the object is a GstMemory, and a dispose function may revive it by a new reference.
        let mut memory: gst::Memory = unsafe { from_glib_none(object.cast::<ffi::GstMemory>()) };
        if let Some(memory) = memory.get_mut().filter(|memory| memory.size() != memory.maxsize()) {
            // Downstream has cut it.
            memory.resize_maxsize(..);
        }
        state.take_back(memory, place);
        glib::ffi::GFALSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::libcamera::frame_memory::memfd_buffer;

    /// A pool with the memory of one request, of one picture. Without a camera there is no request: they are not tested here.
    fn pool() -> (CameraBufferPool, *const gst::ffi::GstMemory) {
        gst::init().unwrap();
        crate::meta::register();
        let (_, planes) = memfd_buffer(&[64, 32]).unwrap();
        let address = planes.memories[0].as_ptr();
        (CameraBufferPool::new(vec![vec![planes.memories]]), address)
    }

    fn metas(buffer: &gst::BufferRef) -> usize {
        buffer.iter_meta::<gst::Meta>().count()
    }

    #[test]
    fn buffers_return_with_the_metas_that_each_frame_has() {
        let (pool, address) = pool();
        for round in 0..3 {
            let mut buffer = pool.lend(0, 0).unwrap();
            assert!(pool.lend(0, 0).is_none(), "lent once at a time");
            assert_eq!((buffer.n_memory(), buffer.peek_memory(0).as_ptr()), (1, address));
            assert_eq!((buffer.size(), buffer.dts()), (96, None));
            assert!(gst::BufferFlags::TAG_MEMORY.contains(buffer.flags()), "{:?}", buffer.flags());
            assert_eq!(metas(&buffer), if round == 0 { 0 } else { 3 }, "those that each frame has");
            let writable = buffer.get_mut().unwrap();
            if round == 0 {
                gst::meta::CustomMeta::add(writable, crate::meta::FRAME_META).unwrap();
            }
            for _ in round.min(1)..2 {
                let (flags, format) = (gst_video::VideoFrameFlags::empty(), gst_video::VideoFormat::Gray8);
                gst_video::VideoMeta::add(writable, flags, format, 8, 12).unwrap();
            }
            let foreign = gst::Caps::new_empty_simple("timestamp/x-ntp");
            for caps in [&crate::meta::RIG_TIME_CAPS, &foreign] {
                gst::ReferenceTimestampMeta::add(writable, caps, gst::ClockTime::ZERO, None);
            }
            writable.set_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::CORRUPTED);
            writable.set_dts(gst::ClockTime::SECOND);
            writable.set_size(10);
            std::thread::spawn(move || drop(buffer)).join().unwrap();
        }
        assert_eq!(pool.read(0, 0)[0].size(), 96, "whole again");
    }

    #[test]
    fn memory_returns_from_copies_and_parts_of_buffers() {
        let (pool, address) = pool();
        for _ in 0..3 {
            let buffer = pool.lend(0, 0).unwrap();
            let copy = buffer.copy();
            let part = buffer.copy_region(gst::BufferCopyFlags::MEMORY, 2..5).unwrap();
            let reference = buffer.memory(0).unwrap();
            drop(buffer);
            drop(copy);
            assert!(pool.lend(0, 0).is_none(), "a part is still out");
            drop(part);
            assert!(pool.lend(0, 0).is_none(), "and so is a reference");
            drop(reference);
            assert_eq!((pool.read(0, 0).len(), pool.read(0, 0)[0].as_ptr()), (1, address));
        }
    }

    #[test]
    fn foreign_memory_in_a_buffer_does_not_enter_the_pool() {
        let (pool, address) = pool();
        let mut buffer = pool.lend(0, 0).unwrap();
        buffer.get_mut().unwrap().replace_all_memory(gst::Memory::with_size(96));
        assert_eq!(pool.read(0, 0)[0].as_ptr(), address, "returned, since nobody uses it");
        drop(buffer);
        let buffer = pool.lend(0, 0).unwrap();
        assert_eq!((buffer.n_memory(), buffer.peek_memory(0).as_ptr()), (1, address));
    }

    #[test]
    fn memory_of_a_closed_pool_is_freed_by_its_last_user() {
        let open_descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open_descriptors();
        for round in 0..200 {
            let (pool, _) = pool();
            if round % 4 < 2 {
                drop(pool.lend(0, 0));
            }
            let out = pool.lend(0, 0).unwrap();
            if round % 2 == 0 {
                pool.close();
                assert!(pool.lend(0, 0).is_none());
                assert_eq!(out.map_readable().unwrap().len(), 96, "still readable");
                drop(out);
            } else {
                drop(pool);
                drop(out);
            }
        }
        assert!(open_descriptors() < before + 50);
    }
}
