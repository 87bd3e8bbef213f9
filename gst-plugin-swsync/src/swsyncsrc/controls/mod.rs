//! Controls that users set, from properties, events and signals to the camera's requests.
//!
//! Any thread puts settings into the [`ControlQueue`]. With each frame the streaming thread takes those that are due. Settings that
//! the camera does not accept are refused immediately, or when streaming begins if they were set before, as only then the camera's
//! ranges are known.

mod element;
mod pending;
mod properties;
mod rig;

use parking_lot::Mutex;
use std::collections::BTreeMap;

use swsync_core::frame::FrameInfo;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::time::Span;

use crate::camera::controls::{Control, Ranges, Refusal, Setting, Value, by_name, by_property};
use crate::camera::{Camera, Capabilities, Pacing};

pub use element::{handle_event, property, refuse_all, report, set_property, signals};
pub use pending::Applied;
use pending::PendingSettings;
pub use properties::properties;
use rig::RigControls;
pub use rig::{AheadChange, RigSync};

/// What a configured camera accepts.
#[derive(Debug, Clone)]
pub struct ControlLimits {
    /// Its controls and their ranges.
    pub ranges: Ranges,
    /// Whether the aligner sets the lengths of its frames.
    pub aligned: bool,
    /// Frames from the one just taken to the first that settings handed over now will determine.
    pub lead: u32,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct ControlQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Values that properties were set to, by their names.
    asked: BTreeMap<&'static str, Value>,
    /// Settings for future frames, in the order in which they were set.
    for_frames: Vec<FrameSettings>,
    /// What the rig has set. It comes before properties.
    rig: RigControls,
    streaming: Option<Streaming>,
}

/// Settings from a certain frame on.
#[derive(Debug)]
struct FrameSettings {
    number: FrameNumber,
    settings: Vec<Setting>,
}

#[derive(Debug)]
struct Streaming {
    limits: ControlLimits,
    grid: FrameGrid,
    newest: Option<FrameInfo>,
    /// The newest frame that settings which have gone out can determine.
    reach: Option<FrameNumber>,
    /// An exposure that has gone out for a certain frame.
    exposure_sent: Option<(FrameNumber, Span)>,
    /// Settings for the next request.
    next: Vec<Setting>,
    pending: Vec<PendingSettings>,
    /// What the newest frame reports.
    reported: Vec<Setting>,
    /// The measured lead of the previous settings. Two that agree are used.
    seen_lead: Option<u32>,
}

impl ControlQueue {
    /// The value that the property of `control` was set to.
    #[cfg(all(test, feature = "simulation"))]
    fn asked(&self, control: &Control) -> Option<Value> {
        self.0.lock().asked.get(control.property).cloned()
    }

    /// The value of `control` that the newest frame reports, while the camera streams.
    pub fn reported(&self, control: &Control) -> Option<Value> {
        let state = self.0.lock();
        let reported = state.streaming.as_ref()?.reported.iter().find(|of| of.control == control);
        reported.map(|of| of.value.clone())
    }

    /// Keeps what a frame reports.
    pub fn note_reported(&self, reported: Vec<Setting>) {
        // With most cameras either no frame reports controls, or each does.
        if reported.is_empty() {
            return;
        }
        if let Some(streaming) = &mut self.0.lock().streaming {
            streaming.reported = reported;
        }
    }

    /// Sets a property. The setting goes out with the next request; while the rig has set the control, once that is over.
    ///
    /// # Errors
    /// The camera does not accept it. Then nothing changes.
    pub fn set(&self, setting: Setting) -> Result<(), Refusal> {
        let mut state = self.0.lock();
        if let Some(streaming) = &mut state.streaming {
            streaming.limits.check(&setting)?;
        }
        let is_rigs = state.rig.value(setting.control).is_some();
        let before = state.asked.insert(setting.control.property, setting.value.clone());
        // Control bindings set the same value with every frame. A trigger takes effect each time.
        let again = before.as_ref() == Some(&setting.value) && setting.control.name != "AfTrigger";
        if !again
            && !is_rigs
            && let Some(streaming) = &mut state.streaming
        {
            put(&mut streaming.next, setting);
        }
        Ok(())
    }

