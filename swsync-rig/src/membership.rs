//! The membership of a device in a rig: it is present, takes orders, and answers queries.

use std::sync::Arc;

use parking_lot::Mutex;
use swsync_core::name::DeviceId;
use zenoh::Wait;

use crate::id_claims::{IdClaims, IdGuard};
use crate::keys::Member;
use crate::order_catch_up::OrderCatchUp;
use crate::queries::{Declared, declare};
use crate::{ControlError, DeviceHandler, Session};

/// The membership of a device in the rig. Dropping it leaves the rig, which others see at once.
pub struct Membership {
    session: Arc<Session>,
    member: Member,
    /// `None` once the device has left.
    declared: Arc<Mutex<Option<Declared>>>,
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
            let mut joined = self.joined.lock();
            if let Some(other) = joined.iter().find(|other| other.is_folder_of(&device)) {
                return Err(self.alike(&device, other, "in this process".into()));
            }
            joined.insert(device.clone());
        }
        // From here on, dropping `membership` undoes everything.
        let mut membership = Membership {
            session: Arc::clone(self),
            member: member.clone(),
            declared: Arc::default(),
            guard: None,
            catch_up: None,
        };
        let claims = Arc::new(IdClaims::new(member.instance.clone()));
        for rival in self.rivals(&member)? {
            if let Some(verdict) =
                self.claim(&rival, &claims).filter(|verdict| verdict.stays != member.instance)
            {
                return Err(self.alike(&device, &rival.device, verdict.place));
            }
        }
        *membership.declared.lock() = Some(declare(self, &member, &handler, &claims)?);
        membership.catch_up = Some(OrderCatchUp::start(self, device, Arc::clone(&handler))?);
        // Two devices that join at once see each other only now: the guard settles which of them stays.
        let (session, own, declared) = (Arc::clone(self), member.clone(), Arc::clone(&membership.declared));
        membership.guard = Some(IdGuard::start(self, member, claims, move |place| {
            let error = session.duplicate(&own.device, place);
            swsync_core::log::error!(device = %own.device, "{error}; this one leaves");
            session.leave(&own, &declared);
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
    fn leave(&self, member: &Member, declared: &Mutex<Option<Declared>>) {
        let Some(declared) = declared.lock().take() else { return };
        let leaving = self.zenoh.liveliness().declare_token(self.keys.leaving(member)).wait();
        if let Err(error) = &leaving {
            swsync_core::log::debug!(%error, "others cannot be told that this device leaves in good order");
        }
        drop(declared);
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
        self.session.leave(&self.member, &self.declared);
        drop(self.catch_up.take());
        drop(self.guard.take());
        self.session.joined.lock().remove(&self.member.device);
    }
}
