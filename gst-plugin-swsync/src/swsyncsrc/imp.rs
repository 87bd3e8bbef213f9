use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use swsync_core::frame::LockState;
use swsync_core::time::{Rig, Timestamp};
use swsync_rig::clock::{DeviceClock, SIMULATED_CLOCK};

use super::controls::{self, Desk};
use super::delivery::Next;
use super::framer::Framer;
use super::held_up::Watch;
use super::layout::Layout;
use super::pads::SwsyncSrcPad;
use super::settings::{self, Settings};
use super::stats::Observed;
use super::streams::Streams;
use crate::camera::controls::by_property;
use crate::camera::faults::Faults;
use crate::camera::mailbox::Mailbox;
use crate::camera::mode::LeftToReaders;
use crate::camera::{Camera, CameraError, StreamRole, Wakeup};
use crate::caps::template_caps;
use crate::clock::{SwsyncClock, clock_time, others};
use crate::lock::lock;
use crate::swsyncclock::SwsyncClockElement;

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncsrc", gst::DebugColorFlags::empty(), Some("swsync camera source"))
});

#[derive(Default)]
pub(super) enum State {
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
        streams: Streams,
        device: Arc<DeviceClock>,
        settings: Settings,
    },
    /// The camera stood still or is gone: it is opened again until it streams.
    Lost {
        streams: Streams,
        device: Arc<DeviceClock>,
        settings: Settings,
    },
}

/// What queries are answered from: they must not wait for a frame, as whoever wants `state` does.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// What the camera can deliver in each of [`StreamRole::ALL`], as far as anyone has asked, while it is open.
    pub(super) caps: [Option<gst::Caps>; StreamRole::ALL.len()],
    /// From a frame's start to its delivery, while it streams: where it is taken at once, and where it can still be had.
    pub(super) latency: Option<(gst::ClockTime, gst::ClockTime)>,
    /// The camera's model, once it has streamed.
    pub(super) model: Option<String>,
    /// What readers have to do to its pictures, once it has streamed: see [`crate::camera::mode::Orientation::left_to_readers`].
    pub(super) left_to_readers: Option<LeftToReaders>,
    /// The base class is about to name its stream.
    pub(super) naming: bool,
}

/// Who is to be interrupted.
#[derive(Default)]
pub(super) struct Interrupted {
    camera: Option<Arc<dyn Wakeup>>,
    flushing: bool,
}

impl Interrupted {
    /// Another camera: it hears of a flush that goes on.
    pub(super) fn adopt(&mut self, camera: Arc<dyn Wakeup>) {
        camera.set_flushing(self.flushing);
        self.camera = Some(camera);
    }
}

/// Whether the pipeline plays; tells an interruption by a pause from one by a flush or EOS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Pauses {
    paused: bool,
    changes: u32,
    /// The pipeline's clock when it began to play.
    since: Option<gst::ClockTime>,
}

// Lock order: `state`, which is held while waiting for a frame, before any other. The others are leaves.
#[derive(Default)]
pub struct SwsyncSrc {
    pub(super) settings: Mutex<Settings>,
    pub(super) state: Mutex<State>,
    pub(super) known: Mutex<Known>,
    pub(super) wakeup: Mutex<Interrupted>,
    pub(super) faults: Mutex<Option<Arc<Faults>>>,
    pub(super) sleeper: Mailbox<()>,
    pub(super) observed: Mutex<Observed>,
    pub(super) layout: Mutex<Layout>,
    /// Follows what passes the first pad, once there are others.
    pub(super) followed: OnceLock<()>,
    pauses: Mutex<Pauses>,
    /// While the element is started.
    pub(super) watch: Mutex<Option<Watch>>,
    desk: Arc<Desk>,
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncSrc {
    const NAME: &'static str = "GstSwsyncSrc";
    type Type = super::SwsyncSrc;
    type ParentType = gst_base::BaseSrc;
    type Interfaces = (gst::ChildProxy,);
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
                    .blurb("Frames and their fates since the element was started, and what is known of alignment")
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
            "locked" => observed.newest.is_some_and(|info| info.lock == Some(LockState::Locked)).to_value(),
            "lock-count" => observed.lock_count.to_value(),
            "stats" => observed.stats().to_value(),
            name => match by_property(name) {
                Some(control) => controls::property(&self.desk, control),
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
            let caps = template_caps();
            let template = |name, presence| {
                let pad = SwsyncSrcPad::static_type();
                gst::PadTemplate::with_gtype(name, gst::PadDirection::Src, presence, &caps, pad)
                    .expect("a template of constants")
            };
            vec![template("src", gst::PadPresence::Always), template("src_%u", gst::PadPresence::Request)]
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
                self.check_pipelines_clock();
            }
            _ => {}
        }
        self.parent_change_state(transition)
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        self.add_further_pad(template, name)
    }

    fn release_pad(&self, pad: &gst::Pad) {
        self.remove_further_pad(pad);
    }
}

