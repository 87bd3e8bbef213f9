//! Controls that the operator sets for the whole rig.
//!
//! They come before the element's properties, for as long as they hold: see `swsync_core::camera_settings`. The order service of the
//! pipeline keeps them, and tells the camera by [`ControlQueue::sync_rig`].

use std::collections::{BTreeMap, VecDeque};

use swsync_core::camera_settings::{
    Assignments, CameraControl, CameraReport, ChangeState, ChangeWatch, ControlRefusal, ControlValue,
    ControlValues, Readiness,
};
use swsync_core::frame::FrameInfo;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::name::Name;
use swsync_core::time::{Rig, Timestamp};

use super::{ControlLimits, ControlQueue, State, put};
use crate::camera::controls::{Control, Setting, Value, control_of, control_value, range_of, value_of};

/// Changes of which the result is remembered. The operator's command asks for it within seconds.
const MAX_WATCHES: usize = 32;

/// Controls and their values; `None`: back to the property.
type RigAssignment = Vec<(&'static Control, Option<Value>)>;

/// A change for a future frame.
#[derive(Debug, Clone)]
pub struct AheadChange {
    /// Its id.
    pub change: Name,
    /// The first frame that it holds for.
    pub number: FrameNumber,
    /// What it sets.
    pub assign: Assignments,
}

/// What the rig sets on this camera.
#[derive(Debug, Clone, Default)]
pub struct RigSync {
    /// What holds at the given instant.
    pub holds: Assignments,
    /// Changes that hold later, in the order of their frames.
    pub ahead: Vec<AheadChange>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct RigControls {
    /// The values that hold, or went out to the camera, by properties.
    values: BTreeMap<&'static str, Value>,
    ahead: Vec<AheadChange>,
    watches: VecDeque<(Name, ChangeWatch)>,
}

impl RigControls {
    pub(super) fn value(&self, control: &Control) -> Option<&Value> {
        self.get(control.property)
    }

    pub(super) fn get(&self, property: &str) -> Option<&Value> {
        self.values.get(property)
    }

    pub(super) fn values(&self) -> BTreeMap<&'static str, Value> {
        self.values.clone()
    }

    pub(super) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// The changes up to frame `reach`.
    pub(super) fn take_due(&mut self, reach: FrameNumber) -> Vec<AheadChange> {
        self.ahead.extract_if(.., |change| change.number <= reach).collect()
    }

    /// `change` goes out: its settings that the camera takes.
    pub(super) fn begin(
        &mut self,
        change: &AheadChange,
        asked: &BTreeMap<&'static str, Value>,
        limits: &ControlLimits,
    ) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (control, value) in assignment(&change.assign, limits) {
            let was_set = match &value {
                Some(value) => {
                    self.values.insert(control.property, value.clone());
                    true
                }
                None => self.values.remove(control.property).is_some(),
            };
            settings.extend(was_set.then(|| resolve(control, value, asked, limits)).flatten());
        }
        settings
    }

    pub(super) fn handle_applied(&mut self, change: &Name, first: Option<FrameNumber>) {
        if let Some((_, watch)) = self.watches.iter_mut().find(|(known, _)| known == change) {
            watch.handle_applied(first);
        }
    }

    pub(super) fn handle_frame(&mut self, frame: &FrameInfo, used: impl Fn() -> ControlValues) {
        for (_, watch) in self.watches.iter_mut().filter(|(_, watch)| !watch.is_done()) {
            watch.handle_frame(frame, &used);
        }
    }
}

/// What of `assign` the camera takes.
fn assignment(assign: &Assignments, limits: &ControlLimits) -> RigAssignment {
    let taken = assign.iter().filter_map(|(control, value)| {
        let of = control_of(*control);
        let value = match value {
            Some(value) => Some(value_of(*control, value)?),
            None => None,
        };
        let is_taken = value
            .as_ref()
            .is_none_or(|value| limits.check(&Setting { control: of, value: value.clone() }).is_ok());
        is_taken.then_some((of, value))
    });
    taken.collect()
}

/// The setting of `control` to `value`, or back to its property; `None`: the camera goes back only when it is started again.
fn resolve(
    control: &'static Control,
    value: Option<Value>,
    asked: &BTreeMap<&'static str, Value>,
    limits: &ControlLimits,
) -> Option<Setting> {
    let unset = || limits.ranges.unset_value(control);
    let value = value.or_else(|| asked.get(control.property).cloned()).or_else(unset)?;
    Some(Setting { control, value })
}

/// What the camera used in `frame`, as far as it reports that.
pub(super) fn used(frame: &FrameInfo, reported: &[Setting]) -> ControlValues {
    let mut used: ControlValues =
        reported.iter().filter_map(|Setting { control, value }| control_value(control, value)).collect();
    if let Some(exposure) = frame.exposure_ns {
        used.insert(CameraControl::ExposureTime, ControlValue::Time(exposure));
    }
    if let Some(gain) = frame.analogue_gain
        && used.get(CameraControl::AnalogueGain).is_none()
    {
        used.insert(CameraControl::AnalogueGain, ControlValue::Number(gain));
    }
    used
}

