//! Ensures that there is one camera manager in the process.
//!
//! libcamera aborts the process if a second one is made. All of swsync's elements share one ([`super::thread`]). Others may make
//! one too: `libcamerasrc`, its device provider, and programs that use libcamera themselves.
//!
//! - **They were first.** libcamera keeps its manager in `CameraManager::self_`. It is private, but declared in a public header, and
//!   exported by every libcamera that has this check (0.0 to 0.7). If it is set, [`claim`] refuses.
//! - **We were first.** libcamera's GStreamer plugin does not notice, and aborts when it makes its own. So while our manager
//!   lives, its provider lists no camera and its source does not open ([`guard_theirs`]): both classes ask here first.
//! - A program that makes its own manager while ours lives is aborted by libcamera. It has to make it before or after.
//!
//! A plugin that is about to make a manager counts as having it, so two of them never race.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use gst::glib;
use gst::glib::ffi::GList;
use gst::glib::translate::{IntoGlib, from_glib_borrow};
use gst::prelude::*;
use parking_lot::{Condvar, Mutex};

use crate::camera::CameraError;

/// Elements of libcamera's GStreamer plugin.
const PROVIDER: &str = "libcameraprovider";
const SOURCE: &str = "libcamerasrc";

/// How long their element may take to open a camera.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Who has a manager, or is making one.
#[derive(Debug, Default)]
struct Gate {
    ours: bool,
    /// Calls of theirs that may be making one.
    theirs: u32,
}

static GATE: Mutex<Gate> = Mutex::new(Gate { ours: false, theirs: 0 });
static CHANGED: Condvar = Condvar::new();

/// The right to have the process's manager, until it is dropped.
#[derive(Debug)]
pub(super) struct Claimed(());

impl Drop for Claimed {
    fn drop(&mut self) {
        GATE.lock().ours = false;
    }
}

/// Claims the right to make the process's manager, which must not outlive the claim.
///
/// # Errors
/// [`CameraError::Occupied`] if another part of this process has one.
pub(super) fn claim() -> Result<Claimed, CameraError> {
    guard_theirs();
    let deadline = Instant::now() + TIMEOUT;
    let mut gate = GATE.lock();
    while gate.theirs > 0 {
        if CHANGED.wait_until(&mut gate, deadline).timed_out() && gate.theirs > 0 {
            return Err(CameraError::Occupied);
        }
    }
    if gate.ours || exists() {
        return Err(CameraError::Occupied);
    }
    gate.ours = true;
    Ok(Claimed(()))
}

/// Permission for one call of theirs that may make a manager. After the call, libcamera itself tells whether it has.
struct Permission(());

impl Permission {
    fn ask() -> Option<Self> {
        let mut gate = GATE.lock();
        if gate.ours {
            return None;
        }
        gate.theirs += 1;
        Some(Self(()))
    }
}

impl Drop for Permission {
    fn drop(&mut self) {
        GATE.lock().theirs -= 1;
        CHANGED.notify_all();
    }
}

/// Whether this process has a camera manager. To be called under the lock, so that ours does not come or go meanwhile.
fn exists() -> bool {
    /// `libcamera::CameraManager::self_`
    const SELF: &CStr = c"_ZN9libcamera13CameraManager5self_E";
    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    }
    /// `RTLD_DEFAULT`: searches the libraries that this one is linked with, libcamera among them.
    const DEFAULT: *mut c_void = ptr::null_mut();
    // SAFETY: the handle is a pseudo-handle that need not be opened, and the name ends with a zero.
    let symbol = unsafe { dlsym(DEFAULT, SELF.as_ptr()) };
    if symbol.is_null() {
        swsync_core::log::warn!(
            "this libcamera does not tell whether the process has a camera manager; assuming that it has none"
        );
        return false;
    }
    // SAFETY: libcamera declares it `static CameraManager *self_`. It is an aligned pointer, which exists as long as the
    // library that this one is linked with. It is only read.
    let manager = unsafe { AtomicPtr::<c_void>::from_ptr(symbol.cast()) };
    !manager.load(Ordering::Acquire).is_null()
}

type Probe = unsafe extern "C" fn(*mut gst::ffi::GstDeviceProvider) -> *mut GList;
type ChangeState = unsafe extern "C" fn(
    *mut gst::ffi::GstElement,
    gst::ffi::GstStateChange,
) -> gst::ffi::GstStateChangeReturn;

