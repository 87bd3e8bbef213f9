//! `swsyncsrc` on a clock of the application's own, here that of a PTP grandmaster: its frames begin at the multiples of the frame
//! period in the grandmaster's time, on every device that does the same. There is no `swsyncclock`, and no rig.
//!
//! ```text
//! cargo run -p swsync-example --bin swsync-example-ptp                 # the first camera that libcamera finds
//! cargo run -p swsync-example --bin swsync-example-ptp -- --simulated  # without a camera
//! ```
//!
//! Any GstClock serves. What `swsyncclock` adds: orders to a whole rig, an uncertainty beside each time, holdover, and wall-clock
//! metas (`swsyncclock source=ptp` follows the same grandmaster).

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use gst::prelude::*;

/// Prints frames with their numbers and times by a PTP clock.
#[derive(Debug, Parser)]
struct Args {
    /// Use a simulated camera.
    #[arg(long)]
    simulated: bool,
    /// PTP domain.
    #[arg(long, default_value_t = 0)]
    domain: u32,
    /// How many frames to print.
    #[arg(long, default_value_t = 30)]
    frames: u32,
}

/// How long a grandmaster is waited for, and a frame that is on the grid.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(60);

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    gst::init()?;
    let clock = ptp_clock(args.domain)?;
    let backend = if args.simulated { "simulated" } else { "libcamera" };
    let pipeline = gst::parse::launch(&format!(
        "swsyncsrc backend={backend} ! video/x-raw,width=640,height=480,framerate=30/1 ! appsink name=sink sync=false"
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| anyhow::anyhow!("several elements make a pipeline"))?;
    // The pipeline would choose a clock by itself otherwise.
    pipeline.use_clock(Some(&clock));
    let sink = pipeline.by_name("sink").context("it is in the line above")?;
    pipeline.set_state(gst::State::Playing)?;
    let printed = print_frames(&pipeline, &sink, args.frames);
    pipeline.set_state(gst::State::Null)?;
    printed.map(|()| ExitCode::SUCCESS)
}

/// The clock of the grandmaster of `domain`, once it has its time.
fn ptp_clock(domain: u32) -> anyhow::Result<gst::Clock> {
    gst_net::PtpClock::init(None, &[]).context(
        "GStreamer's gst-ptp-helper cannot run: is it installed, and may it open UDP ports 319 and 320?",
    )?;
    let clock = gst_net::PtpClock::new(None, domain)?;
    clock
        .wait_for_sync(PATIENCE)
        .with_context(|| format!("no PTP grandmaster of domain {domain} within {PATIENCE}"))?;
    Ok(clock.upcast())
}

/// Prints `count` frames that are on the grid.
fn print_frames(pipeline: &gst::Pipeline, sink: &gst::Element, count: u32) -> anyhow::Result<()> {
    let mut printed = 0;
    while printed < count {
        let sample: Option<gst::Sample> = sink.emit_by_name("try-pull-sample", &[&PATIENCE.nseconds()]);
        let Some(sample) = sample else { bail!("no frame: {}", error_of(pipeline)) };
        let buffer = sample.buffer().context("a sample of video has a buffer")?;
        let meta = gst::meta::CustomMeta::from_buffer(buffer, "SwsyncFrameMeta")?;
        let details = meta.structure();
        let lock: &str = details.get("lock")?;
        if lock == "locked" || lock == "free" {
            // The frame's time by the grandmaster: its running time, counted from the base time.
            let time = buffer.pts().zip(pipeline.base_time()).map(|(pts, base)| pts + base);
            let time = time.context("frames have a running time")?.nseconds();
            println!("{} {time} {lock}", details.get::<u64>("frame-number")?);
            printed += 1;
        }
    }
    Ok(())
}

fn error_of(pipeline: &gst::Pipeline) -> String {
    let message = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => error.error().to_string(),
        _ => format!("nothing came within {PATIENCE}"),
    }
}
