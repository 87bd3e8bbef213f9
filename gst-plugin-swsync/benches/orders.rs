//! The cost of swsyncgate and swsyncsink: ring and gate per frame compared with `queue`, files with `multifilesink`, memory with
//! its bound. CPU time and resident memory are those of the whole process.
//!
//! `cargo bench -p gst-plugin-swsync --bench orders`

use std::time::{Duration, Instant};

use gst::prelude::*;
use swsync_core::frame::{FrameInfo, LockState, SyncState};
use swsync_core::grid::FrameGrid;
use swsync_core::name::Name;
use swsync_core::order::{Answer, Order};
use swsync_core::time::Span;
use swsync_rig::{DeviceOutcome, RigConfig, Session};

const CAPS: &str = "image/jpeg,width=1920,height=1080,framerate=30/1";
/// A 1080p JPEG.
const SIZE: usize = 400_000;
const FRAMES: u64 = 3_000;
const SAVED: u32 = 300;
const FIRST: u64 = 50_000_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).expect("a rate")
}

/// Frame `number`, as swsyncsrc and jpegenc make it.
fn frame(number: u64) -> gst::Buffer {
    let mut bytes = vec![0x5a; SIZE];
    bytes[..2].copy_from_slice(&[0xff, 0xd8]);
    let info = FrameInfo {
        sync: SyncState::Synced,
        lock: Some(LockState::Locked),
        ..FrameInfo::new(number, grid().instant(number), Span::ZERO)
    };
    // System memory, as encoders give it: the ring copies frames in other memory.
    let mut buffer = gst::Buffer::with_size(SIZE).expect("memory");
    let writable = buffer.get_mut().expect("nobody else has it");
    writable.copy_from_slice(0, &bytes).expect("it is as large");
    writable.set_pts(pts_of(number));
    gstswsync::meta::attach(writable, &info, None, grid().period(), gstswsync::meta::WallTime::Unix);
    buffer
}

/// CPU time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields: Vec<&str> =
        stat.rsplit(')').next().expect("the name is in brackets").split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10) // USER_HZ is 100
}

fn resident_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096 / 1_000_000
}

/// A pipeline that frames are pushed into, as fast as it takes them.
struct Line {
    pipeline: gst::Pipeline,
    source: gst::Element,
}

impl Line {
    fn new(rest: &str) -> Self {
        let pipeline = gst::parse::launch(&format!(
            "appsrc name=s format=time block=true max-buffers=2 caps={CAPS} ! {rest}"
        ));
        let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("several elements");
        pipeline.set_state(gst::State::Playing).expect("it starts");
        let source = pipeline.by_name("s").expect("named above");
        Self { pipeline, source }
    }

    fn push(&self, buffer: &gst::Buffer) {
        let flow: gst::FlowReturn = self.source.emit_by_name("push-buffer", &[buffer]);
        assert_eq!(flow, gst::FlowReturn::Ok);
    }

    fn end(&self) {
        let flow: gst::FlowReturn = self.source.emit_by_name("end-of-stream", &[]);
        assert_eq!(flow, gst::FlowReturn::Ok);
        let bus = self.pipeline.bus().expect("a pipeline has one");
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted).expect("the end");
        assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Nothing follows that could fail because of it.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn place(rig: &str, first: u64, count: u32) -> Answer {
    let listen = vec!["tcp/127.0.0.1:0".to_owned()];
    let config = RigConfig::new(Name::new(rig).expect("a name"), listen, Vec::new());
    let order = Order::burst(Name::new(format!("o{first}")).expect("a name"), grid().instant(first), count);
    let session = Session::open(&config).expect("a session");
    let summary = session.place(&order.expect("an order"), PATIENCE, |_| {}).expect("it is placed");
    match summary.outcomes.into_iter().next() {
        Some(DeviceOutcome::Answered(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn per_frame(name: &str, rest: &str) {
    let line = Line::new(rest);
    let shared = frame(FIRST);
    let (cpu_before, begun) = (cpu(), Instant::now());
    for number in FIRST..FIRST + FRAMES {
        // Bytes and metas are shared: making them is not measured.
        let mut buffer = shared.copy();
        buffer.make_mut().set_pts(pts_of(number));
        line.push(&buffer);
    }
    line.end();
    let wall = begun.elapsed().as_secs_f64() * 1e6 / FRAMES as f64;
    let cpu = (cpu() - cpu_before).as_secs_f64() * 1e6 / FRAMES as f64;
    println!("{name:<34} {cpu:>8.1} us CPU a frame {wall:>8.1} us wall");
}

fn pts_of(number: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds((number - FIRST) * 100 / 3)
}

/// Measures saving `SAVED` frames.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn throughput(name: &str, write: impl FnOnce() -> f64) {
    let before = cpu();
    let seconds = write();
    let cpu = (cpu() - before).as_secs_f64();
    let bytes = SIZE as f64 * f64::from(SAVED);
    println!("{name:<34} {:>8.1} MB/s {:>8.2} s CPU a GB", bytes / seconds / 1e6, cpu / bytes * 1e9);
}

fn main() {
    gst::init().expect("GStreamer");
    gstswsync::plugin_register_static().expect("the plugin");
    let rig = format!("bench-{}", std::process::id());
    let folder = tempfile::tempdir().expect("a folder");
    let place_in = format!("rig={rig} device-id=pi listen=tcp/127.0.0.1:0");

    per_frame("queue", "queue ! fakesink sync=false");
    per_frame("swsyncgate, no order", &format!("swsyncgate {place_in} ! fakesink sync=false async=false"));

    for bound in [16, 64] {
        let before = resident_mb();
        let line = Line::new(&format!(
            "swsyncgate ring-bytes={} ring-time=3600000000000 {place_in} ! fakesink sync=false async=false",
            bound << 20
        ));
        for number in FIRST..FIRST + 600 {
            line.push(&frame(number));
        }
        let held = resident_mb().saturating_sub(before);
        println!("ring-bytes={bound} MiB: {held} MB more resident memory after 240 MB of frames");
    }

    throughput("multifilesink", || {
        let location = folder.path().join("%05d.jpg");
        let frames: Vec<_> = (FIRST..FIRST + u64::from(SAVED)).map(frame).collect();
        let line = Line::new(&format!("multifilesink location={} sync=false", location.display()));
        let begun = Instant::now();
        frames.iter().for_each(|frame| line.push(frame));
        line.end();
        begun.elapsed().as_secs_f64()
    });
    for durability in ["fast", "safe"] {
        throughput(&format!("swsyncsink durability={durability}"), || {
            let line = Line::new(&format!(
                "swsyncsink {place_in} ring-bytes=500000000 ring-time=3600000000000 durability={durability} location={}",
                folder.path().join(durability).display()
            ));
            for number in FIRST..FIRST + u64::from(SAVED) + 8 {
                line.push(&frame(number));
            }
            std::thread::sleep(Duration::from_millis(200)); // what is in the pipeline arrives
            let begun = Instant::now();
            let answer = place(&rig, FIRST, SAVED);
            assert!(answer.is_complete(), "{answer:?}");
            begun.elapsed().as_secs_f64()
        });
    }
}
