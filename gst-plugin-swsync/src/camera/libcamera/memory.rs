//! Memory that frames are captured into, and its way to GStreamer and back.
//!
//! A camera's frame buffers are dma-bufs that libcamera allocates. GStreamer's dma-buf memory reads
//! them: it tells the kernel when the CPU reads and when it is done, without which a Raspberry
//! Pi's cached buffers show stale lines. The virtual camera, which writes with the CPU, also takes
//! memfds: they serve where the machine has no dma-buf heap, as containers have none.
//!
//! The memory itself goes downstream, without a copy. When the last reference to a picture is dropped, on whichever
//! thread, it is not freed but comes home to its [`Lender`], as those of a GstBufferPool do, with the metas that the next frame needs
//! too. Where its memory is still in use, in a copy of the buffer or a part, the memory comes home alone. Once all memory of
//! a request is home the request may go to the camera again.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use ::libcamera::framebuffer::{AsFrameBuffer, OwnedFrameBuffer};
use ::libcamera::request::Request;

use super::homing::{self, Home, Piece};
use crate::lock::lock;

/// The memory of one frame buffer, and where in it the planes are.
#[derive(Debug)]
pub(super) struct Planes {
    pub(super) memories: Vec<gst::Memory>,
    /// Whether libcamera has allocated the frame buffer.
    pub(super) allocated: bool,
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
        Ok(Self { memories, allocated: true, places })
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
    Ok((buffer, Planes { memories: vec![memory], allocated: false, places }))
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

pub(super) struct Shared {
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
    /// By stream.
    stocks: Vec<Stock>,
    /// Waits for its memory.
    request: Option<Request>,
}

/// The memory of one picture.
#[derive(Default)]
pub(super) struct Stock {
    /// All of it in the buffer that it came home in.
    pub(super) picture: Option<gst::Buffer>,
    /// By place; `None` while lent, or in `picture`.
    pub(super) memories: Vec<Option<gst::Memory>>,
}

/// What is taken out of a [`Stock`]: one or the other.
enum Lent {
    Picture(gst::Buffer),
    Memory(Vec<gst::Memory>),
}

impl Stock {
    fn is_home(&self) -> bool {
        self.picture.is_some() || self.memories.iter().all(Option::is_some)
    }

