//! The camera of a pipeline, as the order service sets it: the `swsyncsrc` that the frames of its element come from.

use swsync_core::camera_settings::{
    Assignments, CameraReport, ChangeState, ControlRefusal, Readiness, SettingsLog,
};
use swsync_core::frame::FrameInfo;
use swsync_core::name::{DeviceId, Name};

use super::element::ElementHooks;

/// Why a device has no camera to set.
pub const NO_CAMERA: &str =
    "no swsyncsrc is upstream of the device's swsyncsink or swsyncgate: only that can be set for a rig";

#[cfg(any(feature = "libcamera", feature = "simulation"))]
mod found {
    use gst::prelude::*;
    use swsync_core::time::Timestamp;

    use super::super::source_info::all_upstream;
    use super::{
        Assignments, CameraReport, ChangeState, ControlRefusal, DeviceId, ElementHooks, FrameInfo, Name,
        Readiness, SettingsLog,
    };
    use crate::swsyncsrc::{AheadChange, RigSync, SwsyncSrc};

    /// See the module's documentation.
    pub struct PipelineCamera(SwsyncSrc);

    impl PipelineCamera {
        /// The camera whose frames come to `element`.
        pub fn of(element: &ElementHooks) -> Option<Self> {
            let sources = all_upstream(&element.element()?).into_iter();
            sources.filter_map(|element| element.downcast::<SwsyncSrc>().ok()).next().map(Self)
        }

        /// Sets what `log` says for `device`.
        pub fn sync(&self, log: &SettingsLog, device: &DeviceId) {
            self.0.controls().sync_rig(|horizon| {
                let at = horizon.map_or(Timestamp::MAX, |(at, _)| at);
                let ahead = log.later(device, at).map(|change| AheadChange {
                    change: change.change.clone(),
                    number: horizon.map_or(change.frame, |(_, grid)| change.frame_on(grid)),
                    assign: change.for_device(device),
                });
                RigSync { holds: log.assignments(device, at), ahead: ahead.collect() }
            });
        }

        pub fn check(&self, assign: &Assignments) -> (Vec<ControlRefusal>, Option<(Readiness, FrameInfo)>) {
            self.0.controls().check_rig(assign)
        }

        pub fn is_ahead(&self, change: &Name) -> bool {
            self.0.controls().is_ahead(change)
        }

        pub fn outcome(&self, change: &Name) -> Option<ChangeState> {
            self.0.controls().rig_outcome(change)
        }

        pub fn report(&self) -> CameraReport {
            self.0.controls().rig_report()
        }
    }
}

#[cfg(not(any(feature = "libcamera", feature = "simulation")))]
mod found {
    use super::{
        Assignments, CameraReport, ChangeState, ControlRefusal, DeviceId, ElementHooks, FrameInfo, Name,
        Readiness, SettingsLog,
    };

    /// This build has no cameras.
    pub enum PipelineCamera {}

    impl PipelineCamera {
        pub fn of(_element: &ElementHooks) -> Option<Self> {
            None
        }
        pub fn sync(&self, _log: &SettingsLog, _device: &DeviceId) {
            match *self {}
        }
        pub fn check(&self, _assign: &Assignments) -> (Vec<ControlRefusal>, Option<(Readiness, FrameInfo)>) {
            match *self {}
        }
        pub fn is_ahead(&self, _change: &Name) -> bool {
            match *self {}
        }
        pub fn outcome(&self, _change: &Name) -> Option<ChangeState> {
            match *self {}
        }
        pub fn report(&self) -> CameraReport {
            match *self {}
        }
    }
}

pub use found::PipelineCamera;
