//! The camera: an swsyncsrc in a pipeline of its own, whose frames feed the calibration.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use gst::prelude::*;
use swsync_core::align::calibrate::{Calibration, Plan, Stage, Step};
use swsync_core::time::Span;

use super::{CalibrateArgs, span};

/// The custom meta of swsyncsrc's buffers, with the sensor's own time.
const FRAME_META: &str = "SwsyncFrameMeta";
/// Longest wait for the next frame.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pipeline with an swsyncsrc in it.
pub struct Camera {
    pipeline: gst::Pipeline,
    source: gst::Element,
}

/// What the streaming thread works with.
struct Work {
    calibration: Option<Calibration>,
    /// Frames so far, lost ones included.
    sequence: u64,
    /// The frame before asked for a long exposure, which is to be the only one.
    back: bool,
    problem: Option<String>,
    seen: Instant,
    done: bool,
}

impl Camera {
    /// The camera that `args` name.
    ///
    /// # Errors
    /// Where there is no such pipeline.
    pub fn new(args: &CalibrateArgs) -> anyhow::Result<Self> {
        gst::init().context("cannot start GStreamer")?;
        if gst::ElementFactory::find("swsyncsrc").is_none() {
            bail!(
                "GStreamer does not find swsyncsrc: does GST_PLUGIN_PATH name the folder of libgstswsync.so?"
            );
        }
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

    /// The model, where the source's properties tell it.
    pub fn model(&self) -> Option<String> {
        let backend = self.source.property_value("backend");
        let simulated = backend
            .transform::<String>()
            .is_ok_and(|name| name.get::<&str>().is_ok_and(|name| name.to_lowercase().contains("simulated")));
        if simulated { self.source.property("simulated-sensor") } else { None }
    }

    /// Measures; `None` where Ctrl-C ended it.
    ///
    /// # Errors
    /// Where the camera does not run, or takes no exposures.
    pub fn measure(&self, args: &CalibrateArgs) -> anyhow::Result<Option<Calibration>> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let seen = interrupted.clone();
        ctrlc::set_handler(move || seen.store(true, Ordering::Relaxed)).context("cannot listen to Ctrl-C")?;
        let work = Arc::new(Mutex::new(Work {
            calibration: None,
            sequence: 0,
            back: false,
            problem: None,
            seen: Instant::now(),
            done: false,
        }));
        self.listen(args, &work)?;
        let started = self.pipeline.set_state(gst::State::Playing);
        let result =
            started.context("the camera does not start").and_then(|_| self.watch(&work, &interrupted));
        let result = result.map_err(|error| self.error().unwrap_or(error));
        // What the camera was left like is nobody's concern any more.
        let _ = self.pipeline.set_state(gst::State::Null);
        if !result? {
            return Ok(None);
        }
        let calibration = lock(&work).calibration.take();
        calibration.map(Some).context("the camera delivered no frame")
    }

    /// Has the frames worked with.
    fn listen(&self, args: &CalibrateArgs, work: &Arc<Mutex<Work>>) -> anyhow::Result<()> {
        let usual = span(args.exposure);
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
        let (injections, longest) = (usize::from(args.injections), args.longest.map(span));
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let (Some(buffer), Some(source)) = (info.buffer(), source.upgrade()) {
                let mut work = lock(&work);
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

    /// Waits for the end; whether that is the calibration's.
    fn watch(&self, work: &Mutex<Work>, interrupted: &AtomicBool) -> anyhow::Result<bool> {
        let bus = self.pipeline.bus().context("a pipeline without a bus")?;
        let told = io::stderr().is_terminal();
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
            let work = lock(work);
            if let Some(problem) = &work.problem {
                bail!("{problem}");
            }
            if work.seen.elapsed() > PATIENCE {
                bail!("no frame came for {PATIENCE:?}");
            }
            if told && let Some(calibration) = &work.calibration {
                // Only a remark.
                let _ = write!(io::stderr(), "\r\x1b[K{}", remark(calibration));
                if work.done {
                    let _ = write!(io::stderr(), "\r\x1b[K");
                }
            }
            if work.done {
                return Ok(true);
            }
        }
    }

    /// What the pipeline says has gone wrong, if anything: rather than what follows from it.
    fn error(&self) -> Option<anyhow::Error> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        let gst::MessageView::Error(error) = message.view() else { return None };
        Some(anyhow!("{}", error.error()))
    }
}

impl Work {
    /// A frame has arrived, `lost` ones before it.
    fn handle(
        &mut self,
        pad: &gst::Pad,
        buffer: &gst::BufferRef,
        lost: u64,
        (injections, longest): (usize, Option<Span>),
        source: &gst::Element,
        usual: Span,
    ) -> Result<(), String> {
        self.seen = Instant::now();
        self.sequence += 1 + lost;
        let meta = gst::meta::CustomMeta::from_buffer(buffer, FRAME_META);
        let time = meta.ok().and_then(|meta| meta.structure().get::<i64>("sensor-time").ok());
        let time = time.ok_or("frames do not tell the sensor's time")?;
        if self.calibration.is_none() {
            let plan = plan(pad, injections, longest)?;
            self.calibration = Some(Calibration::new(plan).map_err(|error| error.to_string())?);
        }
        if std::mem::take(&mut self.back) {
            expose(source, usual)?;
        }
        let Some(calibration) = &mut self.calibration else { return Ok(()) };
        match calibration.handle_frame(self.sequence, Span::from_nanos(time)) {
            Step::Wait => Ok(()),
            Step::Expose(exposure) => {
                self.back = true;
                expose(source, exposure)
            }
            Step::Done => {
                self.done = true;
                Ok(())
            }
        }
    }
}

fn plan(pad: &gst::Pad, injections: usize, longest: Option<Span>) -> Result<Plan, String> {
    let caps = pad.current_caps().ok_or("frames without caps")?;
    let rate = caps.structure(0).and_then(|structure| structure.get::<gst::Fraction>("framerate").ok());
    let rate = rate.filter(|rate| rate.numer() > 0).ok_or("the camera has no constant frame rate")?;
    let period = Span::from_secs_f64(f64::from(rate.denom()) / f64::from(rate.numer()));
    let plan = Plan::new(period);
    let exposures = (plan.exposures.0, longest.unwrap_or(plan.exposures.1));
    Ok(Plan { exposures, injections, ..plan })
}

/// Has the next frame that can still be determined, and all later ones, exposed for so long.
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

fn remark(calibration: &Calibration) -> String {
    let progress = calibration.progress();
    let what = match progress.stage {
        Stage::Resting => "learning the camera's own period",
        Stage::Sweep => "exposures of all lengths",
        Stage::Knee => "the shortest exposure that counts",
        Stage::Done => "done",
    };
    let slope = calibration
        .preview()
        .map_or_else(|_| String::new(), |fit| format!(", slope {:.4} +- {:.4}", fit.slope, fit.slope_sigma));
    format!("{} of {}: {what}{slope}", progress.done, progress.of)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
