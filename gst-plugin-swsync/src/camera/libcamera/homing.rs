//! Memory, and pictures in it, that come home instead of being freed: what a GstBufferPool does, but also where the buffer is
//! gone and only its memory is still in use, in a copy or a part of it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use gst::buffer::BufferMetaForeachAction as Meta;
use gst::glib::translate::{IntoGlib, IntoGlibPtr, from_glib_full};
use gst::{ffi, glib};
use gst_video::VideoMeta;

use super::memory::Shared;
use crate::meta::Own;

static HOME: LazyLock<glib::Quark> = LazyLock::new(|| glib::Quark::from_str("swsync-home"));

/// Where something belongs.
pub(super) struct Home {
    lender: Weak<Shared>,
    cookie: usize,
    stream: usize,
    piece: Piece,
}

/// What it is.
pub(super) enum Piece {
    Memory {
        place: usize,
    },
    /// A buffer of the memories at these addresses. Each of them has a home too.
    Picture {
        pieces: Vec<usize>,
    },
}

impl Home {
    pub(super) fn new(lender: &Arc<Shared>, cookie: usize, stream: usize, piece: Piece) -> Self {
        Self { lender: Arc::downgrade(lender), cookie, stream, piece }
    }
}

/// From now on `memory`, which nobody else knows yet, comes home when its last reference is dropped.
pub(super) fn send_memory_home(memory: &gst::Memory, home: Home) {
    // SAFETY: the memory is alive, and no other thread knows it.
    unsafe { send_home(memory.as_ptr().cast_mut().cast(), home) }
}

/// The same for a buffer.
pub(super) fn send_picture_home(picture: &mut gst::BufferRef, home: Home) {
    // SAFETY: the buffer is alive, and the only reference to it is this one.
    unsafe { send_home(picture.as_mut_ptr().cast(), home) }
}

/// # Safety
/// The object is alive, and no other thread knows it.
unsafe fn send_home(object: *mut ffi::GstMiniObject, home: Home) {
    let home = Box::into_raw(Box::new(home)).cast();
    // SAFETY: as the caller promises; GStreamer frees the home with the object, by `drop_home`, which gets the very
    // pointer that is set here.
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
    let home = unsafe { ffi::gst_mini_object_get_qdata(object, HOME.into_glib()).cast::<Home>().as_ref() };
    let Some((home, lender)) = home.and_then(|home| Some((home, home.lender.upgrade()?))) else {
        return glib::ffi::GTRUE;
    };
    // SAFETY: reviving an object in its dispose function is what this function is for; the one
    // reference that it then has is the one that is wrapped here, as what it is.
    let stays = unsafe {
        ffi::gst_mini_object_ref(object);
        match &home.piece {
            Piece::Memory { place } => {
                let memory = from_glib_full(object.cast::<ffi::GstMemory>());
                take_memory_in(&lender, home, *place, memory)
            }
            Piece::Picture { pieces } => {
                let picture = from_glib_full(object.cast::<ffi::GstBuffer>());
                take_picture_in(&lender, home, pieces, picture)
            }
        }
    };
    let Err(object) = stays else {
        return glib::ffi::GFALSE;
    };
    // SAFETY: the only reference, as above, is taken back without coming here again; the caller frees the object.
    unsafe { (*object).refcount = 0 };
    glib::ffi::GTRUE
}

/// Gives `memory` back where there is no home any more.
fn take_memory_in(
    lender: &Shared,
    home: &Home,
    place: usize,
    mut memory: gst::Memory,
) -> Result<(), *mut ffi::GstMiniObject> {
    if let Some(memory) = memory.get_mut() {
        whole_again(memory);
    }
    let mut memory = Some(memory);
    lender.take_in(home.cookie, home.stream, |stock| stock.memories[place] = memory.take());
    memory.map_or(Ok(()), |memory| Err(memory.into_glib_ptr().cast()))
}

/// Gives `picture` back where there is no home any more, or where it is not what was lent.
fn take_picture_in(
    lender: &Shared,
    home: &Home,
    pieces: &[usize],
    mut picture: gst::Buffer,
) -> Result<(), *mut ffi::GstMiniObject> {
    let as_lent = picture.get_mut().is_some_and(|picture| restore(picture, pieces));
    let mut picture = Some(picture);
    if as_lent {
        lender.take_in(home.cookie, home.stream, |stock| stock.picture = picture.take());
    }
    picture.map_or(Ok(()), |picture| Err(picture.into_glib_ptr().cast()))
}

/// Makes `picture` what it was when it was lent, apart from what each frame sets. Whether it can be: the memory is
/// still in it, and nobody else has that.
fn restore(picture: &mut gst::BufferRef, pieces: &[usize]) -> bool {
    if picture.n_memory() != pieces.len() {
        return false;
    }
    for (index, piece) in pieces.iter().enumerate() {
        let Ok(memory) = picture.peek_memory_mut(index) else {
            return false;
        };
        if memory.as_ptr() as usize != *piece || references(memory) != 1 {
            return false;
        }
        whole_again(memory);
    }
    let flags = picture.flags();
    picture.unset_flags(flags);
    picture.set_dts(None);
    let mut kept = [false; 4];
    picture.foreach_meta_mut(|mut meta| {
        let kind = match Own::of(&mut meta) {
            Some(Own::RigTime) => Some(0),
            Some(Own::UnixTime) => Some(1),
            Some(Own::Details) => Some(2),
            None => meta.downcast_ref::<VideoMeta>().map(|_| 3),
        };
        let first = kind.is_some_and(|kind| !std::mem::replace(&mut kept[kind], true));
        ControlFlow::Continue(if first { Meta::Keep } else { Meta::Remove })
    });
    true
}

/// How many there are to `memory`.
fn references(memory: &mut gst::MemoryRef) -> i32 {
    // SAFETY: the memory is alive, and its count is only ever changed as this reads it, atomically.
    unsafe {
        AtomicI32::from_ptr(&raw mut (*memory.as_mut_ptr()).mini_object.refcount).load(Ordering::Acquire)
    }
}

/// Downstream may have cut it.
fn whole_again(memory: &mut gst::MemoryRef) {
    if memory.size() != memory.maxsize() {
        memory.resize_maxsize(..);
    }
}
