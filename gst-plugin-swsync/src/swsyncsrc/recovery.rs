//! Opens the camera, and opens it again after it has stalled or gone.

#[cfg(feature = "libcamera")]
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::subclass::prelude::*;
use swsync_time::DeviceClock;

use super::aligned_camera::StartError;
use super::category::CAT;
use super::controls;
use super::imp::SwsyncSrc;
use super::negotiation::error_message;
use super::settings::Settings;
use super::state::State;
use super::{Backend, OnStall};
#[cfg(feature = "simulation")]
use crate::camera::faults::FaultyCamera;
#[cfg(feature = "libcamera")]
use crate::camera::libcamera::LibcameraCamera;
#[cfg(feature = "simulation")]
use crate::camera::simulated::SimulatedCamera;
use crate::camera::{Camera, CameraError, StreamRole};
use crate::clock::SensorTimeBridge;

/// Time between attempts to open a camera that is gone: short for users, and long enough not to disturb a driver that is
/// starting.
const RETRY: Duration = Duration::from_millis(500);

/// Why a camera cannot be opened.
enum OpenError {
    /// Bad settings: trying again does not help.
    Settings(gst::ErrorMessage),
    Camera(CameraError),
}

impl SwsyncSrc {
    /// Opens the camera that `settings` name.
    pub(super) fn open_camera(
        &self,
        settings: &Settings,
        device: &Arc<DeviceClock>,
    ) -> Result<Box<dyn Camera>, gst::ErrorMessage> {
        self.try_open(settings, device).map_err(|missing| match missing {
            OpenError::Settings(message) => message,
            OpenError::Camera(error) => error_message(&error),
        })
    }

    fn try_open(
        &self,
        settings: &Settings,
        #[cfg_attr(
            not(feature = "simulation"),
            expect(unused_variables, reason = "simulated cameras have its time")
        )]
        device: &Arc<DeviceClock>,
    ) -> Result<Box<dyn Camera>, OpenError> {
        let mut camera: Box<dyn Camera> = match settings.backend {
            #[cfg(feature = "libcamera")]
            Backend::Libcamera => {
                let (name, profile) = (settings.camera_name.as_deref(), settings.profile.as_deref());
                let opened = LibcameraCamera::open_with(name, profile.map(Path::new));
                Box::new(opened.map_err(OpenError::Camera)?)
            }
            #[cfg(feature = "simulation")]
            Backend::Simulated => {
                gst::info!(CAT, imp = self, "the camera is simulated");
                let simulation = settings.simulation.simulation(settings.profile.as_ref());
                Box::new(SimulatedCamera::new(simulation.map_err(OpenError::Settings)?, device.clone()))
            }
        };
        #[cfg(feature = "simulation")]
        if let Some(faults) = self.faults.lock().clone() {
            faults.opening().map_err(OpenError::Camera)?;
            gst::info!(CAT, imp = self, "the camera has simulated faults");
            camera = Box::new(FaultyCamera::new(camera, faults));
        }
        camera.set_stall_limit(settings.stall_periods);
        camera.set_mode(settings.mode().map_err(OpenError::Settings)?).map_err(OpenError::Camera)?;
        self.adopt(&*camera);
        Ok(camera)
    }

    /// Makes `camera` the one to interrupt, and keeps its formats for queries.
    fn adopt(&self, camera: &dyn Camera) {
        self.control.set_camera(Some(camera.wakeup()));
        let main = self.src.role();
        let mut known = self.known.lock();
        known.caps = StreamRole::ALL.map(|role| (role == main).then(|| camera.caps(role)));
    }

    /// Handles a camera that delivers no more frames: posts an error, or closes it to be opened again (`on-stall`).
    ///
    /// # Errors
    /// The stream ends.
    pub(super) fn handle_fault(&self, error: &CameraError) -> Result<(), gst::FlowError> {
        let restarts = self.settings.lock().on_stall == OnStall::Restart;
        let (CameraError::Stalled { .. } | CameraError::Gone { .. }, true) = (error, restarts) else {
            self.post_error_message(error_message(error));
            return Err(gst::FlowError::Error);
        };
        let mut state = self.state.lock();
        match std::mem::take(&mut *state) {
            State::Streaming { camera, streams, device, settings, .. } => {
                *state = State::Lost { streams, device, settings };
                drop(state);
                // Closed, so that it can be opened again.
                drop(camera.stop());
            }
            other @ (State::Stopped | State::Opened { .. } | State::Lost { .. }) => *state = other,
        }
        gst::element_imp_warning!(self, gst::ResourceError::Read, ("{error}"), ["it is started again"]);
        self.post_element_message(
            gst::Structure::builder("swsync-camera-lost").field("reason", error.to_string()).build(),
        );
        Ok(())
    }

    /// Tries once to open a lost camera and have it stream; waits for [`RETRY`] if it is not back.
    ///
    /// # Errors
    /// [`CameraError::Flushing`] if the wait is interrupted; others if trying again does not help.
    pub(super) fn revive(&self) -> Result<(), CameraError> {
        let mut state = self.state.lock();
        let State::Lost { streams, device, settings } = &*state else {
            return Ok(());
        };
        let revived = match self.try_open(settings, device) {
            Ok(camera) => self.begin(camera, streams).map_err(|(_, error)| match error {
                StartError::Camera(error) => error,
                // Unexpected, as the settings and formats are the same as before.
                StartError::Align(error) => CameraError::Failed {
                    camera: "the camera".into(),
                    doing: "aligning it",
                    reason: error.to_string(),
                },
            }),
            Err(OpenError::Camera(error)) => Err(error),
            Err(OpenError::Settings(message)) => {
                let camera = "the camera".to_owned();
                return Err(CameraError::Failed {
                    camera,
                    doing: "opening it again",
                    reason: format!("{message:?}"),
                });
            }
        };
        match revived {
            Ok((camera, refusals)) => {
                if let State::Lost { streams, device, settings } = std::mem::take(&mut *state) {
                    let bridge = SensorTimeBridge::new(device.clone());
                    *state = State::Streaming { camera, bridge, streams, device, settings };
                }
                drop(state);
                controls::refuse_all(&self.obj(), &refusals);
                {
                    let mut stats = self.stats.lock();
                    (stats.recoveries, stats.resumed) = (stats.recoveries + 1, true);
                }
                gst::info!(CAT, imp = self, "the camera streams again");
                self.post_element_message(gst::Structure::new_empty("swsync-camera-back"));
                Ok(())
            }
            Err(
                error @ (CameraError::Format { .. } | CameraError::Mode { .. } | CameraError::Profile(_)),
            ) => Err(error),
            Err(error) => {
                drop(state);
                gst::debug!(CAT, imp = self, "not back yet: {error}");
                let nothing = self.sleeper.pop_until(Instant::now() + RETRY)?;
                debug_assert!(nothing.is_none(), "the sleeper gets no items");
                Ok(())
            }
        }
    }
}
