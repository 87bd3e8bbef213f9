//! Memory that frames are captured into, and its way to GStreamer and back.
//!
//! A camera's frame buffers are dma-bufs that libcamera allocates. GStreamer's dma-buf memory reads
//! them: it tells the kernel when the CPU reads and when it is done, without which a Raspberry
//! Pi's cached buffers show stale lines. The virtual camera, which writes with the CPU, also takes
//! memfds: they serve where the machine has no dma-buf heap, as containers have none.
//!
//! The memory itself goes downstream, without a copy. When the last reference to it is dropped, on whichever
//! thread, it is not freed but comes home to its [`Lender`], and once all memory of a request is home the
//! request may go to the camera again.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use ::libcamera::framebuffer::{AsFrameBuffer, OwnedFrameBuffer};
use ::libcamera::request::Request;

use crate::lock::lock;

/// The memory of one frame buffer, and where in it the planes are.
#[derive(Debug)]
pub(super) struct Planes {
    pub(super) memories: Vec<gst::Memory>,
    /// Which memory a plane is in, and where.
    places: Vec<(usize, Range<usize>)>,
}

impl Planes {
    /// The planes of `buffer`, which libcamera has allocated. They stay readable when it is gone.
    ///
    /// # Errors
    /// Where the process has no file descriptors left, or the driver states no offset.
    pub(super) fn of_dma_bufs(buffer: &impl AsFrameBuffer) -> io::Result<Self> {
        let (mut extents, mut places) = (Vec::<(i32, usize)>::new(), Vec::new());
        for plane in &*buffer.planes() {
            let range = plane
                .offset()
                .and_then(|offset| Some(offset..offset.checked_add(plane.len())?))
                .ok_or_else(|| io::Error::other("a plane has no offset"))?;
            let memory = match extents.iter().position(|(fd, _)| *fd == plane.fd()) {
                Some(known) => known,
                None => {
                    extents.push((plane.fd(), 0));
                    extents.len() - 1
                }
            };
            extents[memory].1 = extents[memory].1.max(range.end);
            places.push((memory, range));
        }
        let memories = descriptors::import(buffer, &extents)?;
        Ok(Self { memories, places })
    }

    /// Where the planes begin in a buffer that holds the memories one after the other.
    pub(super) fn offsets(&self) -> Vec<usize> {
        let before =
            |memory: usize| self.memories[..memory].iter().map(|memory| memory.size()).sum::<usize>();
        self.places.iter().map(|(memory, range)| before(*memory) + range.start).collect()
    }
}

/// A frame buffer in one memfd, with planes of `sizes` bytes one after the other.
pub(super) fn memfd_buffer(sizes: &[u32]) -> io::Result<(OwnedFrameBuffer, Planes)> {
    let mut end = 0_u32;
    let mut places = Vec::new();
    for size in sizes {
        let begin = end;
        end = end.checked_add(*size).ok_or_else(|| io::Error::other("a frame of 4 GiB"))?;
        places.push((0, begin as usize..end as usize));
    }
    let memfd = memfd::MemfdOptions::default().create("swsync-frame").map_err(io::Error::other)?;
    memfd.as_file().set_len(u64::from(end))?;
    let file = memfd.into_file();
    let planes: Vec<(u32, u32)> =
        places.iter().zip(sizes).map(|((_, range), size)| (end_of(range, *size), *size)).collect();
    let buffer = descriptors::frame_buffer(&file, &planes)?;
    let memory = descriptors::memory(file, end as usize)?;
    Ok((buffer, Planes { memories: vec![memory], places }))
}

/// The offset of the plane of `size` bytes at `range`, which ends below 4 GiB.
fn end_of(range: &Range<usize>, size: u32) -> u32 {
    u32::try_from(range.end).unwrap_or(u32::MAX) - size
}

/// Requests with their memory: at home, or lent to GStreamer.
///
/// A request is known by its cookie, its place in the list that [`Lender::new`] got.
#[derive(Clone)]
pub(super) struct Lender(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests that nobody uses.
    idle: Vec<Request>,
    /// By cookie.
    slots: Vec<Slot>,
    closed: bool,
}

