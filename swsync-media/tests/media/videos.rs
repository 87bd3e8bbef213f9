//! Pictures and videos, made and read with GStreamer.

use std::fs;
use std::path::Path;

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
    /// `count` frames of a pattern of videotestsrc. Every tenth is a key frame.
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

    /// The output of these elements.
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

/// Runs one of the Python scripts in tests/tools, with the packages of tools/python.txt; `None` if they are not installed, as
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
