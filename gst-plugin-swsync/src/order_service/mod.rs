//! Serves orders in an element: `swsyncsink` and `swsyncgate` are this, with an output each.
//!
//! A frame's way through it:
//!
//! 1. [`OrderService::handle_buffer`], on the streaming thread, makes a [`StoredFrame`] of a buffer. Its number is decided in
//!    `swsync_core::frame_number`.
//! 2. The core's order queue (`swsync_core::order`) keeps it in the frame ring. The queue decides which order names it, and
//!    which frames are missed and why.
//! 3. The queue's actions go to the [`Worker`]. It has a thread of its own and hands the frame to its [`OrderOutput`]: the sink's
//!    writes files, the gate's pushes downstream.
//! 4. The output reports what became of the frame, and the queue answers the order once all of its frames are accounted for.
//!
//! Orders come in on threads of the control plane. Neither these nor the streaming thread wait for the output while frames come. Only
//! at EOS does the streaming thread wait until open orders are finished: see [`OrderService::suspend`].

mod camera;
mod camera_settings;
mod centre;
mod dates;
mod device_description;
mod element;
mod error_watch;
mod examination;
mod identify;
mod messages;
mod service;
mod settings;
mod shoot;
mod source_info;
mod stored_frame;
mod stream_warnings;
mod thumbnail;
mod thumbnail_picture;
mod worker;

pub use dates::KnownDates;
pub use device_description::DeviceDescription;
pub use element::ElementHooks;
pub use error_watch::ErrorWatch;
pub use service::{OrderService, OutputStorage, SavedTake, Suspended};
pub use settings::{OrderSettings, control_error};
pub use shoot::place_shot;
pub use source_info::{CameraInfo, settings_of};
pub use stored_frame::{StoredFrame, Stream};
pub use worker::{FrameToSave, OrderOutput, Worker};
