//! Negotiates streams with downstream, and configures and starts the camera for them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst::subclass::prelude::*;
use swsync_core::time::Span;

use super::aligned_camera::{AlignedCamera, StartError};
use super::category::CAT;
use super::controls;
use super::imp::SwsyncSrc;
use super::pads::{PadFormat, SwsyncSrcPad};
use super::state::{PadStream, State, Streams};
use crate::camera::controls::Refusal;
use crate::camera::{Camera, CameraError, StreamSetup};
use crate::caps::grid_of;
use crate::clock::SensorTimeBridge;

fn clock_span(span: Span) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(span.as_nanos().unsigned_abs())
}

/// A camera that streams, with refused controls; or the camera and why it does not stream.
type Begun = Result<(Box<AlignedCamera>, Vec<Refusal>), (Box<dyn Camera>, StartError)>;

impl SwsyncSrc {
    /// The linked pads, `src` first; only `src` if none is linked. They may not be active yet.
    fn wanted_pads(&self) -> Vec<SwsyncSrcPad> {
        let pads = self.all_pads();
        let linked: Vec<_> = pads.iter().filter(|pad| pad.is_linked()).cloned().collect();
        if linked.is_empty() { pads.into_iter().take(1).collect() } else { linked }
    }

    /// All pads, `src` first.
    pub(super) fn all_pads(&self) -> Vec<SwsyncSrcPad> {
        let further = self.obj().src_pads().into_iter().filter_map(|pad| pad.downcast::<SwsyncSrcPad>().ok());
        let further = further.filter(|pad| *pad != self.src);
        std::iter::once(self.src.clone()).chain(further).collect()
    }

    /// Negotiates if the pads or downstream have changed since the last time, and restarts the camera if other streams are wanted.
    ///
    /// # Errors
    /// Why there is no stream. To be posted without the lock on `state`, which handlers of the message may need.
    pub(super) fn negotiate(&self) -> Result<(), gst::ErrorMessage> {
        if !self.reconfigure.load(Ordering::Acquire) {
            return Ok(());
        }
        self.negotiating.store(true, Ordering::Release);
        let negotiated = self.negotiate_anew();
        self.negotiating.store(false, Ordering::Release);
        negotiated
    }

    /// Whether downstream is being asked what it takes, or will be before the next frame. That it refuses a frame until then is no error.
    pub(super) fn is_negotiating(&self) -> bool {
        self.reconfigure.load(Ordering::Acquire) || self.negotiating.load(Ordering::Acquire)
    }

    /// What [`negotiate`](Self::negotiate) does if something has changed.
    fn negotiate_anew(&self) -> Result<(), gst::ErrorMessage> {
        let mut state = self.state.lock();
        if matches!(*state, State::Lost { .. }) {
            // Not before the camera is back.
            return Ok(());
        }
        self.reconfigure.store(false, Ordering::Release);
        let streams = match &mut *state {
            State::Opened { camera, .. } => self.plan_twice(&mut **camera)?,
            State::Streaming { camera, streams, .. } => {
                let planned = self.plan_twice(camera.camera())?;
                if planned == *streams {
                    return Ok(());
                }
                planned
            }
            State::Stopped | State::Lost { .. } => return Ok(()),
        };
        let (camera, device, settings) = match std::mem::take(&mut *state) {
            State::Streaming { camera, device, settings, .. } => {
                self.stats.lock().reconfigured = true;
                (camera.stop(), device, settings)
            }
            State::Opened { camera, device, settings } => (camera, device, settings),
            State::Stopped | State::Lost { .. } => unreachable!("returned above"),
        };
        match self.begin(camera, &streams) {
            Ok((camera, refusals)) => {
                let bridge = SensorTimeBridge::new(device.clone());
                let pads = streams.pads.clone();
                *state = State::Streaming { camera, bridge, streams, device, settings };
                drop(state);
                controls::refuse_all(&self.obj(), &refusals);
                self.announce(&pads);
                Ok(())
            }
            Err((camera, error)) => {
                *state = State::Opened { camera, device, settings };
                Err(match &error {
                    StartError::Camera(error) => error_message(error),
                    StartError::Align(error) => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
                })
            }
        }
    }