#[derive(Default)]
struct Slot {
    /// By place; `None` while lent.
    memories: Vec<Option<gst::Memory>>,
    /// Waits for its memory.
    request: Option<Request>,
}

impl Slot {
    fn is_home(&self) -> bool {
        self.memories.iter().all(Option::is_some)
    }
}

impl Lender {
    /// Takes the memory of each request, by cookie.
    pub(super) fn new(memories: Vec<Vec<gst::Memory>>) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default() });
        let slots = memories
            .into_iter()
            .enumerate()
            .map(|(cookie, memories)| {
                let tagged = memories.into_iter().enumerate().map(|(place, memory)| {
                    homing::send_home(&memory, homing::Home::new(&shared, cookie, place));
                    Some(memory)
                });
                Slot { memories: tagged.collect(), request: None }
            })
            .collect();
        lock(&shared.state).slots = slots;
        Self(shared)
    }

    /// Hands out the memory of the request with this cookie, or nothing where it is lent already.
    /// [`Lender::park`] the request then.
    pub(super) fn lend(&self, cookie: usize) -> Vec<gst::Memory> {
        let mut state = lock(&self.0.state);
        state.slots.get_mut(cookie).map_or_else(Vec::new, |slot| {
            if slot.is_home() {
                slot.memories.iter_mut().filter_map(Option::take).collect()
            } else {
                Vec::new()
            }
        })
    }

    /// Keeps `request` until its memory is home, then it is idle.
    pub(super) fn park(&self, request: Request) {
        let mut state = lock(&self.0.state);
        let cookie = usize::try_from(request.cookie()).ok();
        match cookie.and_then(|cookie| state.slots.get_mut(cookie)) {
            Some(slot) if !slot.is_home() => slot.request = Some(request),
            _ => state.idle.push(request),
        }
    }

    /// The memory of the request with this cookie, for reading while it stays home.
    pub(super) fn read(&self, cookie: usize) -> Vec<gst::Memory> {
        let state = lock(&self.0.state);
        state
            .slots
            .get(cookie)
            .map_or_else(Vec::new, |slot| slot.memories.iter().flatten().cloned().collect())
    }

    /// Requests that nobody uses.
    pub(super) fn idle(&self) -> usize {
        lock(&self.0.state).idle.len()
    }

    /// A request that nobody uses.
    pub(super) fn take_idle(&self) -> Option<Request> {
        lock(&self.0.state).idle.pop()
    }

    /// Ends all requests. Memory that is out lives on with those who have it.
    pub(super) fn close(&self) {
        let ended = {
            let mut state = lock(&self.0.state);
            state.closed = true;
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.slots))
        };
        // Outside the lock: memory asks on its way out whether there still is a home.
        drop(ended);
    }
}

impl Shared {
    /// Takes in memory that came home; gives it back where there is no home any more.
    fn take_in(&self, memory: gst::Memory, cookie: usize, place: usize) -> Result<(), gst::Memory> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(memory);
        }
        let Some(slot) = state.slots.get_mut(cookie) else {
            return Err(memory);
        };
        slot.memories[place] = Some(memory);
        if slot.is_home()
            && let Some(request) = slot.request.take()
        {
            state.idle.push(request);
        }
        Ok(())
    }
}

/// Memory that comes home instead of being freed. With [`descriptors`] the only unsafe code of the
/// libcamera backend.
mod homing {
    use std::sync::{Arc, LazyLock, Weak};

    use gst::glib::translate::{IntoGlib, from_glib_full};
    use gst::{ffi, glib};

    use super::Shared;

    static HOME: LazyLock<glib::Quark> = LazyLock::new(|| glib::Quark::from_str("swsync-home"));

    /// Where a memory belongs.
    pub(super) struct Home {
        lender: Weak<Shared>,
        cookie: usize,
        place: usize,
    }

    impl Home {
        pub(super) fn new(lender: &Arc<Shared>, cookie: usize, place: usize) -> Self {
            Self { lender: Arc::downgrade(lender), cookie, place }
        }
    }