static THEIR_PROBE: OnceLock<Probe> = OnceLock::new();
static THEIR_CHANGE_STATE: OnceLock<ChangeState> = OnceLock::new();

/// Why their element fails.
const OURS: &str = "swsync's elements have libcamera in this process, which allows one camera manager: a second one would end the \
     process";

/// Has libcamera's GStreamer plugin, if it is installed, ask here before it makes a manager.
fn guard_theirs() {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // SAFETY: the function has no preconditions.
    if unsafe { gst::ffi::gst_is_initialized() } == glib::ffi::GFALSE {
        return; // so their plugin is not in use
    }
    let _guard = ONE_AT_A_TIME.lock();
    if THEIR_PROBE.get().is_none()
        && let Some(factory) = gst::DeviceProviderFactory::find(PROVIDER)
        && let Ok(factory) = factory.load()
    {
        let theirs = factory.downcast::<gst::DeviceProviderFactory>();
        let class = theirs.map(|factory| class_of(factory.device_provider_type()));
        if let Ok(class) = class
            && !class.is_null()
        {
            let class: *mut gst::ffi::GstDeviceProviderClass = class.cast();
            // SAFETY: the type is a device provider's, so this is its class, and the reference keeps it for ever. The replaced
            // function is called by its replacement only. A concurrent call gets one or the other.
            unsafe {
                if let Some(probe) = (*class).probe {
                    let _ = THEIR_PROBE.set(probe); // it is unset: see above
                    (*class).probe = Some(probe_if_permitted);
                }
            }
        }
    }
    if THEIR_CHANGE_STATE.get().is_none()
        && let Some(factory) = gst::ElementFactory::find(SOURCE)
        && let Ok(factory) = factory.load()
    {
        let theirs = factory.downcast::<gst::ElementFactory>();
        let class = theirs.map(|factory| class_of(factory.element_type()));
        if let Ok(class) = class
            && !class.is_null()
        {
            let class: *mut gst::ffi::GstElementClass = class.cast();
            // SAFETY: as above, for an element's class.
            unsafe {
                if let Some(change_state) = (*class).change_state {
                    let _ = THEIR_CHANGE_STATE.set(change_state);
                    (*class).change_state = Some(change_state_if_permitted);
                }
            }
        }
    }
}

/// The class of `kind`, which is kept for ever; null if it has none.
fn class_of(kind: glib::Type) -> *mut c_void {
    if !kind.is_a(gst::Object::static_type()) {
        return ptr::null_mut();
    }
    // SAFETY: the type is an object's, so it has a class. The reference is never given back.
    unsafe { glib::gobject_ffi::g_type_class_ref(kind.into_glib()).cast() }
}

unsafe extern "C" fn probe_if_permitted(provider: *mut gst::ffi::GstDeviceProvider) -> *mut GList {
    let Some(probe) = THEIR_PROBE.get() else { return ptr::null_mut() };
    let Some(_permission) = Permission::ask() else {
        swsync_core::log::warn!("{PROVIDER} lists no camera: {OURS}. swsyncdeviceprovider lists them");
        return ptr::null_mut(); // an empty list
    };
    // SAFETY: called with the caller's own arguments.
    unsafe { probe(provider) }
}

unsafe extern "C" fn change_state_if_permitted(
    element: *mut gst::ffi::GstElement,
    transition: gst::ffi::GstStateChange,
) -> gst::ffi::GstStateChangeReturn {
    let Some(change_state) = THEIR_CHANGE_STATE.get() else {
        return gst::ffi::GST_STATE_CHANGE_FAILURE;
    };
    // The element makes its manager in this transition.
    let permission = if transition == gst::ffi::GST_STATE_CHANGE_NULL_TO_READY {
        match Permission::ask() {
            Some(permission) => Some(permission),
            None => {
                // SAFETY: GStreamer calls this with an element that it keeps alive meanwhile.
                let element = unsafe { from_glib_borrow::<_, gst::Element>(element) };
                gst::element_error!(
                    &*element,
                    gst::ResourceError::Busy,
                    ("{OURS}"),
                    ["Use swsyncsrc for all cameras of this process, or a process of its own for {SOURCE}"]
                );
                return gst::ffi::GST_STATE_CHANGE_FAILURE;
            }
        }
    } else {
        None
    };
    // SAFETY: called with the caller's own arguments.
    let changed = unsafe { change_state(element, transition) };
    drop(permission);
    changed
}
