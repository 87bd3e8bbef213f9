use std::sync::LazyLock;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;

use super::{CAT, CLASS, SwsyncDevice};
use crate::camera::libcamera::{CameraChange, CameraMonitor, find};

/// libcamera's own provider, which cannot list while a camera manager of ours exists.
const PEER: &str = "libcameraprovider";

#[derive(Default)]
pub struct SwsyncDeviceProvider {
    watching: Mutex<Option<Watching>>,
}

/// Begun by `start`. Its thread ends with the monitor, and is joined by `stop`.
struct Watching {
    monitor: CameraMonitor,
    thread: JoinHandle<()>,
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncDeviceProvider {
    const NAME: &'static str = "GstSwsyncDeviceProvider";
    type Type = super::SwsyncDeviceProvider;
    type ParentType = gst::DeviceProvider;
}

impl ObjectImpl for SwsyncDeviceProvider {}

impl GstObjectImpl for SwsyncDeviceProvider {}

impl DeviceProviderImpl for SwsyncDeviceProvider {
    fn metadata() -> Option<&'static gst::subclass::DeviceProviderMetadata> {
        static METADATA: LazyLock<gst::subclass::DeviceProviderMetadata> = LazyLock::new(|| {
            gst::subclass::DeviceProviderMetadata::new(
                "swsync camera list",
                CLASS,
                "Lists the cameras that swsyncsrc can open",
                "The swsync developers",
            )
        });
        Some(&METADATA)
    }

    fn probe(&self) -> Vec<gst::Device> {
        match find() {
            Ok(cameras) => cameras.into_iter().map(|camera| SwsyncDevice::new(camera).upcast()).collect(),
            Err(error) => {
                gst::warning!(CAT, imp = self, "{error}");
                Vec::new()
            }
        }
    }

    fn start(&self) -> Result<(), gst::LoggableError> {
        if gst::DeviceProviderFactory::find(PEER).is_some() {
            gst::info!(CAT, imp = self, "{PEER} is installed: cameras that come and go are not announced");
        } else {
            match CameraMonitor::start() {
                Ok(started) => *self.watching.lock() = Some(self.watch(started)?),
                // A device monitor goes on with other providers.
                Err(error) => {
                    gst::warning!(CAT, imp = self, "no camera is listed, and none that comes later: {error}");
                    return Ok(());
                }
            }
        }
        for device in self.probe() {
            self.obj().device_add(&device);
        }
        Ok(())
    }

    fn stop(&self) {
        let watching = self.watching.lock().take();
        if let Some(Watching { monitor, thread }) = watching {
            drop(monitor);
            if thread.join().is_err() {
                gst::error!(CAT, imp = self, "the thread that watches cameras panicked");
            }
        }
    }
}

impl SwsyncDeviceProvider {
    fn watch(
        &self,
        (monitor, changes): (CameraMonitor, Receiver<CameraChange>),
    ) -> Result<Watching, gst::LoggableError> {
        let provider = self.obj().downgrade();
        let thread = std::thread::Builder::new()
            .name("swsync-devices".into())
            .spawn(move || follow(&changes, &provider))
            .map_err(|error| gst::loggable_error!(CAT, "no thread to watch cameras: {error}"))?;
        Ok(Watching { monitor, thread })
    }
}

/// Adds and removes devices until the monitor ends.
fn follow(changes: &Receiver<CameraChange>, provider: &glib::WeakRef<super::SwsyncDeviceProvider>) {
    while let Ok(change) = changes.recv() {
        let Some(provider) = provider.upgrade() else {
            return;
        };
        match change {
            CameraChange::Added(id) => {
                let found = find().ok().into_iter().flatten().find(|camera| camera.id == id);
                if let Some(camera) = found
                    && device(&provider, &id).is_none()
                {
                    provider.device_add(&SwsyncDevice::new(camera));
                }
            }
            CameraChange::Removed(id) => {
                if let Some(device) = device(&provider, &id) {
                    provider.device_remove(&device);
                }
            }
        }
    }
}

/// The device of the camera `id`, if it is listed.
fn device(provider: &super::SwsyncDeviceProvider, id: &str) -> Option<SwsyncDevice> {
    let listed = provider.devices().into_iter().filter_map(|device| device.downcast::<SwsyncDevice>().ok());
    listed.into_iter().find(|device| device.id() == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::libcamera::announce;
    use std::time::{Duration, Instant};

    /// Waits until the provider lists `wanted` cameras.
    fn lists(provider: &super::super::SwsyncDeviceProvider, wanted: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while provider.devices().len() != wanted {
            assert!(Instant::now() < deadline, "{} listed, not {wanted}", provider.devices().len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn cameras_that_come_and_go_are_announced() {
        gst::init().unwrap();
        let cameras = find().unwrap();
        let Some(first) = cameras.first().map(|camera| camera.id.clone()) else {
            eprintln!("skipped: libcamera has no camera");
            return;
        };
        if gst::DeviceProviderFactory::find(PEER).is_some() {
            eprintln!("skipped: {PEER} is installed");
            return;
        }
        let provider: super::super::SwsyncDeviceProvider = glib::Object::new();
        DeviceProviderExt::start(&provider).unwrap();
        lists(&provider, cameras.len());
        announce(&CameraChange::Removed(first.clone()));
        lists(&provider, cameras.len() - 1);
        announce(&CameraChange::Removed("no such camera".into()));
        announce(&CameraChange::Added("no such camera".into()));
        announce(&CameraChange::Added(first.clone()));
        lists(&provider, cameras.len());
        // It is listed already: not twice.
        announce(&CameraChange::Added(first.clone()));
        announce(&CameraChange::Removed(first));
        lists(&provider, cameras.len() - 1);
        provider.stop();
        assert!(provider.imp().watching.lock().is_none());
    }
}