    /// From now on `memory`, which nobody else knows yet, comes home when its last reference is dropped.
    pub(super) fn send_home(memory: &gst::Memory, home: Home) {
        let object = memory.as_ptr().cast::<ffi::GstMiniObject>().cast_mut();
        let home = Box::into_raw(Box::new(home)).cast();
        // SAFETY: the memory is alive and no other thread knows it; GStreamer frees the home with it, by
        // `drop_home`, which gets the very pointer that is set here.
        unsafe {
            ffi::gst_mini_object_set_qdata(object, HOME.into_glib(), home, Some(drop_home));
            (*object).dispose = Some(dispose);
        }
    }

    unsafe extern "C" fn drop_home(home: glib::ffi::gpointer) {
        // SAFETY: `send_home` made it of a box, and GStreamer calls this once.
        drop(unsafe { Box::from_raw(home.cast::<Home>()) });
    }

    /// Called with the last reference gone: FALSE says that the object lives on.
    unsafe extern "C" fn dispose(object: *mut ffi::GstMiniObject) -> glib::ffi::gboolean {
        // SAFETY: `send_home` set both this function and the home, which lives as long as the object.
        let home =
            unsafe { ffi::gst_mini_object_get_qdata(object, HOME.into_glib()).cast::<Home>().as_ref() };
        let Some((home, lender)) = home.and_then(|home| Some((home, home.lender.upgrade()?))) else {
            return glib::ffi::GTRUE;
        };
        // SAFETY: reviving an object in its dispose function is what this function is for; the one
        // reference that it then has is the one that is wrapped here.
        let mut memory: gst::Memory = unsafe {
            ffi::gst_mini_object_ref(object);
            from_glib_full(object.cast::<ffi::GstMemory>())
        };
        if let Some(memory) = memory.get_mut() {
            // Downstream may have cut it.
            memory.resize_maxsize(..);
        }
        match lender.take_in(memory, home.cookie, home.place) {
            Ok(()) => glib::ffi::GFALSE,
            Err(memory) => {
                // Nobody is home: takes the reference back without coming here again.
                let object = gst::Memory::into_glib_ptr(memory).cast::<ffi::GstMiniObject>();
                // SAFETY: the only reference, as above; the caller frees the object.
                unsafe { (*object).refcount = 0 };
                glib::ffi::GTRUE
            }
        }
    }

    use gst::glib::translate::IntoGlibPtr;
}

/// File descriptors whose owner is C++ or C.
mod descriptors {
    use std::fs::{self, File};
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
    use std::os::unix::fs::MetadataExt;

    use ::libcamera::framebuffer::{AsFrameBuffer, FrameBufferPlane, OwnedFrameBuffer};
    use gst_allocators::prelude::*;
    use gst_allocators::{DmaBufAllocator, FdAllocator, FdMemoryFlags};

    /// GStreamer memory for each of `extents`: a descriptor among `buffer`'s planes, and how many
    /// bytes of it are used.
    pub(super) fn import(
        buffer: &impl AsFrameBuffer,
        extents: &[(RawFd, usize)],
    ) -> io::Result<Vec<gst::Memory>> {
        let planes = buffer.planes();
        let allocator = DmaBufAllocator::new();
        extents
            .iter()
            .map(|&(fd, size)| {
                assert!(planes.into_iter().any(|plane| plane.fd() == fd));
                // SAFETY: the descriptor is one of the frame buffer's own (asserted above), which
                // keeps it open as long as it lives: longer than this borrow.
                let ours = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
                // SAFETY: the allocator takes over a descriptor that nobody else owns: our copy.
                let memory = unsafe {
                    allocator.alloc_dmabuf_with_flags(ours.into_raw_fd(), size, FdMemoryFlags::KEEP_MAPPED)
                };
                memory.map_err(io::Error::other)
            })
            .collect()
    }

    /// GStreamer memory of the `size` bytes of a memfd.
    pub(super) fn memory(file: File, size: usize) -> io::Result<gst::Memory> {
        // SAFETY: the allocator takes over the descriptor, which nobody else owns.
        let memory =
            unsafe { FdAllocator::new().alloc_fd(file.into_raw_fd(), size, FdMemoryFlags::KEEP_MAPPED) };
        memory.map_err(io::Error::other)
    }

