//! The thread that owns libcamera's camera manager and all open cameras.
//!
//! A process can have one camera manager ([`super::manager`]), and the binding's cameras must neither leave
//! the thread that made them nor outlive the manager. So one thread owns them all, and others send it closures. It lists,
//! configures, starts and stops cameras. Frames do not pass through it: requests are queued from the streaming threads
//! ([`super::session::RequestQueue`]), and completed ones go from libcamera's own thread to the camera's [`Mailbox`].
//!
//! The first [`LibcameraThread::get`] starts the thread. The drop of the last [`LibcameraThread`] ends and joins
//! it. Both happen under [`RUNNING`]'s lock, so that two managers never overlap.
//!
//! A driver that hangs blocks the thread. Callers give up after [`TIMEOUT`]. From then on nobody
//! waits for the thread until it is back, and nobody joins it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use ::libcamera::camera_manager::CameraManager;
use parking_lot::Mutex;

use super::manager::{self, Claimed};
use super::session::{CameraEvent, CameraSession, SessionInfo};
use super::{hotplug, sensor};
use crate::camera::CameraError;
use crate::camera::mailbox::Mailbox;

/// What to check if libcamera finds no camera.
const NO_CAMERA: &str = "none: libcamera finds no camera (`cam -l` lists what it finds). Check the \
     ribbon cable, the camera's overlay in config.txt, and that this user may open /dev/media* \
     and /dev/video* (group video)";

/// How long a call may take. Starting a camera takes a second or two, and several are started one after the other.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The thread does not answer: nobody waits for it until it has finished its job.
static HANGS: AtomicBool = AtomicBool::new(false);

/// Whether libcamera's thread does not answer.
pub(super) fn hangs() -> bool {
    HANGS.load(Ordering::Acquire)
}

/// What that means, for people, and what helps.
pub(super) const HUNG: &str = "it does not come back: a camera's driver hangs (`dmesg` may say why). End this process; where that \
     does not help, unplug the camera or restart the machine";

/// A job for the thread; `None` ends it.
type Job = Option<Box<dyn FnOnce(&mut OpenCameras) + Send>>;

struct Running {
    users: usize,
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

/// A camera that libcamera has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraDescription {
    /// What [`super::LibcameraCamera::open`] takes: unique, and the same after a restart.
    pub id: String,
    /// The sensor or product, e.g. `imx219`; `unknown` if libcamera does not say.
    pub model: String,
}

/// The cameras that libcamera finds, in its order.
///
/// # Errors
/// [`CameraError::Failed`] if libcamera does not start.
pub fn list() -> Result<Vec<CameraDescription>, CameraError> {
    let listed = LibcameraThread::get()?.call(|library| library.list());
    listed.ok_or_else(|| no_answer("libcamera", "listing cameras"))
}

/// A handle to libcamera's thread, which runs while there is one.
pub(super) struct LibcameraThread {
    jobs: Sender<Job>,
}

impl LibcameraThread {
    /// Starts libcamera if it does not run yet.
    pub(super) fn get() -> Result<Self, CameraError> {
        let mut running = RUNNING.lock();
        if let Some(running) = running.as_mut() {
            running.users += 1;
            let jobs = running.jobs.clone();
            return Ok(Self { jobs });
        }
        let cannot = |reason: String| CameraError::failed("libcamera", "starting", reason);
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("swsync-libcam".into())
            .spawn(move || {
                let mut library = match OpenCameras::new() {
                    Ok(library) => library,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                drop(ready.send(Ok(())));
                HANGS.store(false, Ordering::Release);
                while let Ok(Some(job)) = inbox.recv() {
                    // The binding unwraps some of libcamera's results. A job that panics drops its reply: its
                    // caller gets an error, and the other cameras go on.
                    let _ = catch_unwind(AssertUnwindSafe(|| job(&mut library)));
                    HANGS.store(false, Ordering::Release);
                }
            })
            .map_err(|error| cannot(error.to_string()))?;
        let started = match started.recv_timeout(TIMEOUT * 2) {
            Ok(started) => started,
            Err(RecvTimeoutError::Disconnected) => Err(cannot("it panicked".into())),
            Err(RecvTimeoutError::Timeout) => {
                // The thread is kept, as a second manager would end the process.
                HANGS.store(true, Ordering::Release);
                *running = Some(Running { users: 1, jobs, thread });
                return Err(cannot(HUNG.into()));
            }
        };
        if let Err(error) = started {
            let _ = thread.join();
            return Err(error);
        }
        *running = Some(Running { users: 1, jobs: jobs.clone(), thread });
        Ok(Self { jobs })
    }

    /// Runs `job` on libcamera's thread; `None` if it panicked, or the thread [hangs].
    pub(super) fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut OpenCameras) -> R + Send + 'static,
    ) -> Option<R> {
        self.call_within(TIMEOUT, job)
    }

    fn call_within<R: Send + 'static>(
        &self,
        longest: Duration,
        job: impl FnOnce(&mut OpenCameras) -> R + Send + 'static,
    ) -> Option<R> {
        if hangs() {
            return None;
        }
        let (reply, answer) = mpsc::channel();
        self.post(move |library| drop(reply.send(job(library))));
        let answer = answer.recv_timeout(longest);
        if let Err(RecvTimeoutError::Timeout) = answer {
            swsync_core::log::error!("libcamera has not answered for {longest:?}: a driver hangs");
            HANGS.store(true, Ordering::Release);
        }
        answer.ok()
    }

    /// Runs `job` with an open camera on libcamera's thread; `None` as for [`Self::call`].
    pub(super) fn with<R: Send + 'static>(
        &self,
        session: SessionId,
        job: impl FnOnce(&mut CameraSession) -> R + Send + 'static,
    ) -> Option<R> {
        self.call(move |library| library.sessions.get_mut(&session).map(job))?
    }

    /// Runs `job` on libcamera's thread after those posted before, without waiting for it.
    pub(super) fn post(&self, job: impl FnOnce(&mut OpenCameras) + Send + 'static) {
        // The thread outlives every `LibcameraThread`.
        let _ = self.jobs.send(Some(Box::new(job)));
    }
}

