//! An application that uses swsync: leads a rig, waits until its camera is on the frame grid, and
//! has every camera of the rig take one picture of the same instant.
//!
//! ```text
//! cargo run -p swsync-example -- --location shots       # the first camera that libcamera finds
//! cargo run -p swsync-example -- --simulated            # without a camera
//! ```
//!
//! Other devices join the rig with `pipelines/client.sh`, or with an application like this one that
//! sets `role=client` and `leader`. It uses nothing but names of elements, properties, a signal and
//! messages, so the same can be written in any language that GStreamer has bindings for; see
//! `examples/python`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use gst::prelude::*;

/// How long the camera may take to get onto the frame grid. Restarts take seconds each.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait for all answers. `swsync-order-done` comes earlier, even if a device never answers, so only a fault
/// takes this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Leads a rig and takes one shot.
#[derive(Debug, Parser)]
struct Args {
    /// Use a simulated camera, which looks at an LED panel.
    #[arg(long, conflicts_with = "camera_name")]
    simulated: bool,
    /// Id of the camera, as `cam --list` shows it. [default: the first one]
    #[arg(long)]
    camera_name: Option<String>,
    /// Folder for the pictures.
    #[arg(long, default_value = "swsync")]
    location: String,
    /// Name of the rig. [env: SWSYNC_RIG] [default: swsync]
    #[arg(long)]
    rig: Option<String>,
    /// This device's name in the rig. [env: SWSYNC_DEVICE_ID] [default: the host's]
    #[arg(long)]
    device_id: Option<String>,
    /// File of the rig's key. [env: SWSYNC_KEY_FILE]
    #[arg(long)]
    key_file: Option<String>,
    /// Zenoh endpoint where other devices can connect, as tcp/0.0.0.0:7447. Without it (and --connect)
    /// devices find each other by multicast.
    #[arg(long)]
    listen: Option<String>,
    /// Zenoh endpoint of another device to connect to, as tcp/pi0.local:7447.
    #[arg(long)]
    connect: Option<String>,
    /// IP address on which rig time is served.
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: String,
    /// UDP port on which rig time is served; 0 is any free one.
    #[arg(long, default_value_t = 11123)]
    port: u32,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    gst::init()?;
    let (pipeline, sink) = build(&args)?;

    // An error at the start (no such camera, folder not writable, port taken) is a message on the bus, which says more than
    // the failed state change.
    let started = pipeline.set_state(gst::State::Playing);
    let shot = match started {
        Ok(_) => shoot_once_locked(&pipeline, &sink),
        Err(error) => Err(first_error(&pipeline).unwrap_or_else(|| error.into())),
    };
    // Also after an error: in NULL, files are finished and the device has left the rig.
    pipeline.set_state(gst::State::Null)?;
    Ok(if shot? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same pipeline as `pipelines/leader.sh`, and its sink.
fn build(args: &Args) -> anyhow::Result<(gst::Pipeline, gst::Element)> {
    let pipeline = gst::Pipeline::new();
    pipeline.set_context(&rig_context(args)?);

    // It has no pads. In the pipeline it provides the clock.
    let clock = make("swsyncclock")?
        .property_from_str("role", "leader")
        .property("bind-address", &args.bind_address)
        .property("port", args.port)
        .build()?;

    let camera = make("swsyncsrc")?
        .property_from_str("backend", if args.simulated { "simulated" } else { "libcamera" })
        .property("camera-name", &args.camera_name)
        .build()?;
    let convert = make("videoconvert")?.build()?;
    let encoder = make("jpegenc")?.build()?;

    // Keeps the last seconds in memory, and writes what an order names.
    let sink = make("swsyncsink")?.property("location", &args.location).build()?;

    pipeline.add_many([&clock, &camera, &convert, &encoder, &sink])?;
    gst::Element::link_many([&camera, &convert, &encoder, &sink])?;
    Ok((pipeline, sink))
}

/// Which rig this is, for all swsync elements of a pipeline. The same could be set as properties of one of them.
///
/// What is not in it comes from the environment (SWSYNC_RIG, ...) or a file: see docs/settings.md.
fn rig_context(args: &Args) -> anyhow::Result<gst::Context> {
    let mut context = gst::Context::new("swsync.rig", true);
    let fields = context.get_mut().context("nobody else has it yet")?.structure_mut();
    let given = [
        ("rig", &args.rig),
        ("device-id", &args.device_id),
        ("listen", &args.listen),
        ("connect", &args.connect),
        ("key-file", &args.key_file),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            fields.set(name, value);
        }
    }
    Ok(context)
}

/// Makes an element, or says where to look for the missing plugin.
fn make(name: &str) -> anyhow::Result<gst::element_factory::ElementBuilder<'_>> {
    if gst::ElementFactory::find(name).is_none() {
        bail!("GStreamer has no element {name}: is GST_PLUGIN_PATH set to the folder of libgstswsync.so?");
    }
    Ok(gst::ElementFactory::make(name))
}

