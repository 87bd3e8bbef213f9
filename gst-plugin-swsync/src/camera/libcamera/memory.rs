//! Memory that frames are captured into, readable from here.
//!
//! A camera's frame buffers are dma-bufs that libcamera allocates. GStreamer's dma-buf memory reads
//! them: it tells the kernel when the CPU reads and when it is done, without which a Raspberry
//! Pi's cached buffers show stale lines. The virtual camera, which writes with the CPU, also takes
//! memfds: they serve where the machine has no dma-buf heap, as containers have none.

use std::io;
use std::ops::Range;

use ::libcamera::framebuffer::{AsFrameBuffer, OwnedFrameBuffer};

/// What backs a frame buffer's planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backing {
    DmaBuf,
    Memfd,
}

/// The memory of one frame buffer.
#[derive(Debug)]
pub(super) struct Planes {
    memories: Vec<gst::Memory>,
    /// Which memory a plane is in, and where.
    planes: Vec<(usize, Range<usize>)>,
}

impl Planes {
    /// The planes of `buffer`. They stay readable when it is gone.
    ///
    /// # Errors
    /// Where the process has no file descriptors left, or the driver states no offset.
    pub(super) fn of(buffer: &impl AsFrameBuffer, backing: Backing) -> io::Result<Self> {
        let (mut extents, mut planes) = (Vec::<(i32, usize)>::new(), Vec::new());
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
            planes.push((memory, range));
        }
        let memories = descriptors::import(buffer, &extents, backing)?;
        Ok(Self { memories, planes })
    }

    /// Calls `read` with the bytes of each plane.
    ///
    /// # Errors
    /// Where a plane cannot be mapped.
    pub(super) fn read<R>(&self, read: impl FnOnce(&[&[u8]]) -> R) -> Result<R, String> {
        let maps = self
            .memories
            .iter()
            .map(|memory| memory.map_readable().map_err(|error| error.to_string()))
            .collect::<Result<Vec<_>, _>>()?;
        let planes: Option<Vec<&[u8]>> =
            self.planes.iter().map(|(memory, range)| maps[*memory].get(range.clone())).collect();
        Ok(read(&planes.ok_or("a plane is longer than its memory")?))
    }
}

/// A frame buffer with one memfd of `sizes` bytes per plane.
pub(super) fn memfd_buffer(sizes: &[u32]) -> io::Result<OwnedFrameBuffer> {
    let files = sizes
        .iter()
        .map(|&size| {
            let memfd = memfd::MemfdOptions::default().create("swsync-frame").map_err(io::Error::other)?;
            memfd.as_file().set_len(u64::from(size))?;
            Ok((memfd.into_file(), size))
        })
        .collect::<io::Result<Vec<_>>>()?;
    descriptors::frame_buffer(&files)
}

/// The only unsafe code of the libcamera backend: file descriptors whose owner is C++.
mod descriptors {
    use std::fs::{self, File};
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
    use std::os::unix::fs::MetadataExt;

    use ::libcamera::framebuffer::{AsFrameBuffer, FrameBufferPlane, OwnedFrameBuffer};
    use gst_allocators::prelude::*;
    use gst_allocators::{DmaBufAllocator, FdAllocator, FdMemoryFlags};

    use super::Backing;

    /// GStreamer memory for each of `extents`: a descriptor among `buffer`'s planes, and how many
    /// bytes of it are used.
    pub(super) fn import(
        buffer: &impl AsFrameBuffer,
        extents: &[(RawFd, usize)],
        backing: Backing,
    ) -> io::Result<Vec<gst::Memory>> {
        let planes = buffer.planes();
        extents
            .iter()
            .map(|&(fd, size)| {
                assert!(planes.into_iter().any(|plane| plane.fd() == fd));
                // SAFETY: the descriptor is one of the frame buffer's own (asserted above), which
                // keeps it open as long as it lives: longer than this borrow.
                let ours = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
                let flags = FdMemoryFlags::KEEP_MAPPED;
                // SAFETY: the allocators take over a descriptor that nobody else owns: our copy.
                let memory = unsafe {
                    match backing {
                        Backing::DmaBuf => {
                            DmaBufAllocator::new().alloc_dmabuf_with_flags(ours.into_raw_fd(), size, flags)
                        }
                        Backing::Memfd => FdAllocator::new().alloc_fd(ours.into_raw_fd(), size, flags),
                    }
                };
                memory.map_err(io::Error::other)
            })
            .collect()
    }

    /// A frame buffer with one plane per file.
    pub(super) fn frame_buffer(files: &[(File, u32)]) -> io::Result<OwnedFrameBuffer> {
        let (mut planes, mut given) = (Vec::new(), Vec::new());
        for (file, length) in files {
            let fd = OwnedFd::from(file.try_clone()?);
            given.push((fd.as_raw_fd(), file.metadata()?));
            planes.push(FrameBufferPlane { fd, offset: 0, length: *length });
        }
        let buffer = OwnedFrameBuffer::new(planes, None)?;
        // libcamera 0.7.0 (the crate) gives up ownership of each descriptor and hands it to a C++
        // constructor that duplicates it: nobody would close ours. A descriptor that still leads to
        // our file, and is not the frame buffer's, is such a left-over; once the crate is
        // repaired there is none.
        let taken: Vec<RawFd> = buffer.planes().into_iter().map(|plane| plane.fd()).collect();
        for (fd, file) in given {
            let left = fs::metadata(format!("/proc/self/fd/{fd}"))
                .is_ok_and(|at| (at.dev(), at.ino()) == (file.dev(), file.ino()));
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
    fn memfd_buffers_are_read_plane_by_plane_and_leak_no_descriptor() {
        gst::init().unwrap();
        let before = open_descriptors();
        for _ in 0..100 {
            let buffer = memfd_buffer(&[4096, 100]).unwrap();
            let planes = Planes::of(&buffer, Backing::Memfd).unwrap();
            drop(buffer);
            let lengths = planes.read(|planes| planes.iter().map(|p| p.len()).collect::<Vec<_>>());
            assert_eq!(lengths.unwrap(), [4096, 100]);
        }
        // Other tests in this process open files too, but not hundreds.
        assert!(open_descriptors() < before + 50);
    }
}
