//! Runs an swsyncsrc in a pipeline and feeds the times of its frames to the calibration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use gst::prelude::*;
use parking_lot::Mutex;
use swsync_cli::output;
use swsync_core::align::calibrate::{Calibration, CalibrationPlan, CalibrationStage, CalibrationStep};
use swsync_core::time::Span;

use super::args::CalibrateArgs;

/// The custom meta of swsyncsrc's buffers. It has the sensor's timestamp.
const FRAME_META: &str = "SwsyncFrameMeta";
/// Longest wait for a frame.
const FRAME_TIMEOUT: Duration = Duration::from_secs(20);

/// A pipeline with an swsyncsrc in it.
pub struct Camera {
    pipeline: gst::Pipeline,
    source: gst::Element,
}

/// State of the measurement, updated by the streaming thread.
struct Measurement {
    calibration: Option<Calibration>,
    /// Frames so far, lost ones included.
    sequence: u64,
    /// The frame before requested one long exposure: now the usual one has to be set again.
    restore_exposure: bool,
    problem: Option<String>,
    last_frame: Instant,
    done: bool,
}

impl Camera {
    /// A pipeline with the source of `args`.
    ///
    /// # Errors
    /// The description is no pipeline, or has no swsyncsrc.
    pub fn new(args: &CalibrateArgs) -> anyhow::Result<Self> {
        gst::init().context("cannot start GStreamer")?;
        crate::plugin::check_loaded()?;
        let text = format!("{} ! capsfilter caps={} ! fakesink sync=false", args.source, args.caps);
        let pipeline = gst::parse::launch(&text).with_context(|| format!("this is no pipeline: {text}"))?;
        let pipeline =
            pipeline.downcast::<gst::Pipeline>().map_err(|_| anyhow!("this is no pipeline: {text}"))?;
        let source = pipeline
            .iterate_elements()
            .find(|element| element.factory().is_some_and(|factory| factory.name() == "swsyncsrc"))
            .with_context(|| format!("there is no swsyncsrc in {:?}", args.source))?;
        source.set_property_from_str("align-method", "none");
        source.set_property("wait-lock", false);
        Ok(Self { pipeline, source })
    }

    /// The sensor model of a simulated camera.
    pub fn model(&self) -> Option<String> {
        let backend = self.source.property_value("backend");
        let simulated = backend
            .transform::<String>()
            .is_ok_and(|name| name.get::<&str>().is_ok_and(|name| name.to_lowercase().contains("simulated")));
        if simulated { self.source.property("simulated-sensor") } else { None }
    }

    /// Measures. Returns `None` if Ctrl-C ended it.
    ///
    /// # Errors
    /// The camera does not run, or refuses exposures.
    pub fn measure(&self, args: &CalibrateArgs) -> anyhow::Result<Option<Calibration>> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = interrupted.clone();
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("cannot listen to Ctrl-C")?;
        let work = Arc::new(Mutex::new(Measurement {
            calibration: None,
            sequence: 0,
            restore_exposure: false,
            problem: None,
            last_frame: Instant::now(),
            done: false,
        }));
        self.add_probe(args, &work)?;
        let started = self.pipeline.set_state(gst::State::Playing);
        let result =
            started.context("the camera does not start").and_then(|_| self.wait(&work, &interrupted));
        let result = result.map_err(|error| self.error().unwrap_or(error));
        // The measurement is over: a failure to stop does not matter.
        let _ = self.pipeline.set_state(gst::State::Null);
        if !result? {
            return Ok(None);
        }
        let calibration = work.lock().calibration.take();
        calibration.map(Some).context("the camera delivered no frame")
    }

    /// Has each frame handed to [`Measurement::handle`], together with the number of frames lost before it.
    fn add_probe(&self, args: &CalibrateArgs, work: &Arc<Mutex<Measurement>>) -> anyhow::Result<()> {
        let usual = Span::from(*args.exposure);
        for name in ["ae-enable", "exposure-time"] {
            if self.source.find_property(name).is_none() {
                bail!("this swsyncsrc has no property {name}: is another version of the plugin installed?");
            }
        }
        self.source.set_property("ae-enable", false);
        self.source.set_property("exposure-time", micros(usual));
        let lost = Arc::new(AtomicU64::new(0));
        let counter = lost.clone();
        let bus = self.pipeline.bus().context("a pipeline without a bus")?;
        bus.set_sync_handler(move |_, message| {
            let structure = message.structure().filter(|structure| structure.name() == "swsync-frames-lost");
            if let Some(count) = structure.and_then(|structure| structure.get::<u64>("count").ok()) {
                counter.fetch_add(count, Ordering::Relaxed);
            }
            gst::BusSyncReply::Pass
        });
        let pad = self.source.static_pad("src").context("swsyncsrc without a pad")?;
        let (work, source) = (work.clone(), self.source.downgrade());
        let (injections, longest) =
            (usize::from(args.injections), args.longest.map(|longest| Span::from(*longest)));
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let (Some(buffer), Some(source)) = (info.buffer(), source.upgrade()) {
                let mut work = work.lock();
                let before = lost.swap(0, Ordering::Relaxed);
                if let Err(problem) = work.handle(pad, buffer, before, (injections, longest), &source, usual)
                {
                    work.problem.get_or_insert(problem);
                }
            }
            gst::PadProbeReturn::Ok
        });
        Ok(())
    }

    /// Waits until the calibration is done; returns `false` if Ctrl-C came first.
    fn wait(&self, work: &Mutex<Measurement>, interrupted: &AtomicBool) -> anyhow::Result<bool> {
        let bus = self.pipeline.bus().context("a pipeline without a bus")?;
        loop {
            let message = bus.timed_pop_filtered(
                gst::ClockTime::from_mseconds(200),
                &[gst::MessageType::Error, gst::MessageType::Eos],
            );
            match message.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Error(error)) => bail!("{}", error.error()),
                Some(_) => bail!("the source ended by itself"),
                None => {}
            }
            if interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let work = work.lock();
            if let Some(problem) = &work.problem {
                bail!("{problem}");
            }
            if work.last_frame.elapsed() > FRAME_TIMEOUT {
                bail!("no frame came for {FRAME_TIMEOUT:?}");
            }
            if let Some(calibration) = &work.calibration {
                output::status_line(&if work.done { String::new() } else { progress(calibration) });
            }
            if work.done {
                return Ok(true);
            }
        }
    }

    /// The pipeline's error message, if there is one: it is the cause of others.
    fn error(&self) -> Option<anyhow::Error> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        let gst::MessageView::Error(error) = message.view() else { return None };
        Some(anyhow!("{}", error.error()))
    }
}

