use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::grid::FrameGrid;
use swsync_rig::clock::{DeviceClock, SIMULATED_CLOCK};

use super::Backend;
use super::align::{Change, Progress, held_back, report};
use super::controls::{self, Desk};
use super::framer::{Framer, PlacedFrame, StartError};
use super::settings::{self, Settings};
use crate::camera::controls::by_property;
use crate::camera::libcamera::LibcameraCamera;
use crate::camera::mailbox::Mailbox;
use crate::camera::simulated::SimulatedCamera;
use crate::camera::{Camera, CameraError, StreamRole, StreamSetup, Wakeup};
use crate::caps::grid_of;
use crate::clock::{SensorTimeBridge, SwsyncClock, clock_time};
use crate::lock::lock;
use crate::meta;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncsrc", gst::DebugColorFlags::empty(), Some("swsync camera source"))
});

#[derive(Default)]
enum State {
    #[default]
    Stopped,
    /// The camera is open; its caps are known.
    Opened {
        camera: Box<dyn Camera>,
        device: Arc<DeviceClock>,
        settings: Settings,
    },
    Streaming {
        framer: Box<Framer>,
        device: Arc<DeviceClock>,
        settings: Settings,
    },
}

/// What the read-only properties say.
#[derive(Debug, Clone, Copy, Default)]
struct Observed {
    newest: Option<FrameInfo>,
    lock_count: u32,
    /// What is known of alignment, while the camera streams.
    progress: Option<Progress>,
    /// Frames that came, were lost by the camera, and were off the grid.
    frames: u64,
    lost: u64,
    off_grid: u64,
}

impl Observed {
    /// Takes in a frame: how often the lock was won, and whether the frame is off the grid.
    fn take_in(&mut self, frame: &PlacedFrame, progress: &Progress) -> (u32, bool) {
        let holds = |lock| matches!(lock, LockState::Locked | LockState::Coasting);
        let before = self.newest.replace(frame.info);
        let won = holds(frame.info.lock) && !before.is_some_and(|info| holds(info.lock));
        self.lock_count += u32::from(won);
        let held_back = held_back(frame.info.lock, self.lock_count > 0);
        self.progress = Some(*progress);
        self.frames += 1;
        self.lost += frame.lost;
        self.off_grid += u64::from(held_back);
        (self.lock_count, held_back)
    }

    /// `None` before the first frame.
    fn stats(&self) -> Option<gst::Structure> {
        let progress = self.progress?;
        let mut stats = gst::Structure::builder("swsync-src-stats")
            .field("frames", self.frames)
            .field("lost", self.lost)
            .field("off-grid", self.off_grid)
            .field("lock-count", self.lock_count)
            .build();
        report::add_to_stats(&mut stats, self.newest.as_ref(), &progress);
        Some(stats)
    }
}

/// What queries are answered from: they must not wait for a frame, as whoever wants `state` does.
#[derive(Debug, Clone, Default)]
struct Known {
    /// What the camera can deliver, while it is open.
    caps: Option<gst::Caps>,
    /// From a frame's start to its delivery, while it streams.
    latency: Option<gst::ClockTime>,
}

/// Tells an interruption by a pause from one by a flush or EOS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Pauses {
    paused: bool,
    changes: u32,
}