impl Drop for LibcameraThread {
    fn drop(&mut self) {
        let mut running = RUNNING.lock();
        if hangs() {
            return; // the thread is never joined
        }
        let Some(current) = running.as_mut() else {
            return;
        };
        current.users -= 1;
        if current.users == 0 {
            let _ = current.jobs.send(None);
            if let Some(last) = running.take() {
                let _ = last.thread.join();
            }
        }
    }
}

/// The error when libcamera's thread gave no answer.
pub(super) fn no_answer(camera: &str, doing: &'static str) -> CameraError {
    if hangs() {
        return CameraError::failed(camera, doing, HUNG);
    }
    CameraError::failed(camera, doing, "libcamera returned what its binding does not expect")
}

/// An open camera among the [`OpenCameras`]'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionId(u64);

/// libcamera's version, once it has been used.
static VERSION: OnceLock<String> = OnceLock::new();

/// libcamera's version. `None`: this process has not used it yet.
pub fn version() -> Option<String> {
    VERSION.get().cloned()
}

/// What the thread owns: the manager and the open cameras.
pub(super) struct OpenCameras {
    // Before the manager: fields are dropped in order, and cameras have to go first.
    sessions: HashMap<SessionId, CameraSession>,
    opened: u64,
    pub(super) manager: CameraManager,
    // After the manager: while that lives, nobody else in this process may have one.
    _claimed: Claimed,
}

impl OpenCameras {
    fn new() -> Result<Self, CameraError> {
        let claimed = manager::claim()?;
        let started = CameraManager::new();
        let mut manager = started.map_err(|error| CameraError::failed("libcamera", "starting", error))?;
        VERSION.get_or_init(|| manager.version().to_owned());
        hotplug::announce_changes(&mut manager);
        Ok(Self { sessions: HashMap::new(), opened: 0, manager, _claimed: claimed })
    }

    pub(super) fn list(&self) -> Vec<CameraDescription> {
        let cameras = self.manager.cameras();
        (0..cameras.len())
            .filter_map(|index| cameras.get(index))
            .map(|camera| CameraDescription {
                id: camera.id().to_owned(),
                model: sensor::model(camera.properties()),
            })
            .collect()
    }

    /// Acquires the camera with the id `name`, or at that place in the list; the first if `None`.
    pub(super) fn open(
        &mut self,
        name: Option<&str>,
        events: Arc<Mailbox<CameraEvent>>,
    ) -> Result<(SessionId, SessionInfo), CameraError> {
        let ids: Vec<String> = self.list().into_iter().map(|camera| camera.id).collect();
        let id = match name {
            None => ids.first(),
            Some(name) => ids.iter().find(|id| *id == name).or_else(|| ids.get(name.parse::<usize>().ok()?)),
        };
        let Some(camera) = id.and_then(|id| self.manager.get(id)) else {
            return Err(CameraError::NotFound {
                wanted: name.map_or_else(|| "to open".to_owned(), |name| format!("`{name}`")),
                available: if ids.is_empty() { NO_CAMERA.to_owned() } else { ids.join(", ") },
            });
        };
        let (session, description) = CameraSession::open(camera, &ids, events)?;
        let id = SessionId(self.opened);
        self.opened += 1;
        self.sessions.insert(id, session);
        Ok((id, description))
    }

    pub(super) fn session(&mut self, session: SessionId) -> Option<&mut CameraSession> {
        self.sessions.get_mut(&session)
    }

    pub(super) fn close(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn callers_do_not_wait_for_a_driver_that_hangs() {
        // All tests of a process share the thread, so this one runs in a process of its own.
        const ALONE: &str = "SWSYNC_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let name = concat!(module_path!(), "::callers_do_not_wait_for_a_driver_that_hangs");
            let name = name.split_once("::").expect("in a crate").1;
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(ALONE, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let service = LibcameraThread::get().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let hung = service.call_within(Duration::from_millis(50), move |_| held.recv());
        assert!(hung.is_none() && hangs());
        let begun = Instant::now();
        assert!(service.call(|library| library.list().len()).is_none());
        drop(service);
        let again = LibcameraThread::get().unwrap();
        assert!(again.call(|_| ()).is_none());
        assert!(begun.elapsed() < TIMEOUT / 2, "{:?}", begun.elapsed());
        // The thread answers again.
        release.send(()).unwrap();
        while hangs() {
            std::thread::yield_now();
        }
        assert!(again.call(|library| library.list().len()).is_some());
    }
}
