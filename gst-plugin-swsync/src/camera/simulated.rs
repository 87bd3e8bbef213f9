//! A simulated camera: `swsync-sim`'s rolling-shutter sensor in real time, looking at the LED panel.
//!
//! Its model name says that it is simulated. Only `backend=simulated` selects it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use gst::glib;
use swsync_core::align::exposure_response::ExposureResponse;
use swsync_core::frame::FrameDetails;
use swsync_core::profile::CameraProfile;
use swsync_core::stamps::{StampIdentifier, StampedBy};
use swsync_core::time::Host;
use swsync_core::time::{Boottime, Skew, Span, Timestamp};
use swsync_sim::scene::{I420Mut, PlaneMut, Scene, View};
use swsync_sim::sensor::{
    self, LongExposure, Phone, PhoneFrame, PhoneModel, Sensor, SensorFrame, SensorModel,
};
use swsync_time::{DeviceClock, host_now};

use self::settings::{Gains, SimulatedControls};
use super::controls::{Ranges, Setting};
use super::mailbox::Mailbox;
use super::mode::{Mode, Orientation};
use super::{
    Camera, CameraError, Capabilities, Controls, ExposureControl, Frame, FrameDurationControl, Pacing,
    Readout, Shutter, StampedAt, StreamRole, StreamSetup, TimingError, Wakeup,
};

mod settings;

/// Frames that nobody has taken for so long are dropped, as a camera without free buffers drops them: libcamera's pipelines
/// have four. The aligner also assumes that controls go out soon after the frame that they answer.
const MAX_BACKLOG: Span = Span::from_millis(130);

/// What filtered stamps of a simulated sensor may be off, beside the filter's own error: their jitter has a mean.
const STAMP_ERROR: Span = Span::from_micros(5);
/// From the start of a simulated phone to its first frame (the paper, sec. V.A: 600 to 800 ms).
const PHONE_START_UP: Span = Span::from_millis(700);
/// The phone's longest exposure.
const PHONE_LONGEST: Span = Span::from_millis(200);

/// What can be set of a simulated camera while it streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncSimulatedControl")]
pub enum SimulatedControl {
    /// The length of single frames, and exposures that fit into them, as with a Raspberry Pi's camera.
    #[default]
    #[enum_value(
        name = "Frame durations: of each frame, as a Raspberry Pi's camera",
        nick = "frame-duration"
    )]
    FrameDuration,
    /// Exposures only; a long one makes its frame longer.
    #[enum_value(name = "Exposure: a long one makes its frame longer", nick = "exposure")]
    Exposure,
    /// Nothing.
    #[enum_value(name = "None: it runs as it runs", nick = "none")]
    None,
}

/// Which clock a simulated camera's driver stamps frames by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncSimulatedStamps")]
pub enum SimulatedStamps {
    /// As libcamera documents it.
    #[default]
    #[enum_value(name = "Boottime: as libcamera documents it", nick = "boottime")]
    Boottime,
    /// As V4L2 drivers do.
    #[enum_value(name = "Monotonic: as V4L2 drivers do", nick = "monotonic")]
    Monotonic,
    /// As uvcvideo can be told to. Such stamps cannot be used.
    #[enum_value(name = "Realtime: of no use, as such a driver's", nick = "realtime")]
    Realtime,
}

/// Parameters of a simulated camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// The sensor.
    pub model: SensorModel,
    /// Long exposures shift its stream as the paper (sec. V.B) measured on phones. Frame durations cannot be set. The rows
    /// are those of `model`.
    pub phone: bool,
    /// Its profile, if a file was given.
    pub profile: Option<CameraProfile>,
    /// What can be set.
    pub control: SimulatedControl,
    /// Seed of everything random about it.
    pub seed: u64,
    /// Rate of its crystal relative to true time.
    pub skew: Skew,
    /// Which of the rig's views it has of the scene.
    pub view: u32,
    /// Exposure at the start.
    pub exposure: Span,
    /// Which clock frames are stamped by.
    pub stamps: SimulatedStamps,
    /// Light on the scene. `None`: pictures do not get brighter with longer exposures, so that the panel can be read in all.
    pub light: Option<f32>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct SimulatedCamera {
    simulation: Simulation,
    device: Arc<DeviceClock>,
    sleeper: Arc<Mailbox<()>>,
    configured: Option<Configured>,
    running: Option<Running>,
    /// How often it was started: each start has another seed.
    starts: u64,
    staged: Vec<Setting>,
    gains: Gains,
    stamps: StampIdentifier,
    orientation: Orientation,
}