// Lock order: `state`, which is held while waiting for a frame, before any other. The others are leaves.
#[derive(Default)]
pub struct SwsyncSrc {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    known: Mutex<Known>,
    wakeup: Mutex<Option<Arc<dyn Wakeup>>>,
    observed: Mutex<Observed>,
    sleeper: Mailbox<()>,
    pauses: Mutex<Pauses>,
    desk: Arc<Desk>,
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncSrc {
    const NAME: &'static str = "GstSwsyncSrc";
    type Type = super::SwsyncSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for SwsyncSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = settings::properties();
            properties.extend(controls::properties());
            properties.extend([
                glib::ParamSpecInt64::builder("phase-error")
                    .nick("Phase error")
                    .blurb("Time of the newest frame minus its grid instant, in nanoseconds")
                    .read_only()
                    .build(),
                glib::ParamSpecBoolean::builder("locked")
                    .nick("Locked")
                    .blurb("Whether the camera is on the frame grid, within the tolerance")
                    .read_only()
                    .build(),
                glib::ParamSpecUInt::builder("lock-count")
                    .nick("Lock count")
                    .blurb("How often the camera came onto the frame grid since it was started")
                    .read_only()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("Frames and their fates, and what is known of alignment")
                    .read_only()
                    .build(),
            ]);
            properties
        });
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        controls::signals()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        match by_property(pspec.name()) {
            Some(control) => controls::set_property(&self.desk, &self.obj(), control, value),
            None => lock(&self.settings).set(pspec.name(), value),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let observed = *lock(&self.observed);
        match pspec.name() {
            "phase-error" => observed.newest.map_or(0, |info| info.phase_error_ns.as_nanos()).to_value(),
            "locked" => observed.newest.is_some_and(|info| info.lock == LockState::Locked).to_value(),
            "lock-count" => observed.lock_count.to_value(),
            "stats" => observed.stats().to_value(),
            name => match by_property(name) {
                Some(control) => controls::property(&self.desk, control, observed.newest.as_ref()),
                None => lock(&self.settings).get(name),
            },
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let src = self.obj();
        src.set_live(true);
        src.set_format(gst::Format::Time);
    }
}

impl GstObjectImpl for SwsyncSrc {}

impl ElementImpl for SwsyncSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Synchronized camera",
                "Source/Video/Hardware",
                "Captures frames that begin at the same instants on all devices of a rig",
                "The swsync developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps: gst::Caps = [
                gst_video::VideoCapsBuilder::new().build(),
                gst::Caps::new_empty_simple("image/jpeg"),
                gst::Caps::new_empty_simple("video/x-bayer"),
            ]
            .into_iter()
            .collect();
            let template =
                gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &caps);
            vec![template.expect("a template of constants")]
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::PlayingToPaused => self.note_pause(true),
            gst::StateChange::PausedToPlaying => {
                self.note_pause(false);
                self.set_flushing(false);
            }
            _ => {}
        }
        self.parent_change_state(transition)
    }
}