    /// Unsets a property. From the next start on the camera decides.
    pub fn unset(&self, control: &Control) {
        self.0.lock().asked.remove(control.property);
    }

    /// Sets controls so that they are in effect for the frame `number`, and all later ones.
    ///
    /// # Errors
    /// The first that the camera does not accept. Then none of them is set.
    pub fn set_at(&self, number: FrameNumber, settings: Vec<Setting>) -> Result<(), Refusal> {
        let mut state = self.0.lock();
        if let Some(streaming) = &state.streaming {
            settings.iter().try_for_each(|setting| streaming.limits.check(setting))?;
        }
        state.for_frames.push(FrameSettings { number, settings });
        Ok(())
    }

    /// Stages the settings that `camera`, just configured, starts with on `grid`. Returns those that it refuses.
    pub fn begin(&self, camera: &mut dyn Camera, can: &Capabilities, grid: FrameGrid) -> Vec<Refusal> {
        let (settings, refusals) = self.start(ControlLimits::of(camera, can, grid), grid);
        camera.stage(settings);
        refusals
    }

    fn start(&self, limits: ControlLimits, grid: FrameGrid) -> (Vec<Setting>, Vec<Refusal>) {
        let mut state = self.0.lock();
        let (mut settings, mut refusals) = (Vec::new(), Vec::new());
        let mut wanted = state.asked.clone();
        wanted.extend(state.rig.values());
        for (property, value) in wanted {
            let control = by_property(property).expect("asked of a control");
            let setting = Setting { control, value };
            match limits.check(&setting) {
                Ok(()) => settings.push(setting),
                Err(refusal) => refusals.push(refusal),
            }
        }
        state.for_frames.retain(|settings| {
            let refused = settings.settings.iter().find_map(|setting| limits.check(setting).err());
            let taken = refused.is_none();
            refusals.extend(refused);
            taken
        });
        state.streaming = Some(Streaming {
            limits,
            grid,
            newest: None,
            reach: None,
            exposure_sent: None,
            next: Vec::new(),
            pending: Vec::new(),
            reported: Vec::new(),
            seen_lead: None,
        });
        (settings, refusals)
    }

    /// The setting that turns auto exposure on again after one frame of a given exposure, unless the user has turned it off or
    /// set an exposure.
    pub fn auto_exposure(&self) -> Option<Setting> {
        let state = self.0.lock();
        let asked = |property| state.rig.get(property).or_else(|| state.asked.get(property));
        let fixed = asked("exposure-time").is_some() || asked("ae-enable") == Some(&Value::Bool(false));
        let control = by_name("AeEnable").expect("it is in the table");
        let setting = Setting { control, value: Value::Bool(true) };
        let takes = |streaming: &Streaming| streaming.limits.check(&setting).is_ok();
        (!fixed && state.streaming.as_ref().is_some_and(takes)).then_some(setting)
    }

    /// The camera has stopped.
    pub fn end(&self) {
        self.0.lock().streaming = None;
    }

    /// The settings that go out after frame `number`. `lead`: frames from that one to the first that they will determine, if that
    /// is measured.
    pub fn due(&self, number: FrameNumber, lead: Option<u32>) -> Vec<Setting> {
        let mut state = self.0.lock();
        let State { for_frames, asked, rig, streaming: Some(streaming) } = &mut *state else {
            return Vec::new();
        };
        if let Some(lead) = lead {
            streaming.limits.lead = lead;
        }
        let reach = number + u64::from(streaming.limits.lead);
        streaming.reach = Some(reach);
        if for_frames.is_empty() && streaming.next.is_empty() && !rig.has_ahead() {
            return Vec::new();
        }
        let mut due = std::mem::take(&mut streaming.next);
        if !due.is_empty() {
            streaming.pending.push(PendingSettings::new(None, number, reach, &due));
        }
        for ready in for_frames.extract_if(.., |settings| settings.number <= reach) {
            streaming.pending.push(PendingSettings::new(Some(ready.number), number, reach, &ready.settings));
            streaming.note_exposure(ready.number, &ready.settings);
            for setting in ready.settings {
                put(&mut due, setting);
            }
        }
        for change in rig.take_due(reach) {
            let settings = rig.begin(&change, asked, &streaming.limits);
            let pending = PendingSettings::new(Some(change.number), number, reach, &settings);
            streaming.note_exposure(change.number, &settings);
            streaming.pending.push(pending.of_change(change.change));
            for setting in settings {
                put(&mut due, setting);
            }
        }
        due
    }

