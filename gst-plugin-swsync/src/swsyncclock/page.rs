//! The property `dashboard`: the program `swsync-dashboard` as a child of this process, for as long as the element runs.
//!
//! A program of its own, so that the plugin has no web server in it, and a fault of the page ends no recording.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gst::prelude::*;
use parking_lot::{Condvar, Mutex};
use swsync_core::log;
use swsync_rig::settings::{CONFIG_VARIABLE, RigSettings, Setting};

/// The program, which PATH has to have.
const PROGRAM: &str = "swsync-dashboard";

/// How often the child is looked after.
const LOOK: Duration = Duration::from_millis(500);

const REMEDY: &str = "Install swsync's programs (docs/install.md) so that PATH has swsync-dashboard, or leave `dashboard` unset.";

/// A page that is served. Dropping it ends that.
#[derive(Debug)]
pub struct Page {
    ended: Arc<(Mutex<bool>, Condvar)>,
    /// Owns the child; started by [`Page::start`], joined on drop.
    thread: Option<JoinHandle<()>>,
}

/// The address in the property.
///
/// # Errors
/// It is none.
fn parse(text: &str) -> Result<SocketAddr, gst::ErrorMessage> {
    text.parse().map_err(|_| {
        gst::error_msg!(
            gst::LibraryError::Settings,
            ("dashboard={text} is no address with a port"),
            ["Write it like 127.0.0.1:8080, or 0.0.0.0:8080 for phones of the network."]
        )
    })
}

impl Page {
    /// Serves the page of the rig that `rig` names at `address`, and warns on the bus of `element` if that ends.
    ///
    /// # Errors
    /// `address` is none, or the program cannot be started.
    pub fn start(
        address: &str,
        rig: &RigSettings,
        element: &gst::Element,
    ) -> Result<Self, gst::ErrorMessage> {
        let address = parse(address)?;
        let child = spawn(address, rig).map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::NotFound,
                ("dashboard={address}: {PROGRAM} cannot be started: {error}"),
                ["{REMEDY}"]
            )
        })?;
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let (element, until) = (element.downgrade(), Arc::clone(&ended));
        let watch = move || watch(child, address, &until, &element);
        let thread = std::thread::Builder::new().name("swsync-page".into()).spawn(watch);
        let thread = thread.map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::Failed,
                ("dashboard={address}: no thread to look after it: {error}")
            )
        })?;
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        *self.ended.0.lock() = true;
        self.ended.1.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that looks after the dashboard has panicked");
        }
    }
}

fn spawn(address: SocketAddr, rig: &RigSettings) -> std::io::Result<Child> {
    // Standard output is the application's: gst-launch-1.0 may write its stream there.
    let output = std::io::stderr().as_fd().try_clone_to_owned()?;
    let mut command = Command::new(PROGRAM);
    // Its standard input is closed when this process ends, however it does.
    command.args(["dashboard", "--while-stdin", "--listen", &address.to_string()]);
    for setting in Setting::ALL {
        command.env_remove(setting.variable());
    }
    // Of environment and file everything is in `rig` already. The page connects where this device does, or where it listens.
    command.env(CONFIG_VARIABLE, "/dev/null").env(Setting::Rig.variable(), rig.rig());
    let endpoints = rig.endpoints_for_this_host();
    if !endpoints.is_empty() {
        command.env(Setting::Connect.variable(), endpoints.join(","));
    }
    if let Some(key) = rig.value(Setting::KeyFile) {
        command.env(Setting::KeyFile.variable(), key);
    }
    command.stdin(Stdio::piped()).stdout(output).spawn()
}

/// Waits until the child has ended, or is to end.
fn watch(
    mut child: Child,
    address: SocketAddr,
    (ended, changed): &(Mutex<bool>, Condvar),
    element: &gst::glib::WeakRef<gst::Element>,
) {
    let mut is_over = ended.lock();
    while !*is_over {
        let over = match child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(how) = over {
            drop(is_over);
            if let Some(element) = element.upgrade() {
                gst::element_warning!(
                    element,
                    gst::ResourceError::Failed,
                    ("The dashboard at {address} has ended ({how}); all else goes on"),
                    ["It says why on standard error: does another program have the port?"]
                );
            }
            return;
        }
        changed.wait_for(&mut is_over, LOOK);
    }
    drop(is_over);
    // It has nothing to lose.
    if let Err(error) = child.kill().and_then(|()| child.wait()) {
        log::warn!(%error, "the dashboard could not be ended");
    }
}