    /// A frame buffer with planes in `file`: offsets and lengths.
    pub(super) fn frame_buffer(file: &File, places: &[(u32, u32)]) -> io::Result<OwnedFrameBuffer> {
        let (mut planes, mut given) = (Vec::new(), Vec::new());
        for &(offset, length) in places {
            let fd = OwnedFd::from(file.try_clone()?);
            given.push(fd.as_raw_fd());
            planes.push(FrameBufferPlane { fd, offset, length });
        }
        let buffer = OwnedFrameBuffer::new(planes, None)?;
        // libcamera 0.7.0 (the crate) gives up ownership of each descriptor and hands it to a C++
        // constructor that duplicates it: nobody would close ours. A descriptor that still leads to
        // our file, and is not the frame buffer's, is such a left-over; once the crate is
        // repaired there is none.
        let taken: Vec<RawFd> = buffer.planes().into_iter().map(|plane| plane.fd()).collect();
        let ours = file.metadata()?;
        for fd in given {
            let left = fs::metadata(format!("/proc/self/fd/{fd}"))
                .is_ok_and(|at| (at.dev(), at.ino()) == (ours.dev(), ours.ino()));
            if left && !taken.contains(&fd) {
                // SAFETY: see above: open, ours, and without an owner.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn memfd_buffers_are_read_and_leak_no_descriptor() {
        gst::init().unwrap();
        let before = open_descriptors();
        for _ in 0..100 {
            let (buffer, planes) = memfd_buffer(&[4096, 100]).unwrap();
            let said: Vec<_> = buffer.planes().into_iter().map(|p| (p.offset(), p.len())).collect();
            assert_eq!(said, [(Some(0), 4096), (Some(4096), 100)]);
            drop(buffer);
            assert_eq!(planes.offsets(), [0, 4096]);
            assert_eq!(planes.memories[0].map_readable().unwrap().len(), 4196);
        }
        // Other tests in this process open files too, but not hundreds.
        assert!(open_descriptors() < before + 50);
    }

    /// A lender of one request's memory. There is no request without a camera: they are not tested here.
    fn lender() -> (Lender, *const gst::ffi::GstMemory) {
        gst::init().unwrap();
        let (_, planes) = memfd_buffer(&[64, 32]).unwrap();
        let address = planes.memories[0].as_ptr();
        (Lender::new(vec![planes.memories]), address)
    }

    #[test]
    fn memory_comes_home_from_buffers_and_their_copies() {
        let (lender, address) = lender();
        for round in 0..3 {
            let lent = lender.lend(0);
            assert_eq!((lent.len(), lent[0].as_ptr()), (1, address), "{round}");
            assert!(lender.lend(0).is_empty(), "lent once at a time");
            let mut buffer = gst::Buffer::new();
            let writable = buffer.get_mut().unwrap();
            for memory in lent {
                writable.append_memory(memory);
            }
            writable.set_size(10);
            let copy = buffer.copy();
            let part = buffer.copy_region(gst::BufferCopyFlags::MEMORY, 2..5).unwrap();
            let elsewhere = std::thread::spawn(move || drop(buffer));
            elsewhere.join().unwrap();
            drop(copy);
            assert!(lender.lend(0).is_empty(), "a part is still out");
            drop(part);
            assert_eq!(lender.read(0)[0].size(), 96, "whole again");
        }
    }

    #[test]
    fn memory_that_has_no_home_is_freed() {
        let before = open_descriptors();
        for close_first in [true, false].into_iter().cycle().take(200) {
            let (lender, _) = lender();
            let out = lender.lend(0);
            if close_first {
                lender.close();
                assert!(lender.lend(0).is_empty());
                assert_eq!(out[0].map_readable().unwrap().len(), 96, "still readable");
                drop(out);
            } else {
                drop(lender);
                drop(out);
            }
        }
        assert!(open_descriptors() < before + 50);
    }
}