#[derive(Debug)]
enum Running {
    Sensor(Box<Sensor>),
    Phone(Box<RunningPhone>),
}

/// A phone's camera, and the sensor that it has.
#[derive(Debug)]
struct RunningPhone {
    phone: Phone,
    model: SensorModel,
    exposure: Span,
    frame_duration: Span,
    last_delivery: Timestamp<Host>,
}

#[derive(Debug)]
struct Configured {
    streams: Vec<Stream>,
    frame_duration: Span,
    model: SensorModel,
}

#[derive(Debug)]
struct Stream {
    info: gst_video::VideoInfo,
    scene: Scene,
}

impl SimulatedCamera {
    /// A camera on the device with the clocks `device`.
    #[must_use]
    pub fn new(simulation: Simulation, device: Arc<DeviceClock>) -> Self {
        Self {
            simulation,
            device,
            sleeper: Arc::default(),
            configured: None,
            running: None,
            starts: 0,
            staged: Vec::new(),
            gains: Gains::default(),
            stamps: StampIdentifier::default(),
            orientation: Orientation::default(),
        }
    }

    fn id(&self) -> String {
        let Simulation { model, phone, .. } = &self.simulation;
        format!("simulated {}", if *phone { "phone" } else { model.name })
    }

    fn format_error(&self, caps: &gst::Caps, reason: impl Display) -> CameraError {
        CameraError::refused(&self.id(), caps, reason)
    }

    fn failed(&self, doing: &'static str, reason: impl Display) -> CameraError {
        CameraError::failed(&self.id(), doing, reason)
    }

    fn info_of(&self, caps: &gst::Caps) -> Result<gst_video::VideoInfo, CameraError> {
        let info = gst_video::VideoInfo::from_caps(caps).map_err(|e| self.format_error(caps, e))?;
        if info.format() != gst_video::VideoFormat::I420 {
            return Err(self.format_error(caps, "it renders I420 only"));
        }
        Ok(info)
    }

    fn stream(&self, caps: &gst::Caps) -> Result<Stream, CameraError> {
        let info = self.info_of(caps)?;
        let scene = Scene::new(info.width(), info.height(), View::new(self.simulation.view))
            .map_err(|e| self.format_error(caps, e))?;
        Ok(Stream { info, scene })
    }

    fn frame_limits(&self) -> (Span, Span) {
        let model = &self.simulation.model;
        let lines = |lines: u32| Span::from_nanos_f64(f64::from(lines) * model.line_time_ns);
        (lines(model.min_frame_length), lines(model.max_frame_length))
    }

    /// The sensor for frames of `frame_duration`. If frame durations cannot be set, its frames have that length exactly,
    /// and only the crystals differ.
    fn model_for(&self, frame_duration: Span) -> SensorModel {
        let model = self.simulation.model.clone();
        match self.simulation.control {
            _ if self.simulation.phone => model.at_exactly(frame_duration),
            SimulatedControl::FrameDuration => model,
            SimulatedControl::Exposure => {
                let long_exposure = LongExposure::ExtendFrame;
                SensorModel { long_exposure, ..model.at_exactly(frame_duration) }
            }
            SimulatedControl::None => model.at_exactly(frame_duration),
        }
    }

    /// The range of the exposure of single frames.
    fn exposure_control(&self, model: &SensorModel) -> Option<ExposureControl> {
        let lines = |lines: u32| Span::from_nanos_f64(f64::from(lines) * model.line_time_ns);
        let longest = match model.long_exposure {
            LongExposure::Cut => model.frame_length,
            LongExposure::ExtendFrame => model.max_frame_length,
        };
        let max = if self.simulation.phone {
            PHONE_LONGEST
        } else {
            lines(longest.saturating_sub(model.exposure_margin))
        };
        let can = self.simulation.control != SimulatedControl::None;
        can.then_some(ExposureControl { min: lines(model.min_exposure), max })
    }

    fn response_at(&self, period: Span) -> Option<ExposureResponse> {
        let profile = self.simulation.profile.as_ref()?;
        profile.response_at(period).map(|measured| measured.response)
    }

    /// The next frame that has not been dropped.
    fn next_sensor_frame(&mut self) -> Result<SensorFrame, CameraError> {
        let Some(running) = &mut self.running else {
            return Err(self.failed("waiting for a frame", "it is not started"));
        };
        let oldest = host_now() - MAX_BACKLOG;
        Ok(std::iter::repeat_with(|| running.next_frame())
            .find(|frame| frame.delivered_at >= oldest)
            .expect("the iterator has no end"))
    }

