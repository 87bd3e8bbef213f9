//! The result of locking the cameras.

use serde::Serialize;
use swsync_client::DeviceReply;
use swsync_client::camera_settings::{ChangeError, DeviceChange, RigChange};
use swsync_core::camera_settings::{ChangeState, ControlValues};
use swsync_core::centre::{CentreColour, CentreReply};
use swsync_core::grid::FrameNumber;
use swsync_core::name::DeviceId;

use super::mismatch::{Difference, differences};
use super::values::LockedValues;
use crate::table::{Align, Column, NOTHING, Table, clean};

/// What `swsync lock 3a --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LockReport {
    /// The frame from which on the values hold.
    pub frame: FrameNumber,
    /// The values.
    pub values: LockedValues,
    /// The cameras, by device.
    pub devices: Vec<LockedDevice>,
    /// What their pictures still differ by, at most.
    pub differences: Vec<Difference>,
    /// What did not go as it should, in words.
    pub problems: Vec<String>,
}

/// A camera that was locked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LockedDevice {
    /// The device.
    pub device: DeviceId,
    /// Whether it used all of the values from the frame on.
    pub exact: bool,
    /// What it used in that frame, as far as it reports it.
    pub used: ControlValues,
    /// The frame whose centre was measured.
    pub measured_frame: Option<FrameNumber>,
    /// What the centre looks like.
    pub centre: Option<CentreColour>,
}

impl LockReport {
    /// Of a change, the values that it set, and how the cameras' pictures look since.
    #[must_use]
    pub fn new(
        change: &RigChange,
        values: LockedValues,
        centres: Vec<DeviceReply<CentreReply>>,
        mut problems: Vec<String>,
    ) -> Self {
        let mut measured = Vec::new();
        for DeviceReply { device, reply } in centres {
            match reply {
                Ok(CentreReply { frame, colour: Some(colour), .. }) => measured.push((device, frame, colour)),
                Ok(CentreReply { format, .. }) => {
                    problems.push(format!(
                        "{device}: how its pictures look is not known: {format} cannot be read"
                    ));
                }
                Err(why) => problems.push(format!("{device}: how its pictures look is not known: {why}")),
            }
        }
        let devices = change.devices.iter().map(|changed| {
            let own = measured.iter().find(|(device, ..)| *device == changed.device);
            let used = match changed.outcome.as_ref().map(|outcome| &outcome.state) {
                Some(ChangeState::Seen { used, .. }) => used.clone(),
                _ => ControlValues::default(),
            };
            LockedDevice {
                device: changed.device.clone(),
                exact: changed.is_exact(),
                used,
                measured_frame: own.map(|(_, frame, _)| *frame),
                centre: own.map(|(.., colour)| *colour),
            }
        });
        let devices = devices.collect();
        let centres: Vec<_> = measured.into_iter().map(|(device, _, colour)| (device, colour)).collect();
        Self { frame: change.frame, values, devices, differences: differences(&centres), problems }
    }

    /// Whether all went as it should, as far as that is known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty() && self.devices.iter().all(|device| device.exact && device.centre.is_some())
    }

    /// The lines for a person.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let ids = self.devices.iter().map(|device| device.device.as_str().len()).max().unwrap_or_default();
        let column = |heading, width, align| Column { heading, width, align };
        let table = Table::new([
            column("device", ids.max(6), Align::Left),
            column("locked", 6, Align::Left),
            column("brightness", 10, Align::Right),
            column("red", 6, Align::Right),
            column("blue", 6, Align::Right),
            column("uses", 4, Align::Left),
        ]);
        let row = |device: &LockedDevice| {
            let ratio = |pick: fn((f64, f64)) -> f64| {
                let ratios = device.centre.and_then(|centre| centre.ratios());
                ratios.map_or(NOTHING.to_owned(), |ratios| format!("{:.3}", pick(ratios)))
            };
            table.row(&[
                device.device.to_string(),
                if device.exact { "yes" } else { "NO" }.to_owned(),
                device.centre.map_or(NOTHING.to_owned(), |centre| centre.brightness.to_string()),
                ratio(|(red, _)| red),
                ratio(|(_, blue)| blue),
                if device.used.is_empty() { NOTHING.to_owned() } else { device.used.to_string() },
            ])
        };
        let mut lines =
            vec![format!("locked from frame {} on: {}", self.frame, self.values), table.headings()];
        lines.extend(self.devices.iter().map(row));
        match &self.differences[..] {
            [] => {
                lines.push("what the pictures differ by is not known: less than two could be compared".into())
            }
            differences => {
                lines.push("largest differences of the pictures' centres:".into());
                lines.extend(differences.iter().map(|difference| format!("  {difference}")));
            }
        }
        lines
    }
}

