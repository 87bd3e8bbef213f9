//! The group and the place of the device, which it keeps on its disk.

use std::sync::Arc;

use parking_lot::Mutex;
use swsync_core::bounded;
use swsync_core::log;
use swsync_core::name::DeviceId;
use swsync_core::place::{DevicePlace, PlaceChange, PlaceReply};
use swsync_files::{PlaceFile, Storage, TakeStore};
use swsync_rig::Reply;

/// What is known of the place, and the only one who writes it. Clones share it.
#[derive(Debug, Clone)]
pub struct KeptPlace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    device: DeviceId,
    file: PlaceFile,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    place: DevicePlace,
    /// Why it is not known what the disk says.
    problem: Option<String>,
    /// A thread writes a change.
    is_writing: bool,
}

impl KeptPlace {
    /// Of the device of `store`. [`read`](Self::read) it before use.
    pub fn new(store: &TakeStore) -> Self {
        let storage: Arc<dyn Storage> = Arc::clone(&store.storage);
        let file = PlaceFile::new(&storage, &store.location, &store.device);
        Self(Arc::new(Inner { device: store.device.clone(), file, state: Mutex::default() }))
    }

    /// Reads what the disk says.
    pub fn read(&self) {
        let read = self.0.file.read();
        let mut state = self.0.state.lock();
        match read {
            Ok(place) => (state.place, state.problem) = (place, None),
            Err(error) => {
                log::warn!(%error, "the group and the place of this device cannot be read");
                let why = format!(
                    "its group and place are not known: {error}; give them again with `swsync name {}`",
                    self.0.device
                );
                state.problem = Some(bounded::cut(&why));
            }
        }
    }

    /// The place as far as it is known.
    pub fn place(&self) -> DevicePlace {
        self.0.state.lock().place.clone()
    }

    /// Why the place is not known, for the operator.
    pub fn problem(&self) -> Option<String> {
        self.0.state.lock().problem.clone()
    }

    /// Changes the place, and replies once that is on the disk: on a thread of its own, as the disk may take long. One change is
    /// written at a time.
    pub fn change(&self, change: PlaceChange, reply: Reply<PlaceReply>) {
        let place = {
            let mut state = self.0.state.lock();
            if state.is_writing {
                return reply
                    .refuse("it is still writing another change of its group or place: ask again later");
            }
            let place = change.apply(state.place.clone());
            if place == state.place && state.problem.is_none() {
                return reply.send(&PlaceReply { device: self.0.device.clone(), place });
            }
            state.is_writing = true;
            place
        };
        let this = self.clone();
        // The thread ends with the write; nobody joins it, as the disk may hang.
        let started =
            std::thread::Builder::new().name("swsync-place".into()).spawn(move || this.write(place, reply));
        if let Err(error) = started {
            // The reply was dropped with the thread's closure: its sender is told that the device could not.
            log::warn!(%error, "no thread to write the device's place in");
            self.0.state.lock().is_writing = false;
        }
    }

    fn write(&self, place: DevicePlace, reply: Reply<PlaceReply>) {
        let written = self.0.file.write(&place);
        {
            let mut state = self.0.state.lock();
            state.is_writing = false;
            if written.is_ok() {
                (state.place, state.problem) = (place.clone(), None);
            }
        }
        match written {
            Ok(()) => reply.send(&PlaceReply { device: self.0.device.clone(), place }),
            Err(error) => reply.refuse(&bounded::cut(&format!(
                "its group and place could not be written, and are as before: {error}"
            ))),
        }
    }
}