impl BaseSrcImpl for SwsyncSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let device = DeviceClock::of_this_process()
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("{SIMULATED_CLOCK}: {error}")))?;
        let camera: Box<dyn Camera> = match settings.backend {
            Backend::Libcamera => Box::new(
                LibcameraCamera::open_with(
                    settings.camera_name.as_deref(),
                    settings.profile.as_deref().map(Path::new),
                )
                .map_err(|e| error_message(&e))?,
            ),
            Backend::Simulated => {
                gst::info!(CAT, imp = self, "the camera is simulated");
                Box::new(SimulatedCamera::new(settings.simulation()?, device.clone()))
            }
        };
        *lock(&self.wakeup) = Some(camera.wakeup());
        *lock(&self.observed) = Observed::default();
        *lock(&self.known) = Known { caps: Some(camera.caps(StreamRole::default())), latency: None };
        *lock(&self.state) = State::Opened { camera, device, settings };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = std::mem::take(&mut *lock(&self.state));
        if let State::Streaming { framer, .. } = state {
            framer.stop();
        }
        *lock(&self.known) = Known::default();
        *lock(&self.wakeup) = None;
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let known = lock(&self.known).caps.clone();
        let caps = known.unwrap_or_else(|| self.obj().src_pad().pad_template_caps());
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    fn fixate(&self, mut caps: gst::Caps) -> gst::Caps {
        caps.truncate();
        let caps = match &mut *lock(&self.state) {
            State::Opened { camera, .. } => camera.fixate(StreamRole::default(), caps),
            State::Streaming { framer, .. } => framer.camera().fixate(StreamRole::default(), caps),
            State::Stopped => caps,
        };
        self.parent_fixate(caps)
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let grid = grid_of(caps).map_err(|reason| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{caps}: {reason}"));
            gst::loggable_error!(CAT, "{caps}: {reason}")
        })?;
        let mut state = lock(&self.state);
        let (mut camera, device, settings) = match std::mem::take(&mut *state) {
            State::Stopped => return Err(gst::loggable_error!(CAT, "caps for a stopped source")),
            State::Opened { camera, device, settings } => (camera, device, settings),
            State::Streaming { framer, device, settings } => (framer.stop(), device, settings),
        };
        let bridge = SensorTimeBridge::new(device.clone());
        let alignment = lock(&self.settings).align.alignment();
        let result = match camera.configure(&[StreamSetup::new(caps.clone())]) {
            Ok(capabilities) => {
                let begun = self.desk.begin(&mut *camera, &capabilities, grid);
                controls::refuse_all(&self.obj(), &begun);
                Framer::start(camera, capabilities, grid, bridge, &alignment, self.desk.clone())
            }
            Err(error) => Err((camera, error.into())),
        };
        match result {
            Ok(framer) => {
                let framer = Box::new(framer);
                gst::info!(CAT, imp = self, "streaming from {}", framer.capabilities().model);
                let latency = framer.capabilities().latency + framer.grid().period();
                let latency = gst::ClockTime::from_nseconds(latency.as_nanos().unsigned_abs());
                lock(&self.known).latency = Some(latency);
                *state = State::Streaming { framer, device, settings };
            }
            Err((camera, error)) => {
                *state = State::Opened { camera, device, settings };
                drop(state);
                self.post_error_message(match &error {
                    StartError::Camera(error) => error_message(error),
                    StartError::Align(error) => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
                });
                return Err(gst::loggable_error!(CAT, "{error}"));
            }
        }
        drop(state);
        let latency = gst::message::Latency::builder().src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(latency);
        Ok(())
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Latency(latency) = query.view_mut() {
            let known = lock(&self.known).latency;
            if let Some(least) = known {
                latency.set(true, least, gst::ClockTime::NONE);
            }
            return known.is_some();
        }
        BaseSrcImplExt::parent_query(self, query)
    }

    fn event(&self, event: &gst::Event) -> bool {
        controls::handle_event(&self.desk, &self.obj(), event) || self.parent_event(event)
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(true);
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(false);
        Ok(())
    }
}

impl PushSrcImpl for SwsyncSrc {
    fn create(&self, _buffer: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        let element = self.obj();
        loop {
            let before = *lock(&self.pauses);
            let (Some(clock), Some(base_time)) = (element.clock(), element.base_time()) else {
                gst::element_imp_error!(self, gst::CoreError::Clock, ("The pipeline has no clock"));
                return Err(gst::FlowError::Error);
            };
            let (target, wait_lock) = {
                let settings = lock(&self.settings);
                (settings.align.target(), settings.align.wait_lock)
            };
            let (result, refused, grid, progress) = {
                let mut state = lock(&self.state);
                let State::Streaming { framer, .. } = &mut *state else {
                    return Err(gst::FlowError::NotNegotiated);
                };
                let refused = framer.set_target(target).err();
                (framer.next(&clock, &self.sleeper), refused, framer.grid(), *framer.progress())
            };
            if let Some(error) = refused {
                gst::element_imp_warning!(self, gst::LibraryError::Settings, ("{error}"));
            }
            let frame = match result {
                Ok(frame) => frame,
                Err(CameraError::Flushing) => {
                    self.wait_out_pause(before)?;
                    continue;
                }
                Err(error) => {
                    self.post_error_message(error_message(&error));
                    return Err(gst::FlowError::Error);
                }
            };
            let held_back = self.observe(&frame, &progress) && wait_lock;
            controls::report(&self.desk, &self.obj(), &frame.info);
            if frame.lost > 0 {
                self.post_element_message(
                    gst::Structure::builder("swsync-frames-lost")
                        .field("count", frame.lost)
                        .field("before-frame", frame.info.number)
                        .build(),
                );
            }
            // A frame from before the pipeline's start has no running time.
            let pts = clock_time(frame.info.rig_time_ns).checked_sub(base_time);
            if let (false, Some(pts)) = (held_back, pts) {
                let unix = clock.is::<SwsyncClock>();
                return Ok(CreateSuccess::NewBuffer(stamp(frame, pts, grid, unix)));
            }
        }
    }
}

