//! The pipeline of a device, from its start to the end of its files.

use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use gst::MessageView;
use gst::prelude::*;

use crate::config::DeviceConfig;
use crate::flow::Flow;
use crate::manager::Manager;

/// Element messages that belong into the journal: those that tell how the device is, not what was saved.
const TOLD: [&str; 8] = [
    "swsync-clock",
    "swsync-clock-stepped",
    "swsync-phase",
    "swsync-phase-trouble",
    "swsync-camera-lost",
    "swsync-camera-back",
    "swsync-frames-lost",
    "swsync-control-refused",
];

/// How long the loop waits for a message, and so how late it hears of a signal.
const POLL: Duration = Duration::from_millis(100);

/// Someone asks for the end: SIGTERM or SIGINT.
#[derive(Debug, Clone, Copy)]
pub struct Stop;

/// A pipeline, and what it has come to.
#[derive(Debug)]
pub struct Device {
    pipeline: gst::Pipeline,
    flow: Flow,
    stop_timeout: Duration,
}

/// What the loop waits for.
enum Stage {
    /// The pipeline starts in a thread of its own: `swsyncclock` stays there until it is synced.
    Starting(JoinHandle<Result<gst::StateChangeSuccess, gst::StateChangeError>>),
    Running,
    /// Files end; what takes longer than this is left.
    Ending(Instant),
}

impl Device {
    /// # Errors
    /// The pipeline has a mistake, or an element that is not there.
    pub fn new(config: &DeviceConfig) -> anyhow::Result<Self> {
        let line = config.pipeline.split_whitespace().collect::<Vec<_>>().join(" ");
        let element = gst::parse::launch_full(&line, None, gst::ParseFlags::FATAL_ERRORS)
            .with_context(|| format!("the pipeline is wrong: {line}"))?;
        let pipeline = element.downcast::<gst::Pipeline>().map_err(|element| {
            anyhow!(
                "the pipeline is one element, {}: write what its frames go to, behind a `!`",
                element.name()
            )
        })?;
        let flow = Flow::watch(pipeline.upcast_ref());
        if flow.is_empty() {
            bail!(
                "the pipeline has no sink, so nobody could tell whether frames flow: end it with swsyncsink"
            );
        }
        Ok(Self { pipeline, flow, stop_timeout: config.stop_timeout })
    }

    /// Runs the pipeline until someone asks for the end, and then until its files are ended.
    ///
    /// # Errors
    /// The pipeline failed, ended by itself, or did not end its files in time.
    pub fn run(&self, stops: &Receiver<Stop>) -> anyhow::Result<()> {
        let mut manager = Manager::new(Instant::now());
        let result = self.watch(stops, &mut manager);
        if let Err(error) = &result {
            manager.status(&format!("{error:#}"));
        }
        self.pipeline.set_state(gst::State::Null).map_err(|_| anyhow!("the pipeline did not stop"))?;
        result
    }

    fn watch(&self, stops: &Receiver<Stop>, manager: &mut Manager) -> anyhow::Result<()> {
        manager.status("waiting for rig time and camera");
        let pipeline = self.pipeline.clone();
        let mut stage = Stage::Starting(thread::spawn(move || pipeline.set_state(gst::State::Playing)));
        let bus = self.pipeline.bus().context("a pipeline has a bus")?;
        let wait = gst::ClockTime::try_from(POLL.min(manager.period()))?;
        loop {
            if let Some(message) = bus.timed_pop(wait)
                && let Some(end) = self.take(&message, matches!(stage, Stage::Ending(_)))
            {
                return end;
            }
            if let Stage::Starting(start) = &stage
                && start.is_finished()
            {
                let Stage::Starting(start) = std::mem::replace(&mut stage, Stage::Running) else {
                    unreachable!()
                };
                self.started(start, &bus)?;
            }
            if stops.try_recv().is_ok() {
                stage = self.stop(stage, manager)?;
            }
            match stage {
                Stage::Ending(until) if Instant::now() >= until => {
                    bail!(
                        "files had not ended after {}: the next start recovers them",
                        humantime::format_duration(self.stop_timeout)
                    )
                }
                Stage::Ending(_) => {}
                Stage::Starting(_) | Stage::Running => manager.look(&self.flow, Instant::now()),
            }
        }
    }

    /// The start is over. If it failed, an error message says why.
    fn started(
        &self,
        start: JoinHandle<Result<gst::StateChangeSuccess, gst::StateChangeError>>,
        bus: &gst::Bus,
    ) -> anyhow::Result<()> {
        if start.join().map_err(|_| anyhow!("the thread that starts the pipeline panicked"))?.is_ok() {
            return Ok(());
        }
        while let Some(message) = bus.pop() {
            if let Some(end) = self.take(&message, false) {
                return end;
            }
        }
        bail!("the pipeline did not start, and no element said why: look at it with GST_DEBUG=3")
    }

    /// Begins to end the files. The second time, or before anything runs: ends at once.
    fn stop(&self, stage: Stage, manager: &mut Manager) -> anyhow::Result<Stage> {
        match stage {
            Stage::Ending(_) => {
                bail!("stopped a second time, before files had ended: the next start recovers them")
            }
            Stage::Starting(start) => {
                let elements = self.pipeline.iterate_recurse();
                let clocks =
                    elements.into_iter().flatten().filter(|it| it.type_().name() == "GstSwsyncClockElement");
                for clock in clocks {
                    clock.emit_by_name::<bool>("cancel", &[]);
                }
                let _ = start.join(); // that it was cancelled
            }
            Stage::Running => {}
        }
        manager.stopping(self.stop_timeout);
        if self.pipeline.current_state() == gst::State::Playing {
            self.pipeline.send_event(gst::event::Eos::new());
            return Ok(Stage::Ending(Instant::now() + self.stop_timeout));
        }
        // Nothing has flowed, so no file is open: only the end of the stream is missing.
        self.pipeline.post_message(gst::message::Eos::builder().src(&self.pipeline).build())?;
        Ok(Stage::Ending(Instant::now() + self.stop_timeout))
    }

    /// What a message means. `Some`: the pipeline has ended.
    fn take(&self, message: &gst::Message, is_ending: bool) -> Option<anyhow::Result<()>> {
        match message.view() {
            MessageView::Eos(_) if is_ending => return Some(Ok(())),
            MessageView::Eos(_) => return Some(Err(anyhow!("the pipeline ended by itself"))),
            MessageView::Error(error) => {
                let by = error.src().map_or_else(|| "the pipeline".into(), GstObjectExt::path_string);
                let details = error.debug().map(|it| format!(" ({it})")).unwrap_or_default();
                return Some(Err(anyhow!("{by}: {}{details}", error.error())));
            }
            MessageView::Warning(warning) => eprintln!("swsync-device: warning: {}", warning.error()),
            MessageView::Latency(_) => {
                let _ = self.pipeline.recalculate_latency(); // it says so itself
            }
            MessageView::ClockLost(_) => {
                for state in [gst::State::Paused, gst::State::Playing] {
                    if self.pipeline.set_state(state).is_err() {
                        return Some(Err(anyhow!("the pipeline's clock was lost, and it has no other")));
                    }
                }
            }
            MessageView::Element(element) => {
                if let Some(told) = element.structure().filter(|it| TOLD.contains(&it.name().as_str())) {
                    eprintln!("swsync-device: {told}");
                }
            }
            _ => {}
        }
        None
    }
}
