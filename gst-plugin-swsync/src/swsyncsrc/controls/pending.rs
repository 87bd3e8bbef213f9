//! Finds out which frame is the first with new settings.

use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;
use swsync_core::name::Name;
use swsync_core::time::Span;

use crate::camera::controls::{Setting, Value};

/// Frames after the expected one at which settings count as without effect. Chosen: twice the longest known queue of
/// requests and delay of a control.
const PATIENCE: u64 = 20;

/// Cameras round. An exposure is accepted within a line or so, or 2 %; a gain within 5 %.
const EXPOSURE_STEP: Span = Span::from_micros(60);
const EXPOSURE_SHARE: i64 = 50;
const GAIN_SHARE: f64 = 0.05;

/// Settings that went out and are not known to be in effect.
#[derive(Debug)]
pub struct PendingSettings {
    asked: Option<FrameNumber>,
    /// The change of the rig's settings that they are of, if any.
    change: Option<Name>,
    sent: FrameNumber,
    expected: FrameNumber,
    settings: Vec<Setting>,
    /// Whether a frame without them was seen. Only then the first frame with them tells the lead.
    missing_before: bool,
    /// The newest frame, while none was lost since they went out. Otherwise the lead is not measured.
    unbroken: Option<FrameNumber>,
}

/// The result: settings that took effect, or did not.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The frame that they were set for, if any.
    pub asked: Option<FrameNumber>,
    /// The change of the rig's settings that they are of, if any.
    pub change: Option<Name>,
    /// The first frame with them; `None` if they had no effect. For controls that the camera does not report: the frame
    /// at which they are due.
    pub first: Option<FrameNumber>,
    /// The settings.
    pub settings: Vec<Setting>,
    /// Frames from the one after which they went out to the first with them, if that could be measured.
    pub lead: Option<u32>,
}

impl PendingSettings {
    /// `settings` for frame `asked` went out after frame `sent`; `expected` should be the first to have them.
    pub fn new(
        asked: Option<FrameNumber>,
        sent: FrameNumber,
        expected: FrameNumber,
        settings: &[Setting],
    ) -> Self {
        Self {
            asked,
            change: None,
            sent,
            expected,
            settings: settings.to_vec(),
            missing_before: false,
            unbroken: Some(sent),
        }
    }

    /// They are of this change of the rig's settings.
    pub fn of_change(self, change: Name) -> Self {
        Self { change: Some(change), ..self }
    }

    /// Looks at the next frame. Returns the result once it is known.
    pub fn look(&mut self, frame: &FrameInfo) -> Option<Applied> {
        self.unbroken = self.unbroken.filter(|last| frame.number == last + 1).map(|_| frame.number);
        let verdicts: Vec<bool> = self.settings.iter().filter_map(|setting| has(frame, setting)).collect();
        let applied = |first, lead| {
            let settings = self.settings.clone();
            Some(Applied { asked: self.asked, change: self.change.clone(), first, settings, lead })
        };
        if verdicts.is_empty() {
            return if frame.number >= self.expected { applied(Some(frame.number), None) } else { None };
        }
        if verdicts.iter().all(|has| *has) {
            if self.missing_before && frame.number > self.sent {
                let lead = self.unbroken.and_then(|last| u32::try_from(last - self.sent).ok());
                return applied(Some(frame.number), lead);
            }
            // The values were in effect before, so the lead cannot be measured.
            return if frame.number >= self.expected { applied(Some(frame.number), None) } else { None };
        }
        self.missing_before = true;
        if frame.number > self.expected + PATIENCE { applied(None, None) } else { None }
    }
}

/// Whether `setting` is in effect in `frame`; `None` if the frame does not report it.
fn has(frame: &FrameInfo, setting: &Setting) -> Option<bool> {
    let near = |used: f64, asked: f64| (used - asked).abs() <= asked.abs() * GAIN_SHARE;
    match (setting.control.name, &setting.value) {
        ("ExposureTime", Value::Int(us)) if *us > 0 => {
            let asked = Span::from_micros(i64::from(*us));
            Some((frame.exposure_ns? - asked).abs() <= EXPOSURE_STEP.max(asked / EXPOSURE_SHARE))
        }
        ("AnalogueGain", Value::Float(gain)) if *gain > 0.0 => {
            Some(near(frame.analogue_gain?, f64::from(*gain)))
        }
        ("DigitalGain", Value::Float(gain)) => {
            Some(near(f64::from(frame.details.digital_gain?), f64::from(*gain)))
        }
        _ => None,
    }
}
