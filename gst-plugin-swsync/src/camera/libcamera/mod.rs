//! Cameras that libcamera drives: Raspberry Pi's, MIPI cameras of other boards, USB cameras, and
//! libcamera's virtual ones.
//!
//! # Threads
//!
//! | thread | started by | joined by | does |
//! | --- | --- | --- | --- |
//! | `swsync-libcam`, one per process (`thread.rs`) | the first user of libcamera | the drop of the last user | owns the camera manager and all open cameras (`session.rs`): configures, starts, stops |
//! | libcamera's own | the camera manager | the camera manager's end | completes requests, hands them to the camera's mailbox |
//! | the caller's, one per camera (`camera.rs`) | - | - | takes requests from the mailbox, hands the pictures on, queues requests again |
//! | any of GStreamer's | - | - | drops the last reference to a picture, whose memory then returns to the `pool.rs` |
//!
//! # A request's way
//!
//! A request has one owner at a time: libcamera while in flight, then the mailbox, then
//! [`LibcameraCamera`], which hands its memory downstream without a copy. Until all of that memory is back the request waits
//! in the `pool.rs`, and another one takes its place with the camera. When downstream holds all spare frame buffers, pictures
//! are copied: a pipeline that is slow or keeps frames costs copies, but never starves the camera.
//!
//! # One user
//!
//! A process can have one camera manager, which all cameras here share. If `libcamerasrc` or the program itself has one, cameras
//! here fail to open, and the other way round (`manager.rs`).
//!
//! A camera has one user at a time. libcamera ensures that by locks on media devices. Its virtual cameras have none, and for
//! the others it does not tell who has them. So an open camera is also a [`Claim`](super::claim::Claim).
//!
//! # Pacing
//!
//! Real cameras run freely: a request only says where a frame goes, and a few are always in flight.
//! libcamera's virtual camera takes a frame whenever it gets a request, as fast as it can draw: it
//! is [`Pacing::OnRequest`](super::Pacing::OnRequest), and one request goes out per [`Camera::request`](super::Camera::request).

mod camera;
mod capture;
mod colour;
mod controls;
mod devices;
mod formats;
mod frame_memory;
mod hotplug;
mod manager;
mod mode;
mod negotiation;
mod picture;
mod pool;
mod presence;
mod sensor;
mod session;
mod thread;

pub use self::camera::LibcameraCamera;
pub use self::devices::{CameraMode, CameraModes, CameraMonitor, FoundCamera, find, modes};
pub use self::hotplug::CameraChange;
#[cfg(test)]
pub(crate) use self::hotplug::announce;
pub use self::thread::{CameraDescription, list, version};
