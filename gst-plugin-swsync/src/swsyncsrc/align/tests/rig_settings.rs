//! Changes of the rig's camera settings on several cameras, on simulated time: at one frame number, without leaving the grid.

use swsync_core::align::point::AlignPoint;
use swsync_core::camera_settings::{
    ChangePart, ChangeState, ControlValues, PhaseRecord, SettingsChange, SettingsLog,
};
use swsync_core::frame::LockState;
use swsync_core::grid::FrameNumber;
use swsync_core::name::Name;
use swsync_core::time::{Span, Timestamp};
use swsync_sim::sensor::SensorModel;

use super::super::AlignTarget;
use super::stage::{AlignmentRun, Kind, TARGET};
use super::{imx219, locked};
use crate::swsyncsrc::controls::{AheadChange, RigSync};

/// A device: its camera, and what it knows of the rig's settings.
struct Device {
    run: AlignmentRun,
    log: SettingsLog,
    newest: FrameNumber,
}

impl Device {
    fn new(kind: &Kind, target: AlignTarget) -> Self {
        let mut device = Self { run: locked(kind, target), log: SettingsLog::default(), newest: 0 };
        device.next();
        device
    }

    fn name() -> Name {
        Name::new("device").unwrap()
    }

    /// The next frame, handled as the element does. Its phase error.
    fn next(&mut self) -> (LockState, Span) {
        let frame = self.run.next();
        self.run.controls.observe(&frame.info);
        self.newest = frame.info.number;
        (frame.info.lock.unwrap(), frame.info.phase_error_ns)
    }

    /// Takes a change, as the order service does.
    fn take(&mut self, change: &SettingsChange) {
        assert_eq!(self.log.add(change.clone(), self.run.grid.instant(self.newest)), Ok(true));
        let log = &self.log;
        self.run.controls.sync_rig(|horizon| {
            let at = horizon.map_or(Timestamp::MAX, |(at, _)| at);
            let name = Self::name();
            let ahead = log.later(&name, at).map(|change| AheadChange {
                change: change.change.clone(),
                number: change.frame,
                assign: change.for_device(&name),
            });
            let ahead = ahead.collect();
            RigSync { holds: log.assignments(&name, at), ahead }
        });
    }

    /// The first frame with `change`, and how its frames stood with the grid.
    fn outcome(&mut self, change: &SettingsChange) -> (Option<FrameNumber>, PhaseRecord) {
        while self.newest < change.frame + 30 {
            self.next();
        }
        match self.run.controls.rig_outcome(&change.change) {
            Some(ChangeState::Seen { first, phase, .. }) => (first, phase),
            other => panic!("{other:?}"),
        }
    }
}

fn change(index: u64, frame: FrameNumber, us: u64, rate: swsync_core::grid::FrameGrid) -> SettingsChange {
    let assign = ControlValues::parse([format!("exposure-time={us}").as_str()]).unwrap().into();
    let parts = vec![ChangePart { assign, ..ChangePart::default() }];
    SettingsChange { change: Name::new(format!("c{index}")).unwrap(), frame, rate, timescale: None, parts }
}

/// Exposures one after another, some milliseconds apart.
fn exposure(index: u64) -> u64 {
    [4_000, 9_000, 2_500, 6_000, 8_000, 1_000, 5_000, 3_000][usize::try_from(index % 8).unwrap()]
}

/// Of `changes` changes on each of `devices`: how many were in effect from their frame on, and how many kept the phase.
fn count(devices: &mut [Device], changes: u64) -> (u64, u64, Span) {
    let (mut exact, mut kept, mut worst) = (0, 0, Span::ZERO);
    for index in 1..=changes {
        let newest = devices.iter().map(|device| device.newest).max().unwrap();
        let change = change(index, newest + 15, exposure(index), devices[0].run.grid);
        for (which, device) in devices.iter_mut().enumerate() {
            device.take(&change);
            let (first, phase) = device.outcome(&change);
            exact += u64::from(first == Some(change.frame));
            kept += u64::from(phase.is_kept());
            if first != Some(change.frame) || !phase.is_kept() {
                let off = first.map(|first| first.cast_signed() - change.frame.cast_signed());
                println!(
                    "device {which}, {} to {} us: first at {off:?}, {phase:?}",
                    exposure(index - 1),
                    exposure(index)
                );
            }
            if phase.is_kept() {
                worst = worst.max(phase.worst_ns.abs());
            }
        }
    }
    (exact, kept, worst)
}

/// Five devices with sensors of three models.
fn devices(of: impl Fn(SensorModel) -> SensorModel, target: AlignTarget) -> Vec<Device> {
    let models = [SensorModel::imx219(), SensorModel::imx477(), SensorModel::imx708()];
    let kinds = (0..5_u32).map(|index| {
        let model = of(models[usize::try_from(index % 3).unwrap()].clone());
        Kind { seed: u64::from(index) + 1, skew_ppm: f64::from(index) * 9.0 - 20.0, ..Kind::new(model) }
    });
    kinds.map(|kind| Device::new(&kind, target)).collect()
}

#[test]
fn two_hundred_changes_are_at_one_frame_on_five_devices_and_keep_the_phase() {
    // No register write is lost, and each frame arrives before the next begins.
    let steady = |model: SensorModel| SensorModel {
        isp_mean_excess: Span::from_micros(200),
        ..model.without_faults()
    };
    let (exact, kept, worst) = count(&mut devices(steady, TARGET), 200);
    println!("of 1000: {exact} at their frame, {kept} kept the phase, within {worst:?}");
    assert_eq!((exact, kept), (1000, 1000));
    assert!(worst < Span::from_micros(60), "{worst:?}");
}

#[test]
fn with_lost_writes_and_late_frames_most_changes_are_exact_and_all_are_reported() {
    let (exact, kept, worst) = count(&mut devices(|model| model, TARGET), 40);
    println!("of 200: {exact} at their frame, {kept} kept the phase, within {worst:?}");
    // Measured: 174 and 175. The sequence is the same each time.
    assert!(exact >= 165 && kept >= 165, "{exact} {kept}");
}

#[test]
fn the_phase_is_kept_with_the_middle_of_the_exposure_on_the_grid() {
    let target = AlignTarget { point: AlignPoint::ExposureCenter, ..TARGET };
    let steady = |model: SensorModel| SensorModel {
        isp_mean_excess: Span::from_micros(200),
        ..model.without_faults()
    };
    let (exact, kept, _) = count(&mut devices(steady, target), 16);
    assert_eq!((exact, kept), (80, 80));
}

#[test]
fn an_exposure_that_one_frame_cannot_make_up_for_loses_the_lock_and_says_when_it_is_back() {
    let mut device = Device::new(&Kind { exposure: Span::from_millis(25), ..imx219() }, TARGET);
    let shorter = change(1, device.newest + 15, 1_000, device.run.grid);
    device.take(&shorter);
    let (_, phase) = device.outcome(&shorter);
    assert_eq!(phase.before, Some(LockState::Locked));
    let (lost, back) = (phase.lost.unwrap(), phase.back.unwrap());
    assert!(lost <= shorter.frame + 2 && back > lost && back < shorter.frame + 30, "{phase:?}");
}