    /// Sends the formats of new streams downstream, and has the pipeline ask for the latency.
    fn announce(&self, pads: &[PadStream]) {
        self.warn_of_orientation();
        let (group, tags) = (*self.group.lock(), self.camera_tags());
        for PadStream { pad, setup } in pads {
            pad.set_format(PadFormat { group, caps: setup.caps.clone(), tags: tags.clone() });
        }
        let latency = gst::message::Latency::builder().src(&*self.obj()).build();
        // It fails without a bus, and then nobody listens.
        let _ = self.obj().post_message(latency);
    }

    /// The streams that downstream wants. It is asked once more if its answer does not fit the camera: that of a capsfilter whose
    /// caps are set while it answers is EMPTY.
    fn plan_twice(&self, camera: &mut dyn Camera) -> Result<Streams, gst::ErrorMessage> {
        self.plan(camera).or_else(|_| self.plan(camera))
    }

    /// The streams that downstream wants. All have the frame rate of the first.
    ///
    /// # Errors
    /// The pad that wants a format that the camera does not have.
    fn plan(&self, camera: &mut dyn Camera) -> Result<Streams, gst::ErrorMessage> {
        let pads = self.wanted_pads();
        let mut rate = None;
        let mut planned = Vec::<PadStream>::new();
        for (index, pad) in pads.iter().enumerate() {
            let role = pad.role();
            let mut offered = camera.caps(role);
            self.note_caps(role, &offered);
            if let Some(rate) = rate {
                offered.make_mut().iter_mut().for_each(|structure| structure.set("framerate", rate));
            }
            let wanted = pad.peer_query_caps(Some(&offered));
            let mut both = wanted.intersect_with_mode(&offered, gst::CapsIntersectMode::First);
            if both.is_empty() {
                let name = pad.name();
                return Err(gst::error_msg!(
                    gst::CoreError::Negotiation,
                    ("Pad {name}: the camera has no stream that downstream takes"),
                    ["not-negotiated: a {role:?} stream could be {offered}; downstream takes {wanted}"]
                ));
            }
            if pad.is_direct() {
                both = at_rates_of(&pads[index + 1..], both);
            }
            let mut caps = camera.fixate(role, both);
            caps.fixate();
            let structure = caps.structure(0);
            rate = rate.or_else(|| structure?.get::<gst::Fraction>("framerate").ok());
            planned.push(PadStream { pad: pad.clone(), setup: StreamSetup { role, caps } });
        }
        let caps = planned.first().map_or_else(gst::Caps::new_empty, |stream| stream.setup.caps.clone());
        let grid = grid_of(&caps)
            .map_err(|reason| gst::error_msg!(gst::StreamError::Format, ("{caps}: {reason}")))?;
        Ok(Streams { grid, pads: planned.into() })
    }

    /// Configures and starts `camera`. Refused controls are to be reported without the lock on `state`.
    pub(super) fn begin(&self, mut camera: Box<dyn Camera>, streams: &Streams) -> Begun {
        let alignment = self.settings.lock().align.alignment();
        let setups: Vec<_> = streams.pads.iter().map(|stream| stream.setup.clone()).collect();
        let capabilities = match camera.configure(&setups) {
            Ok(capabilities) => capabilities,
            Err(error) => return Err((camera, error.into())),
        };
        let refusals = self.controls.begin(&mut *camera, &capabilities, streams.grid);
        let controls = self.controls.clone();
        // The standard library's only random numbers. They are good enough for waits between restarts.
        let seed = RandomState::new().build_hasher().finish();
        let camera = AlignedCamera::start(camera, capabilities, streams.grid, &alignment, controls, seed)?;
        gst::info!(CAT, imp = self, "streaming from {}", camera.capabilities().model);
        let (can, period) = (camera.capabilities(), camera.grid().period());
        let least = can.latency + period;
        let most = least + period * i64::from(can.backlog);
        let wanted = self.settings.lock().orientation;
        self.stats.lock().mode = Some(can.mode);
        let mut known = self.known.lock();
        known.latency = Some((clock_span(least), clock_span(most)));
        known.model = Some(camera.capabilities().model.clone());
        known.remaining_transform = can.mode.orientation.remaining_transform(wanted);
        drop(known);
        Ok((Box::new(camera), refusals))
    }

