//! Which frame is the first that has what was asked for.

use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;
use swsync_core::time::Span;

use crate::camera::controls::{Setting, Value};

/// Frames beyond the expected one after which settings count as without effect. Chosen: twice the longest queue of
/// requests and delay of a control known.
const PATIENCE: u64 = 20;

/// Cameras round: an exposure counts as the one asked for within a line or so, or 2 %, a gain within 5 %.
const EXPOSURE_STEP: Span = Span::from_micros(60);
const EXPOSURE_SHARE: i64 = 50;
const GAIN_SHARE: f64 = 0.05;

/// Settings that went out, until a frame has them.
#[derive(Debug)]
pub struct PendingSettings {
    asked: Option<FrameNumber>,
    sent: FrameNumber,
    expected: FrameNumber,
    settings: Vec<Setting>,
    /// Whether a frame was seen that did not have them: only then the first that has them tells something.
    missing_before: bool,
    /// The newest frame seen, while none was lost: what happens meanwhile tells nothing of the camera.
    unbroken: Option<FrameNumber>,
}

/// Settings that went out and took effect, or did not.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The frame they were asked for; `None` if it was none in particular.
    pub asked: Option<FrameNumber>,
    /// The first frame that has them; `None` if none came that does. Of controls that the camera does not report, the
    /// frame by which they are due.
    pub first: Option<FrameNumber>,
    /// What was set.
    pub settings: Vec<Setting>,
    /// Frames from the one after which they went out to the first that has them, where all of them were seen.
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
            sent,
            expected,
            settings: settings.to_vec(),
            missing_before: false,
            unbroken: Some(sent),
        }
    }

    /// Looks at the next frame; what became of the settings, once that is known.
    pub fn look(&mut self, frame: &FrameInfo) -> Option<Applied> {
        self.unbroken = self.unbroken.filter(|last| frame.number == last + 1).map(|_| frame.number);
        let verdicts: Vec<bool> = self.settings.iter().filter_map(|setting| has(frame, setting)).collect();
        let applied = |first, lead| {
            let settings = self.settings.clone();
            Some(Applied { asked: self.asked, first, settings, lead })
        };
        if verdicts.is_empty() {
            return if frame.number >= self.expected { applied(Some(frame.number), None) } else { None };
        }
        if verdicts.iter().all(|has| *has) {
            if self.missing_before && frame.number > self.sent {
                let lead = self.unbroken.and_then(|last| u32::try_from(last - self.sent).ok());
                return applied(Some(frame.number), lead);
            }
            // It had them before anyone asked, so the first says nothing of the time they take.
            return if frame.number >= self.expected { applied(Some(frame.number), None) } else { None };
        }
        self.missing_before = true;
        if frame.number > self.expected + PATIENCE { applied(None, None) } else { None }
    }
}

/// Whether `frame` has `setting`; `None` if it does not say.
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
