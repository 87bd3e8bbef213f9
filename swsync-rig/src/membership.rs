//! The membership of a device in a rig: it is present, takes orders, and answers queries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use swsync_core::name::DeviceId;
use zenoh::Wait;

use crate::id_claims::{IdClaims, IdGuard};
use crate::keys::Member;
use crate::link::Held;
use crate::order_catch_up::OrderCatchUp;
use crate::queries::Answers;
use crate::{ControlError, DeviceHandler, Session};

/// How long joining waits for a connection. Without one a device joins as soon as there is one.
const CONNECT: Duration = Duration::from_secs(2);

/// The membership of a device in the rig. Dropping it leaves the rig, which others see at once.
pub struct Membership {
    session: Arc<Session>,
    member: Member,
    /// `None` once the device has left.
    held: Arc<Mutex<Option<Held>>>,
    /// Settles which device stays when another one comes with the same id.
    guard: Option<IdGuard>,
    /// Learns of open orders from other devices.
    catch_up: Option<OrderCatchUp>,
}

impl Session {
    /// Makes `device` part of the rig: it is present, and `handler` gets orders and answers queries.
    ///
    /// # Errors
    /// [`ControlError::DuplicateDevice`] if a device with that id is in the rig. If such a device is seen only later,
    /// [`DeviceHandler::handle_duplicate`] is called.
    pub fn join(
        self: &Arc<Self>,
        device: DeviceId,
        handler: Arc<dyn DeviceHandler>,
    ) -> Result<Membership, ControlError> {
        let member = Member { device: device.clone(), instance: self.instance.clone() };
        {
            let mut devices = self.link().devices.lock();
            if let Some(other) = devices.keys().find(|other| other.is_folder_of(&device)) {
                return Err(self.alike(&device, other, "in this process".into()));
            }
            devices.insert(device.clone(), None);
        }
        // From here on, dropping `membership` undoes everything.
        let mut membership = Membership {
            session: Arc::clone(self),
            member: member.clone(),
            held: Arc::default(),
            guard: None,
            catch_up: None,
        };
        let claims = Arc::new(IdClaims::new(member.instance.clone()));
        self.link().wait_linked(Instant::now() + CONNECT);
        for rival in self.rivals(&member)? {
            if let Some(verdict) =
                self.claim(&rival, &claims).filter(|verdict| verdict.stays != member.instance)
            {
                return Err(self.alike(&device, &rival.device, verdict.place));
            }
        }
        let answers = Answers::new(self, member.clone(), Arc::clone(&handler), Arc::clone(&claims));
        let keys = self.keys().clone();
        *membership.held.lock() =
            Some(self.link().hold(move |zenoh| Ok(Box::new(answers.declare(&keys, zenoh)?)))?);
        self.link().devices.lock().insert(device.clone(), Some(Arc::clone(&handler)));
        membership.catch_up = Some(OrderCatchUp::start(self, device, Arc::clone(&handler))?);
        // Two devices that join at once see each other only now: the guard settles which of them stays.
        let (session, own, held) = (Arc::clone(self), member.clone(), Arc::clone(&membership.held));
        membership.guard = Some(IdGuard::start(self, member, claims, move |place| {
            let error = session.duplicate(&own.device, place);
            swsync_core::log::error!(device = %own.device, "{error}; this one leaves");
            session.leave(&own, &held);
            handler.handle_duplicate(&error);
        })?);
        Ok(membership)
    }

    fn duplicate(&self, device: &DeviceId, place: String) -> ControlError {
        ControlError::DuplicateDevice { device: device.clone(), rig: self.rig().clone(), place }
    }

    /// The error that `device` and `other` would share a folder on many disks.
    fn alike(&self, device: &DeviceId, other: &DeviceId, place: String) -> ControlError {
        if device == other {
            return self.duplicate(device, place);
        }
        let (device, other, rig) = (device.clone(), other.clone(), self.rig().clone());
        ControlError::AlikeDevice { device, other, rig }
    }

    /// Takes `member` out of the rig in good order, so that it is not missed.
    fn leave(&self, member: &Member, held: &Mutex<Option<Held>>) {
        let Some(held) = held.lock().take() else { return };
        self.link().devices.lock().insert(member.device.clone(), None);
        let leaving = self.link().zenoh().map(|zenoh| {
            zenoh.liveliness().declare_token(self.keys().leaving(member)).wait().inspect_err(|error| {
                swsync_core::log::debug!(%error, "others cannot be told that this device leaves in good order");
            })
        });
        drop(held);
        drop(leaving);
    }
}

impl Membership {
    /// The device's id.
    #[must_use]
    pub const fn device(&self) -> &DeviceId {
        &self.member.device
    }

    /// The session that the device joined with.
    #[must_use]
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.session.leave(&self.member, &self.held);
        drop(self.catch_up.take());
        drop(self.guard.take());
        self.session.link().devices.lock().remove(&self.member.device);
    }
}