/// The buffer with everything that it carries.
fn stamp(frame: PlacedFrame, pts: gst::ClockTime, grid: FrameGrid, unix: bool) -> gst::Buffer {
    let PlacedFrame { mut buffer, info, lost, restarted, .. } = frame;
    let period = grid.period();
    let writable = buffer.make_mut();
    writable.set_pts(pts);
    writable.set_duration(gst::ClockTime::from_nseconds(period.as_nanos().unsigned_abs()));
    writable.set_offset(info.number);
    writable.set_offset_end(info.number + 1);
    if lost > 0 || restarted {
        writable.set_flags(gst::BufferFlags::DISCONT);
    }
    meta::attach(writable, &info, period, unix);
    buffer
}

/// A camera's error as GStreamer reports it.
fn error_message(error: &CameraError) -> gst::ErrorMessage {
    match error {
        CameraError::NotFound { .. } => gst::error_msg!(gst::ResourceError::NotFound, ("{error}")),
        CameraError::Busy(_) => gst::error_msg!(gst::ResourceError::Busy, ("{error}")),
        CameraError::Profile(_) => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
        CameraError::Format { .. } => gst::error_msg!(gst::StreamError::Format, ("{error}")),
        CameraError::Failed { .. }
        | CameraError::Stalled { .. }
        | CameraError::Gone { .. }
        | CameraError::Flushing => {
            gst::error_msg!(gst::ResourceError::Read, ("{error}"))
        }
    }
}

impl SwsyncSrc {
    /// Where controls are set.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    fn set_flushing(&self, flushing: bool) {
        self.sleeper.set_flushing(flushing);
        if let Some(wakeup) = &*lock(&self.wakeup) {
            wakeup.set_flushing(flushing);
        }
    }

    fn note_pause(&self, paused: bool) {
        let mut pauses = lock(&self.pauses);
        *pauses = Pauses { paused, changes: pauses.changes.wrapping_add(1) };
    }

    /// After a wait was interrupted: if that was for a pause, waits until the pipeline plays again.
    ///
    /// GstBaseSrc must not hear of it: it would wait for PLAYING itself, then stop its task for the
    /// interruption, after PLAYING had started the task again, and no frame would ever come.
    fn wait_out_pause(&self, before: Pauses) -> Result<(), gst::FlowError> {
        let now = *lock(&self.pauses);
        if !now.paused && now == before {
            return Err(gst::FlowError::Flushing);
        }
        // The interruption comes just before the base class knows of the pause.
        std::thread::yield_now();
        self.obj().wait_playing().map(|_| ())
    }

    /// Keeps what the properties show, and says on the bus what is new. Whether the frame is one that is to be
    /// held back, as far as its lock goes.
    fn observe(&self, frame: &PlacedFrame, progress: &Progress) -> bool {
        let info = &frame.info;
        let (lock_count, held_back) = lock(&self.observed).take_in(frame, progress);
        if let Some(cause) = frame.news {
            let (state, cause_name) = (info.lock.as_str(), cause.as_str());
            gst::info!(CAT, imp = self, "{state} ({cause_name}), phase error {:?}", info.phase_error_ns);
            self.post_element_message(report::phase_message(info, progress, cause, lock_count));
        }
        if let Some(change) = &frame.trouble {
            match change {
                Change::Began(issue) => gst::warning!(CAT, imp = self, "{}: {}", issue.kind(), issue.text()),
                Change::Ended(issue) => gst::info!(CAT, imp = self, "no more {}", issue.kind()),
            }
            self.post_element_message(report::trouble_message(change, info));
        }
        held_back
    }

    fn post_element_message(&self, structure: gst::Structure) {
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(message);
    }
}
