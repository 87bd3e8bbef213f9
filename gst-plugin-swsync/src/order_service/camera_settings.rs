//! Requests of the rig that concern the camera's settings: checks them, keeps them, and sets the camera.

use std::sync::Arc;

use parking_lot::Mutex;
use swsync_core::camera_settings::{
    CameraReport, ChangeOutcome, ChangePart, ChangeState, ControlRefusal, Readiness, SettingsChange,
    SettingsLog, SettingsReply, SettingsRequest,
};
use swsync_core::log;
use swsync_core::name::{DeviceId, Name};
use swsync_core::time::{Rig, Span, Timestamp};

use super::camera::{NO_CAMERA, PipelineCamera};
use super::element::ElementHooks;

/// A camera whose newest frame is older does not deliver any: no change could be confirmed.
const MAX_AGE: Span = Span::from_secs(2);

/// See the module's documentation.
pub struct CameraSettings {
    device: DeviceId,
    element: ElementHooks,
    /// What the rig has set, here and elsewhere. Taken before the camera's own lock.
    log: Mutex<SettingsLog>,
}

/// What a request comes to.
pub struct Handled {
    pub reply: SettingsReply,
    /// What is to be kept on the disk from now on, if that has changed.
    pub keep: Option<Arc<SettingsLog>>,
}

impl From<SettingsReply> for Handled {
    fn from(reply: SettingsReply) -> Self {
        Self { reply, keep: None }
    }
}

impl CameraSettings {
    pub fn new(device: DeviceId, element: ElementHooks) -> Self {
        Self { device, element, log: Mutex::default() }
    }

    /// Takes up what was set before a restart.
    pub fn restore(&self, log: SettingsLog) {
        *self.log.lock() = log;
        self.sync();
    }

    /// Sets the camera, if there is one by now.
    pub fn sync(&self) {
        let log = self.log.lock();
        if let Some(camera) = (!log.is_empty()).then(|| PipelineCamera::of(&self.element)).flatten() {
            camera.sync(&log, &self.device);
        }
    }

    /// What is known of the rig's settings.
    pub fn known(&self) -> SettingsLog {
        self.log.lock().clone()
    }

    /// Learns what others know, at rig time `now`. Returns what is to be kept from now on, if that has changed.
    pub fn learn(&self, known: &SettingsLog, now: Option<Timestamp<Rig>>) -> Option<Arc<SettingsLog>> {
        let kept = {
            let mut log = self.log.lock();
            log.merge(known, now.unwrap_or(Timestamp::ZERO)).then(|| Arc::new(log.clone()))
        };
        if kept.is_some() {
            log::info!("camera settings that were given while this device was away");
            self.sync();
        }
        kept
    }

    /// Handles a request at rig time `now`.
    pub fn handle(&self, request: &SettingsRequest, now: Option<Timestamp<Rig>>) -> Handled {
        match request {
            SettingsRequest::Check { parts } => self
                .check(parts, now)
                .map_or_else(|refused| refused, |ready| SettingsReply::Ready { ready })
                .into(),
            SettingsRequest::Set { change, partial } => self.set(change, *partial, now),
            SettingsRequest::Withdraw { change } => self.withdraw(change),
            SettingsRequest::Outcome { change } => {
                let outcome = ChangeOutcome { change: change.clone(), state: self.state_of(change) };
                SettingsReply::Outcome { outcome }.into()
            }
            SettingsRequest::Report => SettingsReply::Report { report: Box::new(self.report()) }.into(),
        }
    }

    /// Whether the camera takes `parts`.
    #[expect(clippy::result_large_err, reason = "the error is the reply, and goes out at once")]
    fn check(&self, parts: &[ChangePart], now: Option<Timestamp<Rig>>) -> Result<Readiness, SettingsReply> {
        let Some(camera) = PipelineCamera::of(&self.element) else {
            return Err(SettingsReply::refused(NO_CAMERA));
        };
        let (refusals, seen) = camera.check(&ChangePart::all_for(parts, &self.device));
        let Some((ready, newest)) = seen else {
            return Err(SettingsReply::refused(
                "its camera has not delivered a frame yet, so what it takes is not known: is the pipeline PLAYING?",
            ));
        };
        if let Some(age) = now.map(|now| now - newest.rig_time_ns).filter(|age| *age > MAX_AGE) {
            let age = age.as_secs_f64();
            return Err(SettingsReply::refused(format!(
                "its camera has delivered no frame for {age:.1} s: `swsync status` may say why"
            )));
        }
        if refusals.is_empty() {
            return Ok(ready);
        }
        Err(SettingsReply::Refused { refusals, ready: Some(ready) })
    }

