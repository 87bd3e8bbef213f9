//! The way of requests to a streaming camera, from whichever thread has one.
//!
//! libcamera takes requests from any thread (`Camera::queueRequest` is thread-safe), but the binding's camera may
//! not leave its thread. Sending each request there costs two changes of thread per frame: so this lends
//! the camera out for that one call, as long as it streams.

use std::sync::{Arc, Mutex};

use ::libcamera::camera::ActiveCamera;
use ::libcamera::request::Request;

use super::session::Event;
use crate::camera::mailbox::Mailbox;
use crate::lock::lock;

/// See the module's documentation.
pub(super) struct RequestQueue {
    /// `None` while it does not stream.
    camera: Mutex<Option<lent::Camera>>,
    events: Arc<Mailbox<Event>>,
}

impl RequestQueue {
    /// Failures become [`Event::Gone`] in `events`.
    pub(super) fn new(events: Arc<Mailbox<Event>>) -> Self {
        Self { camera: Mutex::new(None), events }
    }

    /// Sends `request` to the camera. Where that does not stream, the request ends here.
    pub(super) fn queue(&self, request: Request) {
        let camera = lock(&self.camera);
        if let Some(camera) = &*camera
            && let Err((_request, error)) = camera.queue(request)
        {
            let reason = format!("it takes no request: {error}");
            self.events.push(Event::Gone(reason));
        }
    }
}

/// A camera that streams, and whose requests therefore may be queued.
pub(super) struct OpenCamera {
    // A box, so that it stays where it is when this moves.
    camera: Box<ActiveCamera<'static>>,
    queue: Arc<RequestQueue>,
}

impl OpenCamera {
    pub(super) fn new(camera: ActiveCamera<'static>, queue: Arc<RequestQueue>) -> Self {
        Self { camera: Box::new(camera), queue }
    }

    pub(super) fn get(&self) -> &ActiveCamera<'static> {
        &self.camera
    }

    /// The camera, for what changes it: it takes no requests from now on.
    pub(super) fn get_mut(&mut self) -> &mut ActiveCamera<'static> {
        self.take_back();
        &mut self.camera
    }

    /// It streams: it takes requests until [`OpenCamera::get_mut`].
    pub(super) fn take_requests(&mut self) {
        *lock(&self.queue.camera) = Some(lent::Camera::new(&self.camera));
    }

    /// Waits for a request that is just being queued.
    fn take_back(&self) {
        *lock(&self.queue.camera) = None;
    }
}

impl Drop for OpenCamera {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// The one thing that another thread may do with a camera.
mod lent {
    use std::io;
    use std::ptr::NonNull;

    use ::libcamera::camera::ActiveCamera;
    use ::libcamera::request::Request;

    /// A camera that stays where it is, and unchanged, for as long as this is in the queue.
    pub(super) struct Camera(NonNull<ActiveCamera<'static>>);

    // SAFETY: all that is done with it is `queue_request`, which takes a shared reference, guards the binding's
    // state with a mutex of its own, and calls a function that libcamera documents as thread-safe.
    unsafe impl Send for Camera {}

    impl Camera {
        pub(super) fn new(camera: &ActiveCamera<'static>) -> Self {
            Self(NonNull::from(camera))
        }

        pub(super) fn queue(&self, request: Request) -> Result<(), (Request, io::Error)> {
            // SAFETY: `OpenCamera` takes this out of the queue, under the lock that the caller holds here, before it
            // drops the camera or hands out a mutable reference to it.
            unsafe { self.0.as_ref() }.queue_request(request)
        }
    }
}