    /// The exposure that is set for a frame after `number`, and the first frame that will have it.
    pub fn planned_exposure(&self, number: FrameNumber) -> Option<(FrameNumber, Span)> {
        let state = self.0.lock();
        let State { for_frames, asked, rig, streaming: Some(streaming) } = &*state else { return None };
        let sent = streaming.exposure_sent.filter(|(frame, _)| *frame > number);
        let own = for_frames.iter().filter_map(|set| Some((set.number, exposure_of(&set.settings)?)));
        let rigs = rig.ahead().filter_map(|change| {
            Some((change.number, exposure_of(&rig.preview(change, asked, &streaming.limits))?))
        });
        // Most frames have nothing ahead of them.
        let ahead = own.chain(rigs).filter(|(frame, _)| *frame > number).min_by_key(|(frame, _)| *frame);
        sent.into_iter().chain(ahead).min_by_key(|(frame, _)| *frame)
    }

    /// Finds the settings that `frame` is the first to have. If they took the same number of frames twice in a row, later
    /// ones go out so many frames early.
    pub fn observe(&self, frame: &FrameInfo) -> Vec<Applied> {
        let mut state = self.0.lock();
        let State { asked, rig, streaming: Some(streaming), .. } = &mut *state else {
            return Vec::new();
        };
        streaming.newest = Some(*frame);
        let mut all = Vec::new();
        for mut pending in std::mem::take(&mut streaming.pending) {
            match pending.look(frame) {
                Some(applied) => {
                    if let Some(lead) = applied.lead
                        && streaming.seen_lead.replace(lead) == Some(lead)
                    {
                        streaming.limits.lead = lead;
                    }
                    if let Some(change) = &applied.change {
                        rig.handle_applied(change, applied.first);
                        // A lost register write: once more, unless something else holds by now.
                        for setting in applied.settings.iter().filter(|_| applied.first.is_none()) {
                            if rig.value(setting.control).is_none_or(|value| *value == setting.value) {
                                put(&mut streaming.next, setting.clone());
                            }
                        }
                        all.push(applied);
                        continue;
                    }
                    // The properties now have these values.
                    for Setting { control, value } in &applied.settings {
                        if applied.asked.is_some() {
                            asked.insert(control.property, value.clone());
                        }
                    }
                    all.push(applied);
                }
                None => streaming.pending.push(pending),
            }
        }
        rig.handle_frame(frame, || rig::used(frame, &streaming.reported));
        all
    }
}

impl Streaming {
    fn note_exposure(&mut self, number: FrameNumber, settings: &[Setting]) {
        self.exposure_sent = exposure_of(settings).map(|exposure| (number, exposure)).or(self.exposure_sent);
    }
}

/// The exposure that `settings` set, if it is a certain one.
fn exposure_of(settings: &[Setting]) -> Option<Span> {
    settings.iter().find_map(|setting| match (setting.control.name, &setting.value) {
        ("ExposureTime", Value::Int(us)) if *us > 0 => Some(Span::from_micros(i64::from(*us))),
        _ => None,
    })
}

impl ControlLimits {
    fn of(camera: &dyn Camera, can: &Capabilities, grid: FrameGrid) -> Self {
        let aligned = matches!(can.pacing, Pacing::FreeRunning(Some(_)));
        let mut ranges = camera.control_ranges();
        if aligned {
            // The aligner does not make frames longer for an exposure.
            let control = by_name("ExposureTime").expect("it is in the table");
            ranges = ranges.at_most(control, grid.period().as_micros_f64().floor());
        }
        Self { ranges, aligned, lead: camera.control_lead() }
    }

    fn check(&self, setting: &Setting) -> Result<(), Refusal> {
        self.ranges.check(setting, self.aligned)
    }
}

/// Adds `setting` to `settings`, in place of one of the same control.
fn put(settings: &mut Vec<Setting>, setting: Setting) {
    settings.retain(|other| other.control != setting.control);
    settings.push(setting);
}

#[cfg(all(test, feature = "simulation"))]
mod tests;
