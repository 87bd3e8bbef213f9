//! Cameras that are plugged in and removed, as libcamera's camera manager reports them.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};

use ::libcamera::camera_manager::CameraManager;
use parking_lot::Mutex;

/// A camera was added or removed; its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraChange {
    /// It can be opened.
    Added(String),
    /// It cannot any more.
    Removed(String),
}

static SUBSCRIBERS: Mutex<BTreeMap<u64, Sender<CameraChange>>> = Mutex::new(BTreeMap::new());

/// Ends a subscription when dropped.
pub(super) struct Subscription(u64);

/// Subscribes to all changes from now on.
pub(super) fn subscribe() -> (Subscription, Receiver<CameraChange>) {
    let (sender, changes) = mpsc::channel();
    let mut subscribers = SUBSCRIBERS.lock();
    let number = subscribers.last_key_value().map_or(0, |(last, _)| last + 1);
    subscribers.insert(number, sender);
    (Subscription(number), changes)
}

impl Drop for Subscription {
    fn drop(&mut self) {
        SUBSCRIBERS.lock().remove(&self.0);
    }
}

/// Tells all subscribers of `change`. Runs on libcamera's thread, so it must not wait.
pub(crate) fn announce(change: &CameraChange) {
    for sender in SUBSCRIBERS.lock().values() {
        // It fails if the subscriber is just being dropped.
        let _ = sender.send(change.clone());
    }
}

/// Has `manager` announce changes.
///
/// The manager has to be started already: the binding leaks a reference to each camera that it announces, and would so keep all
/// cameras alive that are there from the start. The virtual pipeline handler then finds no camera a second time.
pub(super) fn announce_changes(manager: &mut CameraManager) {
    manager.on_camera_added(|camera| announce(&CameraChange::Added(camera.id().to_owned())));
    manager.on_camera_removed(|camera| announce(&CameraChange::Removed(camera.id().to_owned())));
}