impl Measurement {
    /// Handles a frame; `lost` is the number of frames lost before it.
    fn handle(
        &mut self,
        pad: &gst::Pad,
        buffer: &gst::BufferRef,
        lost: u64,
        (injections, longest): (usize, Option<Span>),
        source: &gst::Element,
        usual: Span,
    ) -> Result<(), String> {
        self.last_frame = Instant::now();
        self.sequence += 1 + lost;
        let meta = gst::meta::CustomMeta::from_buffer(buffer, FRAME_META);
        let time = meta.ok().and_then(|meta| meta.structure().get::<i64>("sensor-time").ok());
        let time = time.ok_or("frames do not tell the sensor's time")?;
        if self.calibration.is_none() {
            let plan = plan(pad, injections, longest)?;
            self.calibration = Some(Calibration::new(plan).map_err(|error| error.to_string())?);
        }
        if std::mem::take(&mut self.restore_exposure) {
            expose(source, usual)?;
        }
        let Some(calibration) = &mut self.calibration else { return Ok(()) };
        match calibration.handle_frame(self.sequence, Span::from_nanos(time)) {
            CalibrationStep::Wait => Ok(()),
            CalibrationStep::Expose(exposure) => {
                self.restore_exposure = true;
                expose(source, exposure)
            }
            CalibrationStep::Done => {
                self.done = true;
                Ok(())
            }
        }
    }
}

fn plan(pad: &gst::Pad, injections: usize, longest: Option<Span>) -> Result<CalibrationPlan, String> {
    let caps = pad.current_caps().ok_or("frames without caps")?;
    let rate = caps.structure(0).and_then(|structure| structure.get::<gst::Fraction>("framerate").ok());
    let rate = rate.filter(|rate| rate.numer() > 0).ok_or("the camera has no constant frame rate")?;
    let period = Span::from_secs_f64(f64::from(rate.denom()) / f64::from(rate.numer()));
    let plan = CalibrationPlan::new(period);
    let exposures = (plan.exposures.0, longest.unwrap_or(plan.exposures.1));
    Ok(CalibrationPlan { exposures, injections, ..plan })
}

/// Sets the exposure from the next frame on that can still be changed.
fn expose(source: &gst::Element, exposure: Span) -> Result<(), String> {
    let controls = gst::Structure::builder("controls").field("exposure-time", micros(exposure)).build();
    if source.emit_by_name::<bool>("set-controls", &[&0_u64, &controls]) {
        Ok(())
    } else {
        Err(format!(
            "the camera refuses an exposure of {:.1} ms: try a shorter --longest",
            exposure.as_micros_f64() / 1e3
        ))
    }
}

fn micros(span: Span) -> i32 {
    i32::try_from(span.as_nanos().saturating_add(500) / 1_000).unwrap_or(i32::MAX)
}

fn progress(calibration: &Calibration) -> String {
    let progress = calibration.progress();
    let what = match progress.stage {
        CalibrationStage::Resting => "learning the camera's own period",
        CalibrationStage::Sweep => "exposures of all lengths",
        CalibrationStage::Knee => "the shortest exposure that counts",
        CalibrationStage::Done => "done",
    };
    let slope = calibration
        .preview()
        .map_or_else(|_| String::new(), |fit| format!(", slope {:.4} +- {:.4}", fit.slope, fit.slope_sigma));
    format!("{} of {}: {what}{slope}", progress.done, progress.of)
}
