//! Controls of a simulated camera: exposure, which the sensor simulates, and gain.

use std::collections::VecDeque;

use swsync_core::time::Span;
use swsync_sim::sensor::SensorModel;

use crate::camera::controls::{Range, Ranges, Setting, Value, by_name};

/// Largest gain, of an IMX219.
const MAX_GAIN: f64 = 10.666_667;

/// I420's black.
const BLACK: f32 = 16.0;
const WHITE: f32 = 235.0;

/// The controls of a camera whose frames take `period`, and which has this exposure where none is set.
pub(super) fn ranges(camera: &str, model: &SensorModel, period: Span, exposure: Span) -> Ranges {
    let micros = |lines: u32| (f64::from(lines) * model.line_time_ns / 1e3).ceil();
    let shortest = micros(model.min_exposure);
    // Longer ones would lengthen the frame.
    let longest = (period.as_micros_f64() - micros(model.exposure_margin)).floor().max(shortest);
    let control = |name| by_name(name).expect("it is in the table");
    Ranges::new(camera)
        .with(control("ExposureTime"), Range::Numbers(shortest, longest))
        .with(control("AnalogueGain"), Range::Numbers(1.0, MAX_GAIN))
        .with_default(control("ExposureTime"), Value::Int(micros_of(exposure)))
        .with_default(control("AnalogueGain"), Value::Float(1.0))
}

/// A frame's exposure and gain as reported settings.
pub(super) fn reported(exposure: Span, Gain(gain): Gain) -> Vec<Setting> {
    let control = |name| by_name(name).expect("it is in the table");
    vec![
        Setting { control: control("ExposureTime"), value: Value::Int(micros_of(exposure)) },
        Setting { control: control("AnalogueGain"), value: Value::Float(gain) },
    ]
}

/// How bright the scene is in `light` at this exposure: as it is without `light` at light 1 and 1 ms.
pub(super) fn exposed(light: f32, exposure: Span) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "a factor of few digits")]
    let milliseconds = (exposure.as_micros_f64() / 1e3) as f32;
    light * milliseconds
}

fn micros_of(exposure: Span) -> i32 {
    i32::try_from(exposure.as_nanos() / 1_000).unwrap_or(i32::MAX)
}

/// Settings in the sensor's terms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct SimulatedControls {
    pub(super) exposure: Option<Span>,
    pub(super) gain: Option<f32>,
}

impl SimulatedControls {
    /// Of each control the last setting counts.
    pub(super) fn of(settings: Vec<Setting>) -> Self {
        let mut controls = Self::default();
        for Setting { control, value } in settings {
            match (control.name, value) {
                ("ExposureTime", Value::Int(us)) => {
                    controls.exposure = Some(Span::from_micros(i64::from(us)));
                }
                ("AnalogueGain", Value::Float(gain)) => controls.gain = Some(gain),
                _ => {}
            }
        }
        controls
    }
}

/// Analogue gain, as a factor on the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gain(f32);

impl Gain {
    pub(super) fn factor(self) -> f64 {
        f64::from(self.0)
    }

    /// The factor on a picture that is `light` as bright by itself.
    pub(super) fn in_light(self, light: f32) -> Self {
        Self(self.0 * light)
    }

    /// Brightens a plane of luma. Black stays black.
    pub(super) fn amplify(self, luma: &mut [u8]) {
        #[expect(clippy::float_cmp, reason = "1 is what it is set to where nobody set it")]
        if self.0 == 1.0 {
            return;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to luma's range"
        )]
        let amplified =
            |luma: u8| ((f32::from(luma) - BLACK) * self.0 + BLACK).clamp(BLACK, WHITE).round() as u8;
        let mut table = [0; 256];
        for (luma, entry) in (0..=u8::MAX).zip(&mut table) {
            *entry = amplified(luma);
        }
        for pixel in luma {
            *pixel = table[usize::from(*pixel)];
        }
    }
}

/// The gain of each frame. Its register is written as many frames ahead as that of the exposure.
#[derive(Debug, Clone)]
pub(super) struct Gains {
    /// Values with the first frame that each is in effect for; never empty.
    values: VecDeque<(u64, Gain)>,
    newest: u64,
}

impl Default for Gains {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Gains {
    /// `gain` from the first frame on.
    pub(super) fn new(gain: Option<f32>) -> Self {
        Self { values: VecDeque::from([(0, Gain(gain.unwrap_or(1.0)))]), newest: 0 }
    }

    /// The frame `sequence` was taken.
    pub(super) fn taken(&mut self, sequence: u64) {
        self.newest = sequence;
        while self.values.get(1).is_some_and(|(from, _)| *from <= sequence) {
            self.values.pop_front();
        }
    }

    /// Sets `gain`, if any, from `lead` frames after the newest on.
    pub(super) fn set(&mut self, lead: u32, gain: Option<f32>) {
        self.values.extend(gain.map(|gain| (self.newest + u64::from(lead), Gain(gain))));
    }

    /// The gain of the frame `sequence`.
    pub(super) fn at(&self, sequence: u64) -> Gain {
        let written = self.values.iter().rev().find(|(from, _)| *from <= sequence);
        written.or(self.values.front()).expect("never empty").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gain_takes_effect_after_its_lead_and_stays() {
        let mut gains = Gains::new(Some(2.0));
        gains.taken(10);
        gains.set(3, Some(4.0));
        gains.set(3, None);
        assert_eq!((gains.at(12), gains.at(13), gains.at(500)), (Gain(2.0), Gain(4.0), Gain(4.0)));
        gains.taken(20);
        assert_eq!(gains.at(20), Gain(4.0));
    }

    #[test]
    fn gain_brightens_and_clips() {
        let mut luma = [16, 20, 100, 200, 235];
        Gain(2.0).amplify(&mut luma);
        assert_eq!(luma, [16, 24, 184, 235, 235]);
        let mut same = [0, 16, 255];
        Gain(1.0).amplify(&mut same);
        assert_eq!(same, [0, 16, 255]);
    }

    #[test]
    fn exposures_fit_into_frames() {
        let model: SensorModel = "imx219".parse().unwrap();
        let ranges = ranges("simulated imx219", &model, Span::from_micros(33_333), Span::from_millis(4));
        let exposure = by_name("ExposureTime").unwrap();
        let takes = |us| ranges.check(&Setting { control: exposure, value: Value::Int(us) }, true).is_ok();
        assert!(takes(100) && takes(33_000));
        assert!(!takes(33_333) && !takes(1) && !takes(0));
    }
}