impl ChildProxyImpl for SwsyncSrc {
    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        let pads = self.obj().src_pads();
        pads.get(usize::try_from(index).ok()?).map(|pad| pad.clone().upcast())
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        self.obj().static_pad(name).map(Cast::upcast)
    }

    fn children_count(&self) -> u32 {
        u32::try_from(self.obj().src_pads().len()).unwrap_or(u32::MAX)
    }
}

impl BaseSrcImpl for SwsyncSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let device = DeviceClock::of_this_process()
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("{SIMULATED_CLOCK}: {error}")))?;
        *lock(&self.faults) = settings.faults()?.map(Arc::new);
        *lock(&self.observed) = Observed::default();
        let watch = Watch::start().map_err(|error| {
            gst::error_msg!(gst::ResourceError::Failed, ("no thread to watch time in: {error}"))
        })?;
        *lock(&self.watch) = Some(watch);
        let camera = self.open_camera(&settings, &device)?;
        *lock(&self.state) = State::Opened { camera, device, settings };
        self.set_naming(true);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = std::mem::take(&mut *lock(&self.state));
        if let State::Streaming { framer, .. } = state {
            framer.stop();
        }
        self.set_naming(false);
        lock(&self.watch).take();
        *lock(&self.known) = Known::default();
        lock(&self.wakeup).camera = None;
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let caps = self.known_caps(self.main_role());
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    fn fixate(&self, caps: gst::Caps) -> gst::Caps {
        let (role, caps) = (self.main_role(), self.at_rates_of_further(caps));
        let caps = match &mut *lock(&self.state) {
            State::Opened { camera, .. } => camera.fixate(role, caps),
            State::Streaming { framer, .. } => framer.camera().fixate(role, caps),
            State::Stopped | State::Lost { .. } => caps,
        };
        self.parent_fixate(caps)
    }

    fn negotiate(&self) -> Result<(), gst::LoggableError> {
        self.set_naming(false);
        self.parent_negotiate()?;
        self.update_further()
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        self.stream(caps)
    }

    fn decide_allocation(&self, query: &mut gst::query::Allocation) -> Result<(), gst::LoggableError> {
        // Frames are in the camera's own buffers: of what downstream answers, only the layout matters.
        let (caps, _) = query.get_owned();
        *lock(&self.layout) = caps.map(|caps| Layout::new(&caps, Some(query))).unwrap_or_default();
        // The base class would use what is left, and fail where a pool cannot be activated as it is.
        (0..query.allocation_pools().count()).for_each(|_| query.remove_nth_allocation_pool(0));
        (0..query.allocation_params().count()).for_each(|_| query.remove_nth_allocation_param(0));
        Ok(())
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => self.answer_latency(latency),
            // As GstPushSrc has it; GstBaseSrc would open the camera to find out.
            gst::QueryViewMut::Scheduling(scheduling) => {
                scheduling.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
                scheduling.add_scheduling_modes([gst::PadMode::Push]);
                true
            }
            _ => BaseSrcImplExt::parent_query(self, query),
        }
    }

    fn event(&self, event: &gst::Event) -> bool {
        controls::handle_event(&self.desk, &self.obj(), event) || self.parent_event(event)
    }

    fn create(
        &self,
        _offset: u64,
        _buffer: Option<&mut gst::BufferRef>,
        _length: u32,
    ) -> Result<CreateSuccess, gst::FlowError> {
        let element = self.obj();
        self.watch(Watch::note_asked);
        loop {
            let before = *lock(&self.pauses);
            let (Some(clock), Some(_)) = (element.clock(), element.base_time()) else {
                gst::element_imp_error!(self, gst::CoreError::Clock, ("The pipeline has no clock"));
                return Err(gst::FlowError::Error);
            };
            match self.next_frame(&clock) {
                Ok(Next::Frame(frame, delivery)) => {
                    if let Some(buffer) = self.deliver(frame, &delivery, &clock)? {
                        self.watch(Watch::note_left);
                        return Ok(CreateSuccess::NewBuffer(buffer));
                    }
                }
                Ok(Next::Nothing) => {}
                Ok(Next::NoFormat) => return Err(gst::FlowError::NotNegotiated),
                Err(CameraError::Flushing) => self.wait_out_pause(before)?,
                Err(error) => self.handle_fault(&error)?,
            }
        }
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

/// A camera's error as GStreamer reports it.
pub(super) fn error_message(error: &CameraError) -> gst::ErrorMessage {
    match error {
        CameraError::NotFound { .. } => gst::error_msg!(gst::ResourceError::NotFound, ("{error}")),
        CameraError::Busy { .. } | CameraError::Occupied => {
            gst::error_msg!(gst::ResourceError::Busy, ("{error}"))
        }
        CameraError::Profile(_) | CameraError::Mode { .. } => {
            gst::error_msg!(gst::LibraryError::Settings, ("{error}"))
        }
        CameraError::Format { .. } => gst::error_msg!(gst::StreamError::Format, ("{error}")),
        CameraError::Failed { .. }
        | CameraError::Stalled { .. }
        | CameraError::Gone { .. }
        | CameraError::Stamps { .. }
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

    /// The same, to keep.
    pub(super) fn desk_of_framer(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// What the camera can deliver in a stream of `role`: as long as it is not known, anything.
    pub(super) fn known_caps(&self, role: StreamRole) -> gst::Caps {
        let known = lock(&self.known);
        let of_role = StreamRole::ALL.iter().zip(&known.caps).find(|(of, _)| **of == role);
        let known = of_role.and_then(|(_, caps)| caps.clone());
        known.unwrap_or_else(|| self.obj().src_pad().pad_template_caps())
    }

    /// Whether the latency is known.
    pub(super) fn answer_latency(&self, latency: &mut gst::query::Latency) -> bool {
        let known = lock(&self.known).latency;
        if let Some((least, most)) = known {
            latency.set(true, least, most);
        }
        known.is_some()
    }

    /// Keeps what a stream of `role` can be.
    pub(super) fn note_caps(&self, role: StreamRole, caps: &gst::Caps) {
        let mut known = lock(&self.known);
        for (of, known) in StreamRole::ALL.iter().zip(&mut known.caps) {
            if *of == role {
                *known = Some(caps.clone());
            }
        }
    }

    fn set_flushing(&self, flushing: bool) {
        self.sleeper.set_flushing(flushing);
        let camera = {
            let mut interrupted = lock(&self.wakeup);
            interrupted.flushing = flushing;
            interrupted.camera.clone()
        };
        if let Some(camera) = camera {
            camera.set_flushing(flushing);
        }
    }

    fn watch(&self, note: impl FnOnce(&Watch)) {
        lock(&self.watch).as_ref().inspect(|watch| note(watch));
    }

    fn note_pause(&self, paused: bool) {
        self.watch(|watch| watch.note_pause(paused));
        let since = self.obj().clock().filter(|_| !paused).map(|clock| clock.time());
        let mut pauses = lock(&self.pauses);
        *pauses = Pauses { paused, changes: pauses.changes.wrapping_add(1), since };
    }

    /// Warns where the pipeline has a `swsyncclock`, and plays on another clock. Without one, any clock is what is wanted.
    fn check_pipelines_clock(&self) {
        let (element, chosen) = (self.obj().clone().upcast::<gst::Element>(), self.obj().clock());
        let all = others::all_around(&element);
        let rig_clocks: Vec<_> = all.iter().filter(|other| other.is::<SwsyncClockElement>()).collect();
        let Some(rig_clock) = rig_clocks.first() else { return };
        if chosen.as_ref().is_some_and(|chosen| chosen.is::<SwsyncClock>()) {
            return;
        }
        let (text, remedy) = others::warning(&element, chosen.as_ref(), rig_clock);
        gst::element_imp_warning!(self, gst::CoreError::Clock, ("{text}"), ["{remedy}"]);
    }

    /// The running time of a frame that was taken at `time`; `None` where the pipeline did not play then.
    ///
    /// After a pause the base time is another one. What was exposed before that has no running time by it: it would
    /// go back, by as much as the pause was long.
    pub(super) fn running_time(&self, time: Timestamp<Rig>) -> Option<gst::ClockTime> {
        let time = clock_time(time);
        // Under the lock, as the base time is set before the pipeline's start is noted.
        let pauses = lock(&self.pauses);
        if pauses.paused || pauses.since.is_some_and(|since| time < since) {
            return None;
        }
        time.checked_sub(self.obj().base_time()?)
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

    pub(super) fn post_element_message(&self, structure: gst::Structure) {
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(message);
    }
}
