//! `swsyncsink`: saves exactly the frames that an order names, in the future or past.
//!
//! Keeps a ring of recent frames and joins the rig's control plane. An order (`swsync shoot`, `swsync record`, or the
//! action signal [`shoot`](#shoot)) names instants in rig time; every device saves the frames whose numbers are
//! nearest, each file whole or not at all, with a line in the manifest beside it, and answers saved or missed.
//!
//! A frame's number is the one that `swsyncsrc` attaches and encoders pass on. Frames without it are numbered by their rig time, and frames
//! of other sources by their time on the pipeline's clock.
//!
//! ```text
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc ! videoconvert ! jpegenc ! swsyncsink location=shots
//! swsync shoot --in 500ms
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc ! videoconvert ! x264enc tune=zerolatency ! swsyncsink location=takes
//! swsync record --segment 60s
//! ```
//!
//! The rig (`rig`, `connect`, `listen`, `key-file`, `device-id`) is set once: here, on the pipeline's `swsyncclock`, by a GstContext `swsync.rig`, in
//! the environment (`SWSYNC_RIG`, ...) or in `/etc/swsync/config.toml`. `rig-settings` says what the settings came to and why. See docs/settings.md.
//!
//! # Files
//!
//! `location` is a folder, or a pattern with `{take}`, `{device}`, `{frame}`, `{segment}` and `{ext}`; `~/` is the home folder.
//! printf's `%05d` and the name of a single file (`out.mp4`) are refused.
//!
//! Pictures and raw frames are saved one per file, encoded video one file per segment of a take: MP4 unless `location` spells out
//! another extension, or `muxer-factory` says otherwise. Video is written in fragments of a second, so that a power cut takes no
//! more, and is an ordinary file once it is closed: with duration and index. It begins with a key
//! frame: the sink requests one from the encoder at the very frame that an order, or a segment, begins with. For a frame that has
//! passed it saves the frames from the last key frame on. docs/takes.md describes names and side files, and what survives what.
//!
//! If a frame is lost behind the encoder (DISCONT on a frame that is no key frame), frames are missing until the next
//! key frame, which is requested at once. If the caps change (another resolution), another file goes on. Each buffer has to be a frame
//! (`alignment=au`); parameter sets in a buffer of their own go with the next frame.
//!
//! `max-files=10` records a loop: of each order the newest ten pictures, or video files, stay, and the oldest are removed
//! when one more is finished. Files of other orders stay. `swsync record --segment 60s` then keeps the last ten minutes
//! until it is stopped. Frames that were removed are missed in the answer, and a hole in `take.json`: `removed: max-files=10`.
//!
//! Nothing that was recorded is removed because something else fails. A video that cannot be closed (a full disk, one that
//! is read-only, no more files can be opened) stays as it is, under its temporary name, and is closed as soon as that is
//! possible, also after a restart. No saved file is ever replaced. With `keep-free` (a twentieth of the disk, 256 MiB
//! at most) recording ends while there is space to close it. If files cannot grow any larger (4 GiB on FAT, or
//! setrlimit(2)), another file goes on from a key frame before that.
//!
//! While frames come, the pipeline never waits for the disk: a thread of its own writes. At the start, at EOS and on the way to NULL the sink
//! waits until the disk has done what was asked, and gives up if it answers nothing for 30 s (a server that is gone, a dying card). Then an ERROR
//! (at EOS a WARNING) says which call hangs, which orders are open and how much waits in memory. That
//! is written once the disk is back, while the process runs; until then the element cannot be started with the same
//! `location`. A flush ends the wait at EOS.
//!
//! Orders are kept in a journal (`.swsync/` below `location`) until they are answered. After a crash the device takes up
//! those that are open, finishes what can be played of a video in progress, and accounts for every frame.
//!
//! # Messages
//!
//! - `swsync-served`, once this device has answered an order, whoever gave it: `order`, `complete`, `named`, `saved`,
//!   `files` and, for frames without one, `problems`.
//! - `swsync-fragment-opened` and `swsync-fragment-closed` for each video file, as splitmuxsink's: `location`,
//!   `fragment-id`; with the second `frames`, `first-frame`, `last-frame` and `bytes`.
//! - `swsync-file` for each picture if `post-messages` is set, as multifilesink's: `filename`, `timestamp`,
//!   `running-time`, `duration`; with `order`, `frame` and `rig-time`.
//!
//! # shoot
//!
//! The action signal `shoot (gint64 delay, guint count) -> gchararray` orders `count` frames from all
//! devices of the rig, the first one `delay` nanoseconds from now (negative: ago), and returns the
//! order's id. An element message `swsync-order` follows for each device, then `swsync-order-done`.
//! It returns NULL if rig time is not known yet, or the order names no frame or too many.

mod disk_wait;
mod free_space;
mod imp;
mod kept_place;
mod muxer;
mod open_take;
mod parameter_sets;
mod picture_batch;
mod properties;
mod saved_takes;
mod video_file;
mod writer;
mod writer_registry;
mod writer_thread;

use gst::glib;
use gst::prelude::*;
use swsync_files::Durability;

glib::wrapper! {
    /// Saves exactly the frames that an order names.
    pub struct SwsyncSink(ObjectSubclass<imp::SwsyncSink>)
        @extends gst_base::BaseSink, gst::Element, gst::Object;
}

const DEFAULT_LOCATION: &str = "swsync";
/// All of them.
const DEFAULT_MAX_FILES: u32 = 0;

/// [`Durability`] as a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncSinkDurability")]
pub enum SinkDurability {
    #[enum_value(
        name = "Whole after a crash of the program; a power cut may take the last seconds",
        nick = "fast"
    )]
    Fast,
    #[default]
    #[enum_value(name = "On the disk before it is answered for: whole after a power cut", nick = "safe")]
    Safe,
}

impl From<SinkDurability> for Durability {
    fn from(durability: SinkDurability) -> Self {
        match durability {
            SinkDurability::Fast => Self::Fast,
            SinkDurability::Safe => Self::Safe,
        }
    }
}

impl From<Durability> for SinkDurability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Fast => Self::Fast,
            Durability::Safe => Self::Safe,
        }
    }
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    SinkDurability::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(Some(plugin), "swsyncsink", gst::Rank::NONE, SwsyncSink::static_type())
}