    /// The boot time of the frame's stamp, found out as for any driver's; `None` if it cannot be.
    fn sensor_time(
        &mut self,
        frame: &SensorFrame,
    ) -> Result<Option<(Timestamp<Boottime>, StampedBy)>, CameraError> {
        let (arrival, age) = (self.device.arrival(), host_now() - frame.timestamp);
        let stamp = match self.simulation.stamps {
            SimulatedStamps::Boottime => self.device.boottime_at(frame.timestamp).as_nanos(),
            SimulatedStamps::Monotonic => self.device.local_at(frame.timestamp).as_nanos(),
            SimulatedStamps::Realtime => (self.device.wall_now() - age).as_nanos(),
        };
        let period = self.configured.as_ref().map_or(Span::ZERO, |configured| configured.frame_duration);
        match self.stamps.handle(stamp, arrival, period) {
            Ok(stamped) => Ok(Some(stamped)),
            Err(misfit) if misfit.is_lasting() => Err(CameraError::Stamps { camera: self.id(), misfit }),
            Err(_) => Ok(None),
        }
    }

    /// The pictures of `frame` in all streams.
    fn render(&self, frame: &SensorFrame) -> Result<Vec<gst::Buffer>, CameraError> {
        let Some(Configured { streams, .. }) = &self.configured else {
            return Err(self.failed("rendering a frame", "it has no format yet"));
        };
        streams.iter().map(|stream| self.render_stream(stream, frame)).collect()
    }

    fn render_stream(&self, stream: &Stream, frame: &SensorFrame) -> Result<gst::Buffer, CameraError> {
        let failed = |reason: &dyn ToString| self.failed("rendering a frame", reason.to_string());
        let Stream { info, scene } = stream;
        let mut buffer = gst::Buffer::with_size(info.size()).map_err(|e| failed(&e))?;
        let writable = buffer.get_mut().expect("a new buffer has one owner");
        let mut picture =
            gst_video::VideoFrameRef::from_buffer_ref_writable(writable, info).map_err(|e| failed(&e))?;
        let strides = [0, 1, 2].map(|plane| info.stride()[plane].unsigned_abs() as usize);
        let [y, u, v, _] = picture.planes_data_mut();
        let plane = |data, index: usize| PlaneMut { data, stride: strides[index] };
        let planes = I420Mut { y: plane(y, 0), u: plane(u, 1), v: plane(v, 2) };
        let (columns, rows) = self.orientation.flips();
        let mut shutter = frame.shutter(info.height());
        if rows {
            // It reads the last row first.
            shutter = shutter.from_below(info.height());
        }
        scene.render(&shutter, planes).map_err(|e| failed(&e))?;
        let [y, u, v, _] = picture.planes_data_mut();
        let size = |by: u32| (info.width().div_ceil(by) as usize, info.height().div_ceil(by) as usize);
        flip(y, size(1), strides[0], columns, rows);
        flip(u, size(2), strides[1], columns, rows);
        flip(v, size(2), strides[2], columns, rows);
        let light = self.simulation.light.map_or(1.0, |light| settings::exposed(light, frame.exposure));
        self.gains.at(frame.sequence.into()).in_light(light).amplify(y);
        drop(picture);
        Ok(buffer)
    }
}

/// Reverses the order of columns or rows of a plane.
fn flip(plane: &mut [u8], (width, height): (usize, usize), stride: usize, columns: bool, rows: bool) {
    if columns {
        plane.chunks_mut(stride).take(height).for_each(|row| row[..width].reverse());
    }
    if rows {
        for row in 0..height / 2 {
            let (above, below) = plane.split_at_mut((height - 1 - row) * stride);
            above[row * stride..][..width].swap_with_slice(&mut below[..width]);
        }
    }
}

impl Running {
    fn next_frame(&mut self) -> SensorFrame {
        match self {
            Self::Sensor(sensor) => sensor.next_frame(),
            Self::Phone(phone) => phone.next_frame(),
        }
    }

    fn queue_controls(&mut self, controls: sensor::Controls) {
        match (self, controls.exposure) {
            (Self::Sensor(sensor), _) => sensor.queue_controls(host_now(), controls),
            // Exposures that fit into a frame do not shift the stream.
            (Self::Phone(phone), Some(exposure)) if exposure > phone.frame_duration => {
                phone.phone.inject(exposure);
            }
            (Self::Phone(phone), Some(exposure)) => phone.exposure = exposure,
            (Self::Phone(_), None) => {}
        }
    }
}

