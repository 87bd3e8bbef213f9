//! The memory of a camera's frame buffers, as libcamera and GStreamer have it.
//!
//! Frame buffers are dma-bufs that libcamera allocates. GStreamer's dma-buf memory reads them: it tells the kernel
//! when the CPU starts and ends reading, without which a Raspberry Pi's cached buffers show stale lines. Virtual
//! cameras, which write with the CPU, also take memfds. Those serve on machines without a dma-buf heap, such as
//! containers.

use std::io;
use std::ops::Range;

use ::libcamera::framebuffer::{AsFrameBuffer, OwnedFrameBuffer};

/// The memory of one frame buffer, and the places of its planes.
#[derive(Debug)]
pub(super) struct FrameBufferMemory {
    pub(super) memories: Vec<gst::Memory>,
    /// Whether libcamera has allocated the frame buffer.
    pub(super) allocated: bool,
    /// By plane: the memory that it is in, and its bytes there.
    places: Vec<(usize, Range<usize>)>,
}

impl FrameBufferMemory {
    /// Imports `buffer`, which libcamera has allocated. The memory stays readable when the buffer is gone.
    ///
    /// # Errors
    /// The process has no file descriptors left, or the driver states no offset.
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

    /// Offsets of the planes in a GstBuffer with all of the memories.
    pub(super) fn offsets(&self) -> Vec<usize> {
        let before =
            |memory: usize| self.memories[..memory].iter().map(|memory| memory.size()).sum::<usize>();
        self.places.iter().map(|(memory, range)| before(*memory) + range.start).collect()
    }
}

/// Allocates a frame buffer in one memfd, with planes of `sizes` bytes one after the other.
pub(super) fn memfd_buffer(sizes: &[u32]) -> io::Result<(OwnedFrameBuffer, FrameBufferMemory)> {
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
    Ok((buffer, FrameBufferMemory { memories: vec![memory], allocated: false, places }))
}

/// The offset of the plane of `size` bytes at `range`, which ends below 4 GiB.
fn end_of(range: &Range<usize>, size: u32) -> u32 {
    u32::try_from(range.end).unwrap_or(u32::MAX) - size
}

/// File descriptors that C and C++ own.
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
        // The crate libcamera 0.7.0 gives up ownership of each descriptor and passes it to a C++ constructor, which
        // duplicates it: nobody closes ours. A descriptor that still refers to our file, and is not the frame buffer's,
        // is such a leaked one. Once the crate is repaired, there is none.
        let taken: Vec<RawFd> = buffer.planes().into_iter().map(|plane| plane.fd()).collect();
        let ours = file.metadata()?;
        for fd in given {
            let left = fs::metadata(format!("/proc/self/fd/{fd}"))
                .is_ok_and(|at| (at.dev(), at.ino()) == (ours.dev(), ours.ino()));
            if left && !taken.contains(&fd) {
                // SAFETY: as said above, it is open, ours, and has no owner.
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
}