impl ControlQueue {
    /// The value that `control` was set to, by the rig or else by its property.
    pub fn wanted(&self, control: &Control) -> Option<Value> {
        let state = self.0.lock();
        state.rig.value(control).or_else(|| state.asked.get(control.property)).cloned()
    }

    /// Takes what the rig sets. `sync` is called with the instant of the first frame that can still be determined; `None`: the camera
    /// does not stream, and begins with what holds. Changes up to that instant have gone out, or go out with the next request.
    pub fn sync_rig(&self, sync: impl FnOnce(Option<(Timestamp<Rig>, FrameGrid)>) -> RigSync) {
        let mut state = self.0.lock();
        let State { asked, rig, streaming, .. } = &mut *state;
        let horizon = streaming
            .as_ref()
            .and_then(|streaming| Some((streaming.grid.instant(streaming.reach?), streaming.grid)));
        let RigSync { holds, ahead } = sync(horizon);
        let mut values = BTreeMap::new();
        for (control, value) in holds.values().iter() {
            let of = control_of(*control);
            if let Some(value) = value_of(*control, value) {
                values.insert(of.property, value);
            }
        }
        let before = std::mem::replace(&mut rig.values, values);
        if let Some(streaming) = streaming {
            let all = before.keys().chain(rig.values.keys()).copied();
            let changed: std::collections::BTreeSet<_> =
                all.filter(|property| before.get(property) != rig.values.get(property)).collect();
            for property in changed {
                let control = super::by_property(property).expect("of a control");
                let value = rig.values.get(property).cloned();
                let setting = resolve(control, value, asked, &streaming.limits);
                if let Some(setting) = setting.filter(|setting| streaming.limits.check(setting).is_ok()) {
                    put(&mut streaming.next, setting);
                }
            }
        }
        for change in &ahead {
            if !rig.watches.iter().any(|(known, _)| *known == change.change) {
                let watch = ChangeWatch::new(change.number, change.assign.clone());
                rig.watches.push_back((change.change.clone(), watch));
            }
        }
        let surplus = rig.watches.len().saturating_sub(MAX_WATCHES);
        rig.watches.drain(..surplus);
        rig.ahead = ahead;
    }

    /// Whether `change` waits for its frame, and has not gone out to the camera.
    pub fn is_ahead(&self, change: &Name) -> bool {
        self.0.lock().rig.ahead.iter().any(|ahead| ahead.change == *change)
    }

    /// What the camera does not take of `assign`, and what is to be known for a change of the rest; the latter is `None` if the
    /// camera does not stream.
    pub fn check_rig(&self, assign: &Assignments) -> (Vec<ControlRefusal>, Option<(Readiness, FrameInfo)>) {
        let state = self.0.lock();
        let Some(streaming) = &state.streaming else { return (Vec::new(), None) };
        let refusals = assign.iter().filter_map(|(control, value)| {
            let of = control_of(*control);
            let value = value_of(*control, value.as_ref()?)?;
            let why = streaming.limits.check(&Setting { control: of, value }).err()?.to_string();
            let takes = streaming.limits.ranges.range(of).map(|range| range_of(of, range));
            Some(ControlRefusal { control: Some(*control), takes, why })
        });
        let ready = streaming.newest.map(|newest| {
            let reach = streaming.reach.unwrap_or(newest.number);
            let lead = u32::try_from(reach.saturating_sub(newest.number)).unwrap_or(u32::MAX);
            let rate = streaming.grid;
            (Readiness { newest: newest.number, rate, timescale: newest.timescale, lead }, newest)
        });
        (refusals.collect(), ready)
    }

    /// What became of `change`, if that is remembered.
    pub fn rig_outcome(&self, change: &Name) -> Option<ChangeState> {
        let state = self.0.lock();
        state.rig.watches.iter().find(|(known, _)| known == change).map(|(_, watch)| watch.state())
    }

    /// What the camera uses and takes. Its model and what the rig has set is known elsewhere.
    pub fn rig_report(&self) -> CameraReport {
        let state = self.0.lock();
        let Some(streaming) = &state.streaming else { return CameraReport::default() };
        let ranges = streaming.limits.ranges.iter().filter_map(|(control, range)| {
            Some((crate::camera::controls::camera_control(control)?, range_of(control, range)))
        });
        CameraReport {
            camera: Some(streaming.limits.ranges.camera().to_owned()),
            frame: streaming.newest.map(|frame| frame.number),
            used: streaming.newest.map(|frame| used(&frame, &streaming.reported)).unwrap_or_default(),
            lock: streaming.newest.and_then(|frame| frame.lock),
            ranges: ranges.collect(),
            ..CameraReport::default()
        }
    }
}