    /// Warns if the camera cannot deliver the orientation that was asked for.
    fn warn_of_orientation(&self) {
        let wanted = self.settings.lock().orientation.nick();
        let Some(left) = self.known.lock().remaining_transform else { return };
        let left = left.tag();
        let got = self
            .stats
            .lock()
            .mode
            .map_or_else(|| "others".to_owned(), |mode| mode.orientation.nick().to_owned());
        gst::element_imp_warning!(
            self,
            gst::StreamError::Format,
            ("The camera cannot deliver pictures as orientation={wanted}: they are {got}"),
            [
                "The tag image-orientation={left} tells whoever shows or stores them. `videoflip video-direction=auto` turns them \
                 at once, orientation={got} asks for what the camera does"
            ]
        );
    }

    /// Tags with the camera's model, and what is left to do to its pictures.
    fn camera_tags(&self) -> gst::TagList {
        let mut tags = gst::TagList::new();
        let known = self.known.lock();
        if let Some(model) = &known.model {
            tags.make_mut().add::<gst::tags::DeviceModel>(&model.as_str(), gst::TagMergeMode::Replace);
        }
        if let Some(left) = known.remaining_transform {
            tags.make_mut().add::<gst::tags::ImageOrientation>(&left.tag(), gst::TagMergeMode::Replace);
        }
        tags
    }
}

/// The subset of `caps` at frame rates that the peers of `others` also take, if there is any: all streams have the same rate.
fn at_rates_of(others: &[SwsyncSrcPad], caps: gst::Caps) -> gst::Caps {
    others.iter().fold(caps, |caps, pad| {
        let mut taken = gst::Caps::new_empty();
        for wanted in pad.peer_query_caps(None).iter() {
            for structure in caps.iter() {
                let mut of_rate = gst::Caps::builder(structure.name().as_str()).any_features();
                if let Ok(rate) = wanted.value("framerate") {
                    of_rate = of_rate.field("framerate", rate.to_owned());
                }
                taken.merge(of_rate.build());
            }
        }
        let both = caps.intersect_with_mode(&taken, gst::CapsIntersectMode::First);
        if both.is_empty() { caps } else { both }
    })
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

#[cfg(all(test, feature = "simulation"))]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use gst::prelude::*;
    use gst::subclass::prelude::*;

    #[test]
    fn no_error_is_posted_under_a_lock() {
        gst::init().unwrap();
        crate::plugin_register_static().unwrap();
        let camera = "swsyncsrc name=s backend=simulated";
        for wrong in [
            format!("{camera} ! fakesink s.src_0 ! video/x-raw,format=RGB ! fakesink"),
            format!("{camera} profile=/no/such/profile ! fakesink"),
            format!("{camera} align-method=inject simulated-control=none ! fakesink"),
        ] {
            let pipeline = gst::parse::launch(&wrong).unwrap().downcast::<gst::Pipeline>().unwrap();
            let source = pipeline.by_name("s").unwrap().downcast::<super::super::SwsyncSrc>().unwrap();
            let (tx, errors) = mpsc::channel();
            let heard = source.downgrade();
            pipeline.bus().unwrap().set_sync_handler(move |_, message| {
                if let (gst::MessageView::Error(_), Some(source)) = (message.view(), heard.upgrade())
                    && message.src() == Some(source.upcast_ref())
                {
                    let _ = tx.send(source.imp().state.try_lock().is_some()); // the test is over
                }
                gst::BusSyncReply::Pass
            });
            let _ = pipeline.set_state(gst::State::Playing); // it fails, or will
            let free = errors.recv_timeout(Duration::from_secs(30)).expect("an error in time");
            pipeline.set_state(gst::State::Null).unwrap();
            assert!(free, "{wrong}");
        }
    }
}