/// Waits for the camera, orders a shot, and prints every device's answer. Returns whether all devices saved it.
fn shoot_once_locked(pipeline: &gst::Pipeline, sink: &gst::Element) -> anyhow::Result<bool> {
    wait_for_lock(pipeline)?;

    // Half a second from now: late enough for the order to reach all devices, on WiFi too. A negative delay orders a frame
    // of the past.
    let delay = i64::try_from(gst::ClockTime::from_mseconds(500).nseconds())?;
    let count = 1_u32;
    let order: Option<String> = sink.emit_by_name("shoot", &[&delay, &count]);
    let order = order.context("the order could not be placed; GST_DEBUG=swsyncsink:3 says why")?;
    println!("order {order}");
    wait_for_answers(pipeline, &order)
}

/// Waits until the frames are on the grid: from then on all devices expose at the same instants.
fn wait_for_lock(pipeline: &gst::Pipeline) -> anyhow::Result<()> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        let message = next_element_message(pipeline, deadline).context("waiting for the camera's lock")?;
        if message.name() != "swsync-phase" {
            continue;
        }
        let state: String = message.get("state")?;
        let phase_error_ns: i64 = message.get("phase-error")?;
        println!("camera {state}, {phase_error_ns} ns from the frame grid");
        match state.as_str() {
            "locked" => return Ok(()),
            // Its phase cannot be controlled. Its frames have the same numbers as on other devices, and state their phase error.
            "free" => return Ok(()),
            // searching, aligning, lost: not yet
            _ => {}
        }
    }
}

/// Prints each device's answer to `order`. Returns whether all of them saved everything.
fn wait_for_answers(pipeline: &gst::Pipeline, order: &str) -> anyhow::Result<bool> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let message = next_element_message(pipeline, deadline).context("waiting for answers")?;
        // Other applications may give orders too.
        if !message.get::<String>("order").is_ok_and(|id| id == order) {
            continue;
        }
        match message.name().as_str() {
            // One for each device of the rig, this one included.
            "swsync-order" => {
                let device: String = message.get("device")?;
                for file in texts(&message, "files")? {
                    println!("{device}: {file}");
                }
                for problem in texts(&message, "problems")? {
                    println!("{device}: NOT saved: {problem}");
                }
            }
            "swsync-order-done" => {
                let complete: bool = message.get("complete")?;
                let devices: u32 = message.get("devices")?;
                if let Ok(error) = message.get::<String>("error") {
                    bail!("order {order}: {error}");
                }
                println!("{}complete, devices: {devices}", if complete { "" } else { "NOT " });
                return Ok(complete);
            }
            _ => {}
        }
    }
}

/// The texts in a list.
fn texts(message: &gst::StructureRef, field: &str) -> anyhow::Result<Vec<String>> {
    let list: gst::Array = message.get(field)?;
    list.iter().map(|text| Ok(text.get()?)).collect()
}

/// The structure of the next element message. Errors on the bus, the end of the stream and `deadline` are errors.
fn next_element_message(pipeline: &gst::Pipeline, deadline: Instant) -> anyhow::Result<gst::Structure> {
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    let wanted = [gst::MessageType::Element, gst::MessageType::Error, gst::MessageType::Eos];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let message = bus
            .timed_pop_filtered(gst::ClockTime::try_from(left)?, &wanted)
            .context("nothing came of it in time")?;
        match message.view() {
            gst::MessageView::Element(element) => {
                if let Some(structure) = element.structure() {
                    return Ok(structure.to_owned());
                }
            }
            gst::MessageView::Error(error) => return Err(describe(error)),
            gst::MessageView::Eos(_) => bail!("the stream has ended"),
            _ => {}
        }
    }
}

/// The error that made a state change fail, if one was posted.
fn first_error(pipeline: &gst::Pipeline) -> Option<anyhow::Error> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(error) => Some(describe(error)),
        _ => None,
    }
}

/// An error message in one line, with the advice that swsync's elements add.
fn describe(error: &gst::message::Error) -> anyhow::Error {
    let source = error.src().map_or_else(|| "GStreamer".into(), |source| source.name());
    let details = error.debug().map_or_else(String::new, |debug| format!(" ({debug})"));
    anyhow::anyhow!("{source}: {}{details}", error.error())
}
