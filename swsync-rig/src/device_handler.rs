//! What a device must do to be part of a rig: the trait that [`Session::join`](crate::Session::join) calls.

use swsync_core::camera_settings::{SettingsLog, SettingsReply, SettingsRequest};
use swsync_core::centre::{CentreReply, CentreRequest};
use swsync_core::doctor::Diagnosis;
use swsync_core::exchanges::ClockExchanges;
use swsync_core::identify::{IdentifyReply, IdentifyRequest};
use swsync_core::order::{Acknowledgement, Answer, Order, OrderCommand, OrderRoster};
use swsync_core::place::{PlaceChange, PlaceReply};
use swsync_core::rig_date::{RigDate, RigDates};
use swsync_core::status::Status;
use swsync_core::thumbnail::{ThumbnailReply, ThumbnailRequest};

use crate::ControlError;

/// What a device does for the rig. Called on network threads: each call must return soon, so hand long work to a thread of your
/// own.
pub trait DeviceHandler: Send + Sync {
    /// Handles an order. Answer by `reply` once every frame is accounted for.
    ///
    /// An open order can arrive again, with another `reply`, if its sender lost the connection: answer that one too.
    fn handle_order(&self, order: Order, reply: Reply);

    /// Stops or cancels an order.
    fn handle_command(&self, command: &OrderCommand) -> Acknowledgement;

    /// The open orders, recent commands and camera settings, for devices that missed some.
    fn registry(&self) -> OrderRoster;

    /// The status of the device.
    fn status(&self) -> Status;

    /// Changes the group or the place of the device, and replies once the change is on its disk.
    fn handle_name(&self, change: PlaceChange, reply: Reply<PlaceReply>) {
        let _ = change;
        reply.refuse("this device has no disk to keep a group and a place on");
    }

    /// Blinks the board's LED for a while, and replies once it does.
    fn handle_identify(&self, request: IdentifyRequest, reply: Reply<IdentifyReply>) {
        let _ = request;
        reply.refuse("this device has no LED that it could blink");
    }

    /// Measures the centre of a frame, and replies once that frame was there.
    fn handle_centre(&self, request: CentreRequest, reply: Reply<CentreReply>) {
        let _ = request;
        reply.refuse("this device does not see the pixels of a camera");
    }

    /// Makes a small picture of a frame, and replies with it.
    fn handle_thumbnail(&self, request: ThumbnailRequest, reply: Reply<ThumbnailReply>) {
        let _ = request;
        reply.refuse("this device does not see the pixels of a camera");
    }

    /// The recent exchanges of its clock with the time server. `None`: its clock does not come from one.
    fn exchanges(&self) -> Option<ClockExchanges> {
        None
    }

    /// What is wrong with the device and its host. Unlike the others, this is called on a thread of its own, one at a time, and may take
    /// some seconds. `None`: it does not examine itself.
    fn diagnose(&self) -> Option<Diagnosis> {
        None
    }

    /// Handles a request that concerns the settings of the camera. One may come twice.
    fn handle_settings(&self, request: &SettingsRequest) -> SettingsReply {
        let _ = request;
        SettingsReply::refused("this device has no camera that swsync can set")
    }

    /// Learns which settings other devices know of.
    fn learn_settings(&self, known: &SettingsLog) {
        let _ = known;
    }

    /// Notes what date the rig's time scale stands for. Returns the date that counts now, or why this one cannot be noted.
    fn handle_date(&self, date: RigDate) -> Result<RigDate, String> {
        let _ = date;
        Err("this device keeps no dates".to_owned())
    }

    /// Learns which dates other devices know of.
    fn learn_dates(&self, known: &RigDates) {
        let _ = known;
    }

    /// Handles that another device has the same id and was in the rig first, which was not known when this one joined. This
    /// one has left the rig, since two devices with one id would answer for each other. Tell the user.
    fn handle_duplicate(&self, error: &ControlError) {
        let _ = error;
    }
}

/// The reply to an order, or to another request, whose answer is an `M`.
///
/// If it is dropped without an answer, it tells the sender that the device was stopped first, so that nobody waits for it.
pub struct Reply<M = Answer>(Option<ReplyTo<M>>);

/// Sends the answer, or why there is none.
type ReplyTo<M> = Box<dyn FnOnce(Result<&M, &str>) + Send>;

impl<M> Reply<M> {
    /// A reply that hands the answer, or why there is none, to `send`: for orders that do not come through Zenoh.
    #[must_use]
    pub fn new(send: impl FnOnce(Result<&M, &str>) + Send + 'static) -> Self {
        Self(Some(Box::new(send)))
    }

    /// The reply to an order whose answer nobody waits for.
    #[must_use]
    pub const fn unwanted() -> Self {
        Self(None)
    }

    /// Whether somebody waits for the answer. One that is not wanted need not be kept.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Tells why there will be no answer.
    pub fn refuse(mut self, why: &str) {
        if let Some(send) = self.0.take() {
            send(Err(why));
        }
    }

    /// Sends the answer.
    pub fn send(mut self, answer: &M) {
        if let Some(send) = self.0.take() {
            send(Ok(answer));
        }
    }
}

impl<M> Drop for Reply<M> {
    fn drop(&mut self) {
        if let Some(send) = self.0.take() {
            send(Err("the device was stopped first"));
        }
    }
}

impl<M> std::fmt::Debug for Reply<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use swsync_core::name::Name;

    use super::*;

    fn answer() -> Answer {
        let name = |name| Name::new(name).unwrap();
        Answer {
            order: name("o"),
            device: name("d"),
            frames: Vec::new(),
            unnumbered: None,
            unfinished: None,
            basis: Default::default(),
        }
    }

    #[test]
    fn a_reply_is_sent_exactly_once() {
        let (tx, rx) = mpsc::channel();
        let reply = || {
            let tx = tx.clone();
            Reply::new(move |answer| tx.send(answer.cloned().map_err(str::to_owned)).unwrap())
        };
        reply().send(&answer());
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [Ok(answer())]);
        drop(reply());
        let refused = Err("the device was stopped first".to_owned());
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [refused]);
    }
}