    /// All of it, where it is home.
    fn take(&mut self) -> Option<Lent> {
        if let Some(picture) = self.picture.take() {
            return Some(Lent::Picture(picture));
        }
        let home = self.is_home();
        home.then(|| Lent::Memory(self.memories.iter_mut().filter_map(Option::take).collect()))
    }
}

impl Slot {
    fn is_home(&self) -> bool {
        self.stocks.iter().all(Stock::is_home)
    }
}

impl Lender {
    /// Takes the memory of each request and its streams' pictures, by cookie and stream.
    pub(super) fn new(memories: Vec<Vec<Vec<gst::Memory>>>) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default() });
        let stock = |cookie, stream, memories: Vec<gst::Memory>| {
            let tagged = memories.into_iter().enumerate().map(|(place, memory)| {
                homing::send_memory_home(
                    &memory,
                    Home::new(&shared, cookie, stream, Piece::Memory { place }),
                );
                Some(memory)
            });
            Stock { picture: None, memories: tagged.collect() }
        };
        let slots = memories.into_iter().enumerate().map(|(cookie, streams)| {
            let stocks = streams.into_iter().enumerate();
            let stocks = stocks.map(|(stream, memories)| stock(cookie, stream, memories));
            Slot { stocks: stocks.collect(), request: None }
        });
        lock(&shared.state).slots = slots.collect();
        Self(shared)
    }

    /// A buffer with the memory of a stream's picture of the request with this cookie, or nothing where that is lent
    /// already. [`Lender::park`] the request then. A buffer that was lent before still has its GstVideoMeta and swsync's own meta.
    pub(super) fn lend(&self, cookie: usize, stream: usize) -> Option<gst::Buffer> {
        let lent = lock(&self.0.state).slots.get_mut(cookie)?.stocks.get_mut(stream)?.take()?;
        let memories = match lent {
            Lent::Picture(picture) => return Some(picture),
            Lent::Memory(memories) => memories,
        };
        let pieces = memories.iter().map(|memory| memory.as_ptr() as usize).collect();
        let mut picture = gst::Buffer::new();
        let writable = picture.make_mut();
        memories.into_iter().for_each(|memory| writable.append_memory(memory));
        homing::send_picture_home(writable, Home::new(&self.0, cookie, stream, Piece::Picture { pieces }));
        Some(picture)
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

    /// The memory of a stream's picture of the request with this cookie, for reading while it stays home.
    pub(super) fn read(&self, cookie: usize, stream: usize) -> Vec<gst::Memory> {
        let state = lock(&self.0.state);
        let stock = state.slots.get(cookie).and_then(|slot| slot.stocks.get(stream));
        stock.map_or_else(Vec::new, |stock| {
            let whole = stock.picture.iter().flat_map(|picture| picture.iter_memories_owned());
            stock.memories.iter().flatten().cloned().chain(whole).collect()
        })
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
    /// Has `come_home` put something into a stock. `false` where there is no home any more.
    pub(super) fn take_in(&self, cookie: usize, stream: usize, come_home: impl FnOnce(&mut Stock)) -> bool {
        let mut state = lock(&self.state);
        let State { idle, slots, closed: false } = &mut *state else {
            return false;
        };
        let Some(slot) = slots.get_mut(cookie) else {
            return false;
        };
        let Some(stock) = slot.stocks.get_mut(stream) else {
            return false;
        };
        come_home(stock);
        if slot.is_home()
            && let Some(request) = slot.request.take()
        {
            idle.push(request);
        }
        true
    }
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

    /// A lender of one request's memory, of one picture. There is no request without a camera: they are not tested here.
    fn lender() -> (Lender, *const gst::ffi::GstMemory) {
        gst::init().unwrap();
        crate::meta::register();
        let (_, planes) = memfd_buffer(&[64, 32]).unwrap();
        let address = planes.memories[0].as_ptr();
        (Lender::new(vec![vec![planes.memories]]), address)
    }

    #[test]
    fn pictures_come_home_as_they_went() {
        let (lender, address) = lender();
        for round in 0..3 {
            let mut buffer = lender.lend(0, 0).unwrap();
            assert!(lender.lend(0, 0).is_none(), "lent once at a time");
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
        assert_eq!(lender.read(0, 0)[0].size(), 96, "whole again");
    }

    fn metas(buffer: &gst::BufferRef) -> usize {
        buffer.iter_meta::<gst::Meta>().count()
    }

    /// Gives the buffer something that one that comes home keeps.
    fn mark(buffer: &mut gst::Buffer) {
        gst::meta::CustomMeta::add(buffer.get_mut().unwrap(), crate::meta::FRAME_META).unwrap();
    }

    #[test]
    fn memory_comes_home_from_copies_and_parts_of_pictures() {
        let (lender, address) = lender();
        for round in 0..3 {
            let mut buffer = lender.lend(0, 0).unwrap();
            assert_eq!(metas(&buffer), 0, "{round}: the last one came home in pieces");
            mark(&mut buffer);
            let copy = buffer.copy();
            let part = buffer.copy_region(gst::BufferCopyFlags::MEMORY, 2..5).unwrap();
            let reference = buffer.memory(0).unwrap();
            drop(buffer);
            drop(copy);
            assert!(lender.lend(0, 0).is_none(), "a part is still out");
            drop(part);
            assert!(lender.lend(0, 0).is_none(), "and so is a reference");
            drop(reference);
            assert_eq!((lender.read(0, 0).len(), lender.read(0, 0)[0].as_ptr()), (1, address));
        }
    }

    #[test]
    fn a_picture_with_other_memory_is_not_taken_for_ours() {
        let (lender, address) = lender();
        let mut buffer = lender.lend(0, 0).unwrap();
        mark(&mut buffer);
        buffer.get_mut().unwrap().replace_all_memory(gst::Memory::with_size(96));
        assert_eq!(lender.read(0, 0)[0].as_ptr(), address, "home, since nobody has it");
        drop(buffer);
        let buffer = lender.lend(0, 0).unwrap();
        assert_eq!((metas(&buffer), buffer.peek_memory(0).as_ptr()), (0, address));
    }

    #[test]
    fn what_has_no_home_is_freed() {
        let before = open_descriptors();
        for round in 0..200 {
            let (lender, _) = lender();
            if round % 4 < 2 {
                drop(lender.lend(0, 0));
            }
            let out = lender.lend(0, 0).unwrap();
            if round % 2 == 0 {
                lender.close();
                assert!(lender.lend(0, 0).is_none());
                assert_eq!(out.map_readable().unwrap().len(), 96, "still readable");
                drop(out);
            } else {
                drop(lender);
                drop(out);
            }
        }
        assert!(open_descriptors() < before + 50);
    }
}
