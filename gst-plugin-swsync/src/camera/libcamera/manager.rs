//! One camera manager in a process, whoever has it.
//!
//! libcamera aborts the process where a second one is made. All of swsync's elements share one ([`super::service`]). Others make
//! theirs without a word: `libcamerasrc`, its device provider, and programs that use libcamera themselves.
//!
//! - **They were first.** libcamera keeps its manager in `CameraManager::self_`. It is private, but declared in a public header, and
//!   exported by every libcamera since there is a check (0.0 to 0.7). Where it is set, [`claim`] refuses.
//! - **We were first.** Nothing tells libcamera's GStreamer plugin, which aborts when it makes its own. So while our manager
//!   lives, its provider lists no camera and its source does not open ([`guard_theirs`]): both their classes ask here first.
//! - A program's own manager, made while ours lives, aborts as libcamera has it. It has to be made before, or after.
//!
//! Whoever of the plugins is about to make one counts as having it, so the two never cross.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gst::glib;
use gst::glib::ffi::GList;
use gst::glib::translate::{IntoGlib, from_glib_borrow};
use gst::prelude::*;
use parking_lot::{Condvar, Mutex};

use crate::camera::CameraError;

/// Theirs, by name.
const PROVIDER: &str = "libcameraprovider";
const SOURCE: &str = "libcamerasrc";

/// For so long their element may take to open a camera.
const LONGEST: Duration = Duration::from_secs(20);

/// Who has a manager, or makes one just now.
#[derive(Debug, Default)]
struct Gate {
    ours: bool,
    /// Calls of theirs that may make one.
    theirs: u32,
}

static GATE: Mutex<Gate> = Mutex::new(Gate { ours: false, theirs: 0 });
static CHANGED: Condvar = Condvar::new();

/// The right to have the process's manager, as long as it is kept.
#[derive(Debug)]
pub(super) struct Claimed(());

impl Drop for Claimed {
    fn drop(&mut self) {
        GATE.lock().ours = false;
    }
}

/// The right to make the process's manager, which must not outlive it.
///
/// # Errors
/// [`CameraError::Occupied`] where someone else in this process has one.
pub(super) fn claim() -> Result<Claimed, CameraError> {
    guard_theirs();
    let deadline = Instant::now() + LONGEST;
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

/// Leave for one call of theirs that may make a manager. Once it is through, libcamera itself tells.
struct Leave(());

impl Leave {
    fn ask() -> Option<Self> {
        let mut gate = GATE.lock();
        if gate.ours {
            return None;
        }
        gate.theirs += 1;
        Some(Self(()))
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        GATE.lock().theirs -= 1;
        CHANGED.notify_all();
    }
}

/// Whether this process has a camera manager. Only to be asked where none of ours can come or go meanwhile.
fn exists() -> bool {
    /// `libcamera::CameraManager::self_`
    const SELF: &CStr = c"_ZN9libcamera13CameraManager5self_E";
    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    }
    /// `RTLD_DEFAULT`: looks where this library's own symbols come from, its libcamera being among them.
    const DEFAULT: *mut c_void = ptr::null_mut();
    // SAFETY: the handle is one of the two that need not be opened, and the name ends with a zero.
    let symbol = unsafe { dlsym(DEFAULT, SELF.as_ptr()) };
    if symbol.is_null() {
        tracing::warn!(
            "this libcamera does not tell whether the process has a camera manager: taking it that none has"
        );
        return false;
    }
    // SAFETY: libcamera declares it `static CameraManager *self_`, aligned as pointers are, and it is there as long as
    // the library, which this one is linked with. It is only read.
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

/// Why theirs has to do without.
const OURS: &str = "swsync's elements have libcamera in this process, which allows one camera manager: a second one would end the \
     process";

/// Has libcamera's GStreamer plugin ask here before it makes a manager, where it is installed.
fn guard_theirs() {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // SAFETY: has no conditions.
    if unsafe { gst::ffi::gst_is_initialized() } == glib::ffi::GFALSE {
        return; // nobody has it do anything
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
            // SAFETY: a class of this type, as it is a provider's, which the reference to it keeps for ever. What the field
            // holds before is called by its replacement alone; one that is called meanwhile is one or the other.
            unsafe {
                if let Some(probe) = (*class).probe {
                    let _ = THEIR_PROBE.set(probe); // it is empty: see above
                    (*class).probe = Some(probe_with_leave);
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
            // SAFETY: as above, for an element's.
            unsafe {
                if let Some(change_state) = (*class).change_state {
                    let _ = THEIR_CHANGE_STATE.set(change_state);
                    (*class).change_state = Some(change_state_with_leave);
                }
            }
        }
    }
}

/// The class of `kind`, kept for ever; null of none.
fn class_of(kind: glib::Type) -> *mut c_void {
    if !kind.is_a(gst::Object::static_type()) {
        return ptr::null_mut();
    }
    // SAFETY: a type with a class, as all objects' have one. The reference is never given back.
    unsafe { glib::gobject_ffi::g_type_class_ref(kind.into_glib()).cast() }
}

unsafe extern "C" fn probe_with_leave(provider: *mut gst::ffi::GstDeviceProvider) -> *mut GList {
    let Some(probe) = THEIR_PROBE.get() else { return ptr::null_mut() };
    let Some(_leave) = Leave::ask() else {
        tracing::warn!("{PROVIDER} lists no camera: {OURS}. swsyncdeviceprovider lists them");
        return ptr::null_mut(); // an empty list
    };
    // SAFETY: called as it would have been.
    unsafe { probe(provider) }
}

unsafe extern "C" fn change_state_with_leave(
    element: *mut gst::ffi::GstElement,
    transition: gst::ffi::GstStateChange,
) -> gst::ffi::GstStateChangeReturn {
    let Some(change_state) = THEIR_CHANGE_STATE.get() else {
        return gst::ffi::GST_STATE_CHANGE_FAILURE;
    };
    // It opens its camera here, and keeps its manager from then on.
    let leave = if transition == gst::ffi::GST_STATE_CHANGE_NULL_TO_READY {
        match Leave::ask() {
            Some(leave) => Some(leave),
            None => {
                // SAFETY: GStreamer calls this with an element, and keeps it meanwhile.
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
    // SAFETY: called as it would have been.
    let changed = unsafe { change_state(element, transition) };
    drop(leave);
    changed
}
