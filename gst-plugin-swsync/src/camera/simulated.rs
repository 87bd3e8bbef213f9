//! A simulated camera: `swsync-sim`'s rolling-shutter sensor, driven in real time and looking at the LED
//! panel. Labelled so wherever it shows; it is only ever had by asking for it.

use std::sync::Arc;
use std::time::Instant;

use swsync_core::frame::FrameDetails;
use swsync_core::time::{Skew, Span, Timestamp};
use swsync_rig::clock::{DeviceClock, true_now};
use swsync_sim::scene::{I420Mut, PlaneMut, Scene, View};
use swsync_sim::sensor::{self, Sensor, SensorFrame, SensorModel};

use self::settings::{Gains, SimulatedControls};
use super::controls::{Ranges, Setting};
use super::mailbox::Mailbox;
use super::{
    Camera, CameraError, Capabilities, Controls, Frame, FrameDurationControl, Pacing, Readout, Shutter,
    StampedAt, StreamRole, StreamSetup, Wakeup,
};

mod settings;

/// Frames that nobody took so long after their delivery are gone: a camera without free buffers loses
/// them, and libcamera's pipelines have four. Longer would also break what the aligner rests on: that
/// a control set goes out soon after the frame that it answers.
const MAX_BACKLOG: Span = Span::from_millis(130);

/// What a simulated camera is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// The sensor.
    pub model: SensorModel,
    /// Seed of everything random about it.
    pub seed: u64,
    /// Rate of its crystal relative to true time.
    pub skew: Skew,
    /// Which of the rig's views it has of the scene.
    pub view: u32,
    /// Exposure at the start.
    pub exposure: Span,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct SimulatedCamera {
    simulation: Simulation,
    device: Arc<DeviceClock>,
    sleeper: Arc<Mailbox<()>>,
    configured: Option<Configured>,
    sensor: Option<Sensor>,
    staged: Vec<Setting>,
    gains: Gains,
}

#[derive(Debug)]
struct Configured {
    streams: Vec<Stream>,
    frame_duration: Span,
}

#[derive(Debug)]
struct Stream {
    info: gst_video::VideoInfo,
    scene: Scene,
}

impl SimulatedCamera {
    /// A camera of the device whose clocks are `device`.
    #[must_use]
    pub fn new(simulation: Simulation, device: Arc<DeviceClock>) -> Self {
        Self {
            simulation,
            device,
            sleeper: Arc::default(),
            configured: None,
            sensor: None,
            staged: Vec::new(),
            gains: Gains::default(),
        }
    }

    fn id(&self) -> String {
        format!("simulated {}", self.simulation.model.name)
    }

    fn format_error(&self, caps: &gst::Caps, reason: impl ToString) -> CameraError {
        CameraError::Format { camera: self.id(), caps: caps.to_string(), reason: reason.to_string() }
    }

    fn failed(&self, doing: &'static str, reason: impl ToString) -> CameraError {
        CameraError::Failed { camera: self.id(), doing, reason: reason.to_string() }
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

    /// The next frame that is not long gone.
    fn next_sensor_frame(&mut self) -> Result<SensorFrame, CameraError> {
        let Some(sensor) = &mut self.sensor else {
            return Err(self.failed("waiting for a frame", "it is not started"));
        };
        let oldest = true_now() - MAX_BACKLOG;
        Ok(std::iter::repeat_with(|| sensor.next_frame())
            .find(|frame| frame.delivered_at >= oldest)
            .expect("the iterator has no end"))
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
        scene.render(&frame.shutter(info.height()), planes).map_err(|e| failed(&e))?;
        let [y, ..] = picture.planes_data_mut();
        self.gains.at(frame.sequence.into()).amplify(y);
        drop(picture);
        Ok(buffer)
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
        self.configured = Some(Configured { streams, frame_duration });
        let model = &self.simulation.model;
        let readout = Span::from_nanos_f64(f64::from(model.height) * model.line_time_ns);
        Ok(Capabilities {
            model: self.id(),
            pacing: Pacing::FreeRunning(Some(FrameDurationControl {
                line_time_ns: model.line_time_ns,
                min_lines: model.min_frame_length,
                max_lines: model.max_frame_length,
                latency: model.delays.vblank,
                exposure_margin: model.exposure_margin,
            })),
            exposure: None,
            stamped_at: match model.timestamp_point {
                sensor::TimestampPoint::FirstRowReadout => StampedAt::ReadoutStart,
                sensor::TimestampPoint::FirstRowExposure => StampedAt::ExposureStart,
            },
            readout: Some(Readout {
                shutter: Shutter::Rolling,
                row_time_ns: model.line_time_ns,
                rows: model.height,
            }),
            latency: self.simulation.exposure + readout + model.isp_latency + model.isp_mean_excess * 4,
        })
    }

    fn control_ranges(&self) -> Ranges {
        let model = &self.simulation.model;
        let period = self.configured.as_ref().map(|configured| configured.frame_duration);
        settings::ranges(&self.id(), model, period.unwrap_or(self.frame_limits().1))
    }

    fn control_lead(&self) -> u32 {
        let delays = self.simulation.model.delays;
        // What is queued while a frame is delivered is written at the start of the next.
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
        let Some(configured) = &self.configured else {
            return Err(self.failed("starting", "it has no format yet"));
        };
        let controls = sensor::Controls {
            frame_duration: Some(configured.frame_duration),
            exposure: staged.exposure.or(Some(self.simulation.exposure)),
        };
        let Simulation { model, seed, skew, .. } = self.simulation.clone();
        self.sensor = Some(Sensor::new(model, seed, skew, true_now(), controls));
        Ok(())
    }

    fn request(&mut self, controls: Controls) -> Result<(), CameraError> {
        let staged = SimulatedControls::of(std::mem::take(&mut self.staged));
        let lead = self.control_lead();
        let Some(sensor) = &mut self.sensor else {
            return Err(self.failed("setting controls", "it is not started"));
        };
        let Controls { frame_duration, exposure } = controls;
        // An exposure that the aligner asks for shifts the stream: the one that is to stay comes after it.
        let exposure = exposure.or(staged.exposure);
        self.gains.set(lead, staged.gain);
        sensor.queue_controls(true_now(), sensor::Controls { frame_duration, exposure });
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Frame, CameraError> {
        let frame = self.next_sensor_frame()?;
        let wait = (frame.delivered_at - true_now()).to_duration();
        let nothing = self.sleeper.pop_until(Instant::now() + wait)?;
        debug_assert!(nothing.is_none(), "nobody posts to the sleeper");
        self.gains.taken(frame.sequence.into());
        let mut pictures = self.render(&frame)?;
        let buffer = pictures.remove(0);
        Ok(Frame {
            buffer,
            others: pictures,
            copied: false,
            sequence: u64::from(frame.sequence),
            sensor_time: self.device.boottime_from_true(Timestamp::from_nanos(frame.timestamp.as_nanos())),
            exposure: Some(frame.reported_exposure),
            analogue_gain: Some(self.gains.at(frame.sequence.into()).factor()),
            details: FrameDetails {
                frame_duration_ns: Some(frame.reported_frame_duration),
                ..FrameDetails::default()
            },
        })
    }

    fn stop(&mut self) {
        self.sensor = None;
    }

    fn wakeup(&self) -> Arc<dyn Wakeup> {
        self.sleeper.clone()
    }
}