    fn set(&self, change: &SettingsChange, partial: bool, now: Option<Timestamp<Rig>>) -> Handled {
        {
            let log = self.log.lock();
            if log.changes().iter().any(|known| known.change == change.change) {
                return SettingsReply::Taken.into(); // it came twice
            }
            if log.is_withdrawn(&change.change) {
                return SettingsReply::refused("it was taken back").into();
            }
        }
        let concerns = !change.for_device(&self.device).is_empty();
        if concerns {
            let ready = match self.check(&change.parts, now) {
                Err(SettingsReply::Refused { ready: Some(ready), .. }) if partial => ready,
                Err(refused) => return refused.into(),
                Ok(ready) => ready,
            };
            if (change.rate, change.timescale) != (ready.rate, ready.timescale) {
                let why = "its frames are numbered by another frame rate or time scale than the change";
                return SettingsReply::refused(why).into();
            }
            let earliest = ready.newest + u64::from(ready.lead) + 1;
            if change.frame < earliest {
                return SettingsReply::Late { earliest }.into();
            }
        }
        let kept = {
            let mut log = self.log.lock();
            if let Err(full) = log.add(change.clone(), now.unwrap_or(Timestamp::ZERO)) {
                return SettingsReply::refused(full.to_string()).into();
            }
            Arc::new(log.clone())
        };
        if concerns {
            self.sync();
        }
        Handled { reply: SettingsReply::Taken, keep: Some(kept) }
    }

    fn withdraw(&self, change: &Name) -> Handled {
        let camera = PipelineCamera::of(&self.element);
        let (kept, concerns) = {
            let mut log = self.log.lock();
            let known = log.changes().iter().find(|known| known.change == *change);
            let concerns = known.is_some_and(|known| !known.for_device(&self.device).is_empty());
            log.withdraw(change);
            (Arc::new(log.clone()), concerns)
        };
        let was_ahead = camera.as_ref().is_none_or(|camera| camera.is_ahead(change));
        if concerns {
            self.sync();
        }
        let reply = SettingsReply::Withdrawn { late: concerns && !was_ahead };
        Handled { reply, keep: Some(kept) }
    }

    fn state_of(&self, change: &Name) -> ChangeState {
        let log = self.log.lock();
        if log.is_withdrawn(change) {
            return ChangeState::Withdrawn;
        }
        let seen = PipelineCamera::of(&self.element).and_then(|camera| camera.outcome(change));
        let known = log.changes().iter().find(|known| known.change == *change);
        match (seen, known) {
            (Some(state), _) => state,
            (None, Some(known)) if known.for_device(&self.device).is_empty() => ChangeState::ForOthers,
            (None, _) => ChangeState::Unknown,
        }
    }

    fn report(&self) -> CameraReport {
        let log = self.log.lock();
        let Some(camera) = PipelineCamera::of(&self.element) else {
            let set = log.assignments(&self.device, Timestamp::MAX);
            return CameraReport { set, problem: Some(NO_CAMERA.to_owned()), ..CameraReport::default() };
        };
        let report = camera.report();
        let ahead: std::collections::BTreeMap<_, _> = log
            .later(&self.device, Timestamp::ZERO)
            .filter(|change| camera.is_ahead(&change.change))
            .map(|change| (change.change.clone(), change.frame))
            .collect();
        let holds_until = log.changes().iter().filter(|change| ahead.contains_key(&change.change));
        let before = holds_until.map(|change| change.at() - Span::from_nanos(1)).min();
        let set = log.assignments(&self.device, before.unwrap_or(Timestamp::MAX));
        let (refusals, _) = camera.check(&set);
        let problem = match (&report.camera, &refusals[..]) {
            (None, _) => Some("its camera does not stream".to_owned()),
            (Some(_), []) => None,
            (Some(_), refusals) => {
                let why: Vec<_> = refusals.iter().map(|ControlRefusal { why, .. }| why.clone()).collect();
                Some(format!("what the rig has set does not go with its camera: {}", why.join("; ")))
            }
        };
        CameraReport { set, ahead, problem, ..report }
    }
}