impl RunningPhone {
    fn next_frame(&mut self) -> SensorFrame {
        let PhoneFrame { sequence, start, stamp, injected } = self.phone.next_frame();
        let exposure = injected.unwrap_or(self.exposure);
        let SensorModel { line_time_ns, height, isp_latency, .. } = self.model;
        let readout = Span::from_nanos_f64(f64::from(height) * line_time_ns);
        self.last_delivery = (start + exposure + readout + isp_latency).max(self.last_delivery);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "float to int casts saturate, and an exposure has few lines"
        )]
        let lines = |span: Span| (span.as_nanos_f64() / line_time_ns) as u32;
        SensorFrame {
            sequence: u32::try_from(sequence & u64::from(u32::MAX)).expect("masked to 32 bit"),
            exposure_start_first_row: start,
            readout_start: start + exposure,
            exposure,
            line_time_ns,
            active_lines: height,
            exposure_lines: lines(exposure),
            frame_length_lines: lines(self.frame_duration),
            reported_exposure: exposure,
            reported_frame_duration: self.frame_duration,
            timestamp: stamp,
            stamp_error: stamp - start,
            delivered_at: self.last_delivery,
        }
    }
}

impl Camera for SimulatedCamera {
    fn caps(&self, _role: StreamRole) -> gst::Caps {
        let (shortest, longest) = self.frame_limits();
        let rate = |span: Span, up: bool| {
            let fps = 1.0 / span.as_secs_f64();
            let whole = if up { fps.ceil() } else { fps.floor() };
            #[expect(clippy::cast_possible_truncation, reason = "frame rates are small")]
            gst::Fraction::new(whole as i32, 1)
        };
        gst_video::VideoCapsBuilder::new()
            .format(gst_video::VideoFormat::I420)
            .width_range(160..=1920)
            .height_range(120..=1080)
            .framerate_range(rate(longest, true).max(gst::Fraction::new(1, 1))..=rate(shortest, false))
            .build()
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), CameraError> {
        if let Some(sensor) = &mode.sensor {
            return Err(CameraError::Mode {
                camera: self.id(),
                asked: sensor.structure().to_string(),
                reason:
                    "a simulated sensor has one mode. Leave sensor-config unset, and choose the size by caps"
                        .into(),
            });
        }
        // Sensors can reverse rows and columns, but not exchange them.
        let can = !mode.orientation.is_transposed();
        self.orientation = if can { mode.orientation } else { Orientation::default() };
        Ok(())
    }

    fn configure(&mut self, streams: &[StreamSetup]) -> Result<Capabilities, CameraError> {
        let Some(main) = streams.first() else {
            return Err(self.failed("configuring it", "no stream is wanted"));
        };
        let fps = self.info_of(&main.caps)?.fps();
        let (shortest, longest) = self.frame_limits();
        let frame_duration = Span::from_secs_f64(f64::from(fps.denom()) / f64::from(fps.numer().max(1)));
        if fps.numer() <= 0 || frame_duration < shortest || frame_duration > longest {
            return Err(self.format_error(&main.caps, format!("frames take {shortest:?} to {longest:?}")));
        }
        let streams = streams.iter().map(|stream| self.stream(&stream.caps)).collect::<Result<_, _>>()?;
        let model = self.model_for(frame_duration);
        let readout = Span::from_nanos_f64(f64::from(model.height) * model.line_time_ns);
        let Simulation { control, phone, .. } = self.simulation;
        let durations =
            (control == SimulatedControl::FrameDuration && !phone).then_some(FrameDurationControl {
                line_time_ns: model.line_time_ns,
                min_lines: model.min_frame_length,
                max_lines: model.max_frame_length,
                latency: model.delays.vblank,
                exposure_margin: model.exposure_margin,
            });
        let capabilities = Capabilities {
            model: self.id(),
            pacing: Pacing::FreeRunning(durations),
            exposure: self.exposure_control(&model),
            response: self.response_at(frame_duration),
            stamped_at: match model.timestamp_point {
                _ if phone => StampedAt::ExposureStart,
                sensor::TimestampPoint::FirstRowReadout => StampedAt::ReadoutStart,
                sensor::TimestampPoint::FirstRowExposure => StampedAt::ExposureStart,
            },
            stamp_bias: Span::ZERO,
            timing_error: TimingError {
                stamp: Some(STAMP_ERROR),
                // Exposures are whole lines, and reported as microseconds.
                exposure_reference: Some(Span::from_nanos_f64(model.line_time_ns)),
            },
            readout: Some(Readout {
                shutter: Shutter::Rolling,
                row_time_ns: model.line_time_ns,
                rows: model.height,
            }),
            latency: self.simulation.exposure + readout + model.isp_latency + model.isp_mean_excess * 4,
            backlog: u32::try_from(MAX_BACKLOG.as_nanos() / frame_duration.as_nanos().max(1))
                .unwrap_or(u32::MAX)
                .max(1),
            mode: Mode { sensor: None, orientation: self.orientation },
        };
        self.configured = Some(Configured { streams, frame_duration, model });
        Ok(capabilities)
    }

