//! [`Presence`]: whether a camera is still plugged in, and whether libcamera knows.

use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Where the kernel lists all device files by number.
const DEVICES: &str = "/sys/dev/char";

/// Whether a camera is there, by the kernel and by libcamera.
///
/// The two differ for a while. The kernel removes an unplugged camera's devices at once; libcamera learns of it from udev. A camera that is
/// stopped in between ends the process: `V4L2VideoDevice::streamOff` returns at the driver's `ENODEV`, before it gives the queued buffers
/// back, and `PipelineHandler::stop` asserts that no request is left (0.4.0 of Debian 13; later ones are the same there). Once libcamera knows, its
/// `Camera::stop` does nothing. Where udev does not run, as in many containers, it never knows.
#[derive(Debug)]
pub(super) struct Presence {
    /// Numbers of the camera's device files.
    devices: Vec<u64>,
    disconnected: Mutex<bool>,
    noted: Condvar,
}

impl Presence {
    pub(super) fn of(devices: Vec<u64>) -> Self {
        Self { devices, disconnected: Mutex::new(false), noted: Condvar::new() }
    }

    /// libcamera has noticed that the camera is gone.
    pub(super) fn note_disconnected(&self) {
        *self.disconnected.lock() = true;
        self.noted.notify_all();
    }

    /// Whether the camera is gone, by libcamera or by the kernel.
    pub(super) fn is_unplugged(&self) -> bool {
        *self.disconnected.lock() || self.is_missing_in(Path::new(DEVICES))
    }

    /// Whether the camera may be stopped. If it is gone and libcamera has not noticed, waits `longest` for that.
    pub(super) fn may_stop(&self, longest: Duration) -> bool {
        !self.is_missing_in(Path::new(DEVICES)) || self.is_noted_within(longest)
    }

    fn is_noted_within(&self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        let mut disconnected = self.disconnected.lock();
        while !*disconnected {
            if self.noted.wait_until(&mut disconnected, deadline).timed_out() {
                break;
            }
        }
        *disconnected
    }

    /// Whether `folder` lacks a device of the camera. As long as this process has its file open, the kernel gives the number to no
    /// other device.
    fn is_missing_in(&self, folder: &Path) -> bool {
        self.devices.iter().any(|device| {
            let (major, minor) = (rustix::fs::major(*device), rustix::fs::minor(*device));
            !folder.join(format!("{major}:{minor}")).exists()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A device that every Linux has: /dev/null.
    fn there() -> Presence {
        Presence::of(vec![rustix::fs::makedev(1, 3)])
    }

    /// Numbers that Linux keeps for nobody.
    fn gone() -> Presence {
        Presence::of(vec![rustix::fs::makedev(1, 3), rustix::fs::makedev(511, 1_048_575)])
    }

    #[test]
    fn a_camera_that_is_there_is_stopped_at_once() {
        for presence in [there(), Presence::of(Vec::new())] {
            let begun = Instant::now();
            assert!(presence.may_stop(Duration::from_secs(60)) && !presence.is_unplugged());
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
    }

    #[test]
    fn an_unplugged_camera_is_not_stopped_before_libcamera_knows() {
        let presence = Arc::new(gone());
        assert!(presence.is_unplugged());
        assert!(!presence.may_stop(Duration::from_millis(10)), "it would end the process");
        let told = presence.clone();
        let teller = std::thread::spawn(move || told.note_disconnected());
        assert!(presence.may_stop(Duration::from_secs(60)));
        teller.join().unwrap();
        assert!(presence.may_stop(Duration::ZERO), "and it stays known");
    }

    #[test]
    fn what_libcamera_says_counts_as_well() {
        let presence = there();
        presence.note_disconnected();
        assert!(presence.is_unplugged());
    }
}
