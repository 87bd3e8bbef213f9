//! Takes on disk, as devices write them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use swsync_core::frame::{FrameDetails, FrameInfo, LockState, SyncQuality};
use swsync_core::grid::FrameGrid;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, Hole, SCHEMA, Segment, TAKE_JSON, Take};
use swsync_core::name::Name;
use swsync_core::order::Fill;
use swsync_core::time::{Span, Timestamp};

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// The first frame number of takes.
pub const FIRST: u64 = 54_000_000_000;

/// What is known of frame `number` of a camera at 30 frames per second whose frames are 5 us late.
pub fn info(number: u64) -> FrameInfo {
    FrameInfo {
        number,
        rig_time_ns: grid().instant(number) + Span::from_micros(5),
        phase_error_ns: Span::from_micros(5),
        clock_uncertainty_ns: Some(Span::from_micros(20)),
        sync: SyncQuality::Synced,
        lock: Some(LockState::Locked),
        exposure_ns: Some(Span::from_millis(4)),
        analogue_gain: Some(1.5),
        sensor_time_ns: None,
        details: FrameDetails::default(),
    }
}

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

/// A device's part of a take, before it is written.
pub struct Part {
    pub take: Take,
    pub records: Vec<FrameRecord>,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Part {
    /// A take of `count` frames on `device`, of which nothing is saved.
    pub fn new(order: &str, device: &str, count: u64) -> Self {
        let take = Take {
            schema: SCHEMA,
            order: name(order),
            ordered: serde_json::Value::Null,
            device: name(device),
            host: device.into(),
            software: "test".into(),
            camera: Some("imx708".into()),
            orientation: None,
            maker: None,
            settings: Default::default(),
            caps: "image/jpeg, width=16, height=16, framerate=30/1".into(),
            grid: grid(),
            first: FIRST,
            count,
            segments: Vec::new(),
            holes: Vec::new(),
            lead_in: 0,
            removed: None,
            fill: Fill::Hold,
            started_ns: grid().instant(FIRST),
            accepted_ns: None,
            finished_ns: Some(grid().instant(FIRST + count)),
            complete: true,
        };
        Self { take, records: Vec::new(), files: BTreeMap::new() }
    }

    /// A picture of each frame but for `dropped`, which are holes.
    pub fn pictures(mut self, dropped: &[u64], picture: impl Fn(u64) -> Vec<u8>) -> Self {
        for index in 0..self.take.count {
            if dropped.contains(&index) {
                self = self.hole(index);
                continue;
            }
            self = self.picture(index, picture(index));
        }
        self
    }

    /// A picture of frame `index`.
    pub fn picture(mut self, index: u64, bytes: Vec<u8>) -> Self {
        let file = format!("{:08}.jpg", FIRST + index);
        self.record(index, &file, 0, bytes.len());
        self.files.insert(file, bytes);
        self
    }

    /// A video file of frames from `index` on, but for `dropped` ones.
    pub fn video(self, index: u64, count: u64, dropped: &[u64], bytes: Vec<u8>) -> Self {
        let lead_in = if self.take.segments.is_empty() { self.take.lead_in } else { 0 };
        self.video_after(lead_in, index, count, dropped, bytes)
    }

    /// A video file that begins with `lead_in` pictures of before.
    pub fn video_after(
        mut self,
        lead_in: u64,
        index: u64,
        count: u64,
        dropped: &[u64],
        bytes: Vec<u8>,
    ) -> Self {
        let file = format!("{:04}.mp4", self.take.segments.len());
        let mut offset = lead_in;
        for index in index..index + count {
            if dropped.contains(&index) {
                self = self.hole(index);
            } else {
                self.record(index, &file, offset, 10);
                offset += 1;
            }
        }
        let segment = Segment {
            file: file.clone(),
            first: FIRST + index,
            count,
            bytes: bytes.len() as u64,
            lead_in: Some(lead_in),
            sha256: None,
        };
        self.take.segments.push(segment);
        self.files.insert(file, bytes);
        self
    }

    fn hole(mut self, index: u64) -> Self {
        self.take.holes.push(Hole::run(FIRST + index, 1, "the camera dropped this frame"));
        self
    }

    fn record(&mut self, index: u64, file: &str, offset: u64, bytes: usize) {
        self.records.push(FrameRecord {
            order: self.take.order.clone(),
            device: self.take.device.clone(),
            file: file.into(),
            offset,
            bytes: bytes as u64,
            info: info(FIRST + index),
        });
    }

    /// Writes it below `root` and returns its folder.
    pub fn write(&self, root: &Path) -> PathBuf {
        let folder = root.join(self.take.order.as_str()).join(self.take.device.as_str());
        fs::create_dir_all(&folder).unwrap();
        for (file, bytes) in &self.files {
            fs::write(folder.join(file), bytes).unwrap();
        }
        let manifest: String = self.records.iter().map(FrameRecord::to_line).collect();
        fs::write(folder.join(FRAMES_JSONL), manifest).unwrap();
        fs::write(folder.join(TAKE_JSON), self.take.to_json()).unwrap();
        folder
    }

    /// As of a take that began `secs` later.
    pub fn later(mut self, secs: i64) -> Self {
        self.take.started_ns = Timestamp::from_nanos(self.take.started_ns.as_nanos() + secs * 1_000_000_000);
        self
    }
}

/// A grey JPEG: the shade tells pictures apart.
pub fn grey(shade: u8) -> Vec<u8> {
    let picture = image::DynamicImage::from(image::GrayImage::from_pixel(64, 48, image::Luma([shade])));
    let mut jpeg = Vec::new();
    picture.into_rgb8().write_to(&mut std::io::Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
    jpeg
}

/// The shade of a picture that is grey all over.
pub fn shade(path: &Path) -> u8 {
    let picture =
        image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_luma8();
    let sum: u64 = picture.pixels().map(|pixel| u64::from(pixel.0[0])).sum();
    u8::try_from(sum / u64::from(picture.width() * picture.height())).unwrap()
}

/// Runs a GStreamer pipeline to its end, and counts the frames that reach the element `out`.
pub fn run_pipeline(description: &str) -> usize {
    let frames = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = frames.clone();
    run_with(description, move |_, _| {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    frames.load(std::sync::atomic::Ordering::Relaxed)
}

/// Runs a GStreamer pipeline to its end, and shows what reaches the element `out`.
fn run_with(description: &str, on_frame: impl Fn(&gst::Pad, &gst::Buffer) + Send + Sync + 'static) {
    use gst::prelude::*;
    gst::init().unwrap();
    let pipeline = gst::parse::launch(description).unwrap().downcast::<gst::Pipeline>().unwrap();
    if let Some(out) = pipeline.by_name("out") {
        out.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            on_frame(pad, info.buffer().unwrap());
            gst::PadProbeReturn::Ok
        });
    }
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_for_end(&pipeline, description);
}

fn wait_for_end(pipeline: &gst::Pipeline, description: &str) {
    use gst::prelude::*;
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(message.expect("ends").type_(), gst::MessageType::Eos, "{description}");
}

/// An MP4 of H.264 whose pictures have these shades.
pub fn video(shades: &[u8]) -> Vec<u8> {
    sized_video(shades, "")
}

/// A video of pictures that have this size, in the words of caps.
pub fn sized_video(shades: &[u8], size: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (index, shade) in shades.iter().enumerate() {
        fs::write(folder.path().join(format!("{index}.jpg")), grey(*shade)).unwrap();
    }
    let (path, last) = (folder.path().display(), shades.len() - 1);
    run_pipeline(&format!(
        "multifilesrc location={path}/%d.jpg start-index=0 stop-index={last} \
         caps=image/jpeg,framerate=30/1 ! jpegdec ! videoconvert ! videoscale ! video/x-raw{size} ! x264enc bframes=0 quantizer=10 pass=quant ! \
         video/x-h264,profile=constrained-baseline ! mp4mux ! filesink location={path}/out.mp4"
    ));
    fs::read(folder.path().join("out.mp4")).unwrap()
}

/// What an encoder of H.264 made: frames that build on one another, out of which takes are cut.
pub struct Stream {
    caps: gst::Caps,
    frames: Vec<gst::Buffer>,
}

impl Stream {
    /// `count` frames of one of videotestsrc's patterns, each tenth of them a key frame.
    pub fn of(pattern: &str, count: usize) -> Self {
        use gst::prelude::*;
        let frames = std::sync::Arc::new(std::sync::Mutex::new((None, Vec::new())));
        let made = frames.clone();
        let description = format!(
            "videotestsrc pattern={pattern} num-buffers={count} ! video/x-raw,format=I420,width=64,height=48,framerate=30/1 ! \
             x264enc bframes=0 aud=true key-int-max=10 option-string=scenecut=0 ! video/x-h264,profile=main ! h264parse ! \
             video/x-h264,stream-format=byte-stream,alignment=au ! fakesink name=out sync=false"
        );
        run_with(&description, move |pad, buffer| {
            let mut made = made.lock().unwrap();
            made.0 = pad.current_caps();
            made.1.push(buffer.clone());
        });
        let (caps, frames) = std::mem::take(&mut *frames.lock().unwrap());
        assert_eq!(frames.len(), count);
        Self { caps: caps.unwrap(), frames }
    }

    /// An MP4 of some of its frames as they are.
    pub fn mp4(&self, frames: std::ops::RangeInclusive<usize>) -> Vec<u8> {
        self.feed(&self.frames[frames], "h264parse ! mp4mux")
    }

    /// Its pictures, decoded.
    pub fn pictures(&self) -> Vec<u8> {
        self.feed(&self.frames, &format!("h264parse ! {DECODE}"))
    }

    /// What comes out of these elements.
    fn feed(&self, frames: &[gst::Buffer], elements: &str) -> Vec<u8> {
        use gst::prelude::*;
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let description =
            format!("appsrc name=in format=time ! {elements} ! filesink location={}", out.display());
        let pipeline = gst::parse::launch(&description).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("in").unwrap();
        source.set_property("caps", &self.caps);
        pipeline.set_state(gst::State::Playing).unwrap();
        for frame in frames {
            let pushed: gst::FlowReturn = source.emit_by_name("push-buffer", &[frame]);
            assert_eq!(pushed, gst::FlowReturn::Ok);
        }
        let ended: gst::FlowReturn = source.emit_by_name("end-of-stream", &[]);
        assert_eq!(ended, gst::FlowReturn::Ok);
        wait_for_end(&pipeline, &description);
        fs::read(out).unwrap()
    }
}

/// Decodes parsed H.264 to pictures of 64x48 in I420.
const DECODE: &str = "openh264dec ! videoconvert ! video/x-raw,format=I420";

/// Size of such a picture, in bytes.
pub const PICTURE: usize = 64 * 48 * 3 / 2;

/// Decodes a byte stream of H.264.
pub fn decoded(stream: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, stream).unwrap();
    run_pipeline(&format!(
        "filesrc location={} ! h264parse ! {DECODE} ! filesink location={}",
        from.display(),
        to.display()
    ));
    fs::read(to).unwrap()
}

/// The pictures of an MP4.
pub fn pictures_in(video: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    run_pipeline(&format!(
        "filesrc location={} ! qtdemux ! h264parse ! {DECODE} ! filesink location={}",
        video.display(),
        to.display()
    ));
    fs::read(to).unwrap()
}

/// Runs one of the Python scripts in tests/tools, with what tools/python.txt names; `None` where that is not installed, as
/// in a bare `cargo test`. With `./x` it is.
pub fn python(script: &str, arguments: &[&Path]) -> Option<String> {
    let Some(python) = std::env::var_os("SWSYNC_PYTHON") else {
        assert!(std::env::var_os("CI").is_none(), "SWSYNC_PYTHON is not set: see tools/python.sh");
        eprintln!("skipped: SWSYNC_PYTHON is not set, see tools/python.sh");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(script);
    let ran = std::process::Command::new(python).arg(&script).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&ran.stderr));
    Some(String::from_utf8(ran.stdout).unwrap())
}