    fn control_ranges(&self) -> Ranges {
        if self.simulation.control == SimulatedControl::None {
            return Ranges::new(&self.id());
        }
        let model = &self.simulation.model;
        let period = self.configured.as_ref().map(|configured| configured.frame_duration);
        let fits = period.unwrap_or(self.frame_limits().1);
        let longest = if self.simulation.phone { PHONE_LONGEST } else { fits };
        settings::ranges(&self.id(), model, longest, self.simulation.exposure)
    }

    fn control_lead(&self) -> u32 {
        let delays = self.simulation.model.delays;
        // Controls that are queued while a frame is delivered are written at the start of the next.
        1 + delays.exposure.max(delays.vblank)
    }

    fn stage(&mut self, settings: Vec<Setting>) {
        self.staged.extend(settings);
    }

    fn waits_for_request(&self) -> bool {
        !self.staged.is_empty()
    }

    fn start(&mut self) -> Result<(), CameraError> {
        let staged = SimulatedControls::of(std::mem::take(&mut self.staged));
        self.gains = Gains::new(staged.gain);
        let Some(Configured { frame_duration, model, .. }) = &self.configured else {
            return Err(self.failed("starting", "it has no format yet"));
        };
        let (frame_duration, model) = (*frame_duration, model.clone());
        let Simulation { seed, skew, exposure, control, phone, .. } = self.simulation;
        let exposure = staged.exposure.unwrap_or(exposure);
        let seed = seed.wrapping_add(self.starts << 32);
        self.starts += 1;
        self.running = Some(if phone {
            let paper = PhoneModel::paper(frame_duration.as_nanos_f64());
            let phone = Phone::new(paper, seed, skew, host_now() + PHONE_START_UP);
            let last_delivery = host_now();
            Running::Phone(Box::new(RunningPhone { phone, model, exposure, frame_duration, last_delivery }))
        } else {
            // A sensor made for this rate has it already: whole microseconds would not be exact.
            let set = control == SimulatedControl::FrameDuration;
            let frame_duration = set.then_some(frame_duration);
            let controls = sensor::Controls { frame_duration, exposure: Some(exposure) };
            Running::Sensor(Box::new(Sensor::new(model, seed, skew, host_now(), controls)))
        });
        Ok(())
    }

    fn request(&mut self, controls: Controls) -> Result<(), CameraError> {
        let staged = SimulatedControls::of(std::mem::take(&mut self.staged));
        let lead = self.control_lead();
        let Some(running) = &mut self.running else {
            return Err(self.failed("setting controls", "it is not started"));
        };
        let Controls { frame_duration, exposure } = controls;
        let control = self.simulation.control;
        let frame_duration = frame_duration.filter(|_| control == SimulatedControl::FrameDuration);
        // The aligner's exposure shifts the stream. The user's goes out after it.
        let exposure = exposure.or(staged.exposure).filter(|_| control != SimulatedControl::None);
        self.gains.set(lead, staged.gain);
        running.queue_controls(sensor::Controls { frame_duration, exposure });
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Frame, CameraError> {
        let (frame, (sensor_time, stamped_by)) = loop {
            let frame = self.next_sensor_frame()?;
            let wait = (frame.delivered_at - host_now()).to_duration();
            let nothing = self.sleeper.pop_until(Instant::now() + wait)?;
            debug_assert!(nothing.is_none(), "the sleeper gets no items");
            self.gains.taken(frame.sequence.into());
            if let Some(stamped) = self.sensor_time(&frame)? {
                break (frame, stamped);
            }
        };
        let pictures = self.render(&frame)?;
        let gain = self.gains.at(frame.sequence.into());
        Ok(Frame {
            pictures,
            copied: false,
            sequence: u64::from(frame.sequence),
            sensor_time,
            stamped_by,
            exposure: Some(frame.reported_exposure),
            analogue_gain: Some(gain.factor()),
            reported: settings::reported(frame.reported_exposure, gain),
            details: FrameDetails {
                frame_duration_ns: Some(frame.reported_frame_duration),
                ..FrameDetails::default()
            },
        })
    }

    fn stop(&mut self) {
        self.running = None;
    }

    fn wakeup(&self) -> Arc<dyn Wakeup> {
        self.sleeper.clone()
    }
}