/// What did not go as it should with a change, in words.
pub fn problems(change: &RigChange) -> Vec<String> {
    let mut problems = Vec::new();
    for changed in &change.devices {
        let device = &changed.device;
        problems.extend(changed.refusals.iter().map(|refusal| format!("{device}: {}", refusal.why)));
        problems.extend(changed.problem.as_ref().map(|why| format!("{device}: {why}")));
        if changed.problem.is_none() && changed.refusals.is_empty() && !changed.is_exact() {
            problems.push(format!("{device}: {}", inexact(changed, change.frame)));
        }
    }
    for objection in &change.objections {
        let refused = objection.refusals.iter().map(|refusal| refusal.why.clone());
        let why: Vec<_> = refused.chain(objection.problem.clone()).collect();
        problems.push(format!("{}: {}", objection.device, why.join("; ")));
    }
    problems.iter().map(|problem| clean(problem)).collect()
}

/// How a camera did otherwise than it should, without an error.
fn inexact(changed: &DeviceChange, due: FrameNumber) -> String {
    match changed.outcome.as_ref().map(|outcome| &outcome.state) {
        Some(ChangeState::Seen { first: Some(first), .. }) => {
            format!("it used all of it from frame {first} on, not from frame {due}")
        }
        Some(ChangeState::Seen { first: None, used, .. }) => {
            format!("that it used all of it from frame {due} on is not known: it used {used}")
        }
        _ => format!("whether it used it from frame {due} on is not known"),
    }
}

/// The devices of an error, and what each says.
pub fn objections(error: &ChangeError) -> Vec<String> {
    let ChangeError::Refused(objections) = error else { return Vec::new() };
    let texts = objections.iter().map(|objection| {
        let refused = objection.refusals.iter().map(|refusal| refusal.why.clone());
        let why: Vec<_> = refused.chain(objection.problem.clone()).collect();
        clean(&format!("{}: {}", objection.device, why.join("; ")))
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use swsync_core::camera_settings::{ChangeOutcome, ControlRefusal};
    use swsync_core::time::Timestamp;

    use super::*;
    use crate::testing::name;

    fn changed(device: &str, first: Option<u64>) -> DeviceChange {
        let state = ChangeState::Seen {
            frame: 70,
            first,
            used: ControlValues::parse(["exposure-time=4000"]).unwrap(),
            unreported: Vec::new(),
            phase: Default::default(),
            done: true,
        };
        let outcome = Some(ChangeOutcome { change: name("lock-1"), state });
        DeviceChange { device: name(device), outcome, problem: None, refusals: Vec::new() }
    }

    fn change(devices: Vec<DeviceChange>) -> RigChange {
        RigChange {
            change: name("lock-1"),
            frame: 70,
            at_ns: Timestamp::from_nanos(1),
            devices,
            objections: Vec::new(),
        }
    }

    fn centre(device: &str, brightness: Option<u8>) -> DeviceReply<CentreReply> {
        let colour = brightness.map(|brightness| CentreColour { brightness, red: 90, green: 100, blue: 110 });
        let reply = CentreReply { device: name(device), frame: 71, colour, format: "NV12".into() };
        DeviceReply { device: name(device), reply: Ok(reply) }
    }

    #[test]
    fn the_mismatch_that_is_left_is_shown() {
        let values = LockedValues::of(&ControlValues::parse(["exposure-time=4000"]).unwrap());
        let all = change(vec![changed("left", Some(70)), changed("right", Some(70))]);
        let report = LockReport::new(
            &all,
            values,
            vec![centre("left", Some(100)), centre("right", Some(125))],
            Vec::new(),
        );
        assert!(report.is_complete());
        assert_eq!(
            report.lines(),
            [
                "locked from frame 70 on: exposure-time=4000",
                "device  locked  brightness     red    blue  uses",
                "left    yes            100   0.900   1.100  exposure-time=4000",
                "right   yes            125   0.900   1.100  exposure-time=4000",
                "largest differences of the pictures' centres:",
                "  brightness: left 100 to right 125, 25.0 %",
                "  red: left 0.900 to right 0.900, 0.0 %",
                "  blue: left 1.100 to right 1.100, 0.0 %",
            ]
        );
    }

    #[test]
    fn what_is_not_known_or_was_refused_is_not_complete() {
        let mut refused = changed("right", Some(70));
        refused.refusals.push(ControlRefusal {
            control: None,
            takes: None,
            why: "it takes 100 to 1000".into(),
        });
        let all = change(vec![changed("left", None), refused]);
        assert_eq!(
            problems(&all),
            [
                "left: that it used all of it from frame 70 on is not known: it used exposure-time=4000",
                "right: it takes 100 to 1000"
            ]
        );
        let fine = change(vec![changed("left", Some(70))]);
        assert!(problems(&fine).is_empty());
        let unknown = LockReport::new(&fine, LockedValues::default(), vec![centre("left", None)], Vec::new());
        assert!(!unknown.is_complete());
        assert_eq!(unknown.problems, ["left: how its pictures look is not known: NV12 cannot be read"]);
        assert!(unknown.lines().last().unwrap().contains("is not known"), "{unknown:?}");
    }
}
