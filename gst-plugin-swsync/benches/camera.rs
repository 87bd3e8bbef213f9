//! What swsyncsrc costs per frame beside a bare libcamera loop: CPU time and allocations.
//!
//! Both take frames of one of libcamera's virtual cameras at the same rate, many times in turn in the same process.
//! CPU time is the whole process's from one frame to the next, of which the median counts. Nearly all of it is libcamera's
//! drawing, the same work for both, which varies more from round to round than all else takes: so the CPU time of all threads
//! but the one that draws is given too, as the mean. Allocations are all calls of malloc and its kin, C and C++ included.
//!
//! `cargo bench -p gst-plugin-swsync --bench camera`. As root it brings virtual cameras of its own, in a mount
//! namespace; else it takes the sizes that there are.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use gst::prelude::*;
use libcamera::camera_manager::CameraManager;
use libcamera::control::ControlList;
use libcamera::framebuffer::{FrameBufferPlane, OwnedFrameBuffer};
use libcamera::geometry::Size;
use libcamera::pixel_format::PixelFormat;
use libcamera::request::{Request, ReuseFlag};
use libcamera::stream::StreamRole;

const CAMERA: &str = "Virtual0";
const SIZES: [(u32, u32); 2] = [(640, 480), (1920, 1080)];
/// Frames a second.
const RATE: u32 = 60;
const WARM_UP: u32 = 15;
const FRAMES: u32 = 40;
const ROUNDS: usize = 40;

/// What a frame may cost beyond the bare loop: a part of it, and so much.
const ALLOWED_PART: f64 = 0.05;
const ALLOWED_US: f64 = 30.0;

/// Virtual cameras as the benchmark needs them, and where libcamera looks for them.
const CAMERAS: &str = r#""Virtual0":
  supported_formats:
  - { width: 640, height: 480, frame_rates: [30, 60] }
  - { width: 1920, height: 1080, frame_rates: [30, 60] }
  test_pattern: "lines"
  location: "CameraLocationFront"
  model: "Virtual camera 0"
"#;
const CAMERAS_AT: &str = "/usr/share/libcamera/pipeline/virtual/virtual.yaml";

/// Set in the process that has them.
const OWN_CAMERAS: &str = "SWSYNC_BENCH_CAMERAS";

/// What the frames of one side took, in all rounds.
#[derive(Debug, Default)]
struct Costs {
    /// CPU time of each frame, in us.
    frames: Vec<f64>,
    /// Of each round, per frame: CPU time of the threads that do not draw, in us, and allocations.
    rounds: Vec<(f64, f64)>,
}

/// Follows the frames of one round.
struct Meter {
    seen: u32,
    cpu_us: f64,
    threads: HashMap<OsString, u64>,
    allocations: u64,
    frames: Vec<f64>,
}

impl Meter {
    fn new() -> Self {
        let frames = Vec::with_capacity(FRAMES as usize);
        Self { seen: 0, cpu_us: 0.0, threads: HashMap::new(), allocations: 0, frames }
    }

    /// A frame has come; whether it was the round's last.
    fn frame(&mut self) -> bool {
        let cpu_us = counting::cpu_us();
        if self.seen > WARM_UP {
            self.frames.push(cpu_us - self.cpu_us);
        }
        if self.seen == WARM_UP {
            (self.threads, self.allocations) = (thread_times(), counting::allocations());
        }
        self.seen += 1;
        // Without what the lines above took.
        self.cpu_us = counting::cpu_us();
        self.seen > WARM_UP + FRAMES
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    fn add_to(self, costs: &mut Costs) {
        let allocations = counting::allocations() - self.allocations;
        let spent = |(thread, ns): (OsString, u64)| ns - self.threads.get(&thread).copied().unwrap_or(0);
        let spent: Vec<u64> = thread_times().into_iter().map(spent).collect();
        let drawing = spent.iter().max().copied().unwrap_or(0);
        let beside_us = (spent.iter().sum::<u64>() - drawing) as f64 / 1e3;
        let frames = f64::from(FRAMES);
        costs.frames.extend(self.frames);
        costs.rounds.push((beside_us / frames, allocations as f64 / frames));
    }
}

/// CPU time of each thread of this process, in ns.
fn thread_times() -> HashMap<OsString, u64> {
    let time = |task: &Path| {
        let stat = std::fs::read_to_string(task.join("schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    tasks.filter_map(|task| Some((task.file_name(), time(&task.path())?))).collect()
}

/// A frame buffer in one memfd, laid out as the camera says.
fn frame_buffer(size: Size, stride: u32) -> OwnedFrameBuffer {
    let (luma, chroma) = (stride * size.height, stride * size.height / 2);
    let memfd = memfd::MemfdOptions::default().create("bench").unwrap();
    memfd.as_file().set_len(u64::from(luma + chroma)).unwrap();
    let plane = |offset, length| FrameBufferPlane {
        fd: OwnedFd::from(memfd.as_file().try_clone().unwrap()),
        offset,
        length,
    };
    OwnedFrameBuffer::new(vec![plane(0, luma), plane(luma, chroma)], None).unwrap()
}

/// Frames with libcamera alone; `None` where the camera has no such size.
fn bare(size: Size, costs: &mut Costs) -> Option<()> {
    let manager = CameraManager::new().unwrap();
    let camera = manager.get(CAMERA)?;
    let mut camera = camera.acquire().unwrap();
    let mut configuration = camera.generate_configuration(&[StreamRole::VideoRecording]).unwrap();
    {
        let mut stream = configuration.get_mut(0).unwrap();
        stream.set_pixel_format(PixelFormat::new(u32::from_le_bytes(*b"NV12"), 0));
        stream.set_size(size);
    }
    configuration.validate();
    let got = configuration.get(0).unwrap().get_size();
    if (got.width, got.height) != (size.width, size.height) {
        return None;
    }
    camera.configure(&mut configuration).unwrap();
    let (stream, stride) = {
        let stream = configuration.get(0).unwrap();
        (stream.stream().unwrap(), stream.get_stride())
    };
    let (completed, completions) = mpsc::channel::<Request>();
    camera.on_request_completed(move |request| drop(completed.send(request)));
    // Frame buffers take turns, as they do in libcamera's own examples.
    let mut idle: VecDeque<Request> = (0..4)
        .map(|cookie| {
            let mut request = camera.create_request(Some(cookie)).unwrap();
            request.add_buffer(&stream, frame_buffer(size, stride)).unwrap();
            request
        })
        .collect();
    camera.start(Some(&ControlList::new())).unwrap();
    let (begun, period) = (Instant::now(), Duration::from_secs(1) / RATE);
    let mut meter = Meter::new();
    for frame in 0.. {
        std::thread::sleep((begun + period * frame).saturating_duration_since(Instant::now()));
        camera.queue_request(idle.pop_front().unwrap()).map_err(|(_, error)| error).unwrap();
        let mut request = completions.recv().unwrap();
        let stamp = request.metadata().get::<libcamera::controls::SensorTimestamp>().unwrap();
        assert!(stamp.0 > 0);
        request.reuse(ReuseFlag::REUSE_BUFFERS);
        idle.push_back(request);
        if meter.frame() {
            break;
        }
    }
    meter.add_to(costs);
    camera.stop().unwrap();
    Some(())
}

/// Frames through `swsyncsrc ! fakesink`.
fn element(size: Size, costs: &mut Costs) {
    let pipeline = gst::parse::launch(&format!(
        "swsyncsrc name=s camera-name={CAMERA} ! \
         video/x-raw,format=NV12,width={},height={},framerate={RATE}/1 ! fakesink name=k sync=false",
        size.width, size.height
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let (done, metered) = mpsc::channel();
    let meter = Mutex::new((Costs::default(), Some(Meter::new())));
    let pad = pipeline.by_name("k").unwrap().static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let (costs, meter) = &mut *meter.lock().unwrap();
        if meter.as_mut().is_some_and(Meter::frame)
            && let Some(meter) = meter.take()
        {
            meter.add_to(costs);
            let _ = done.send(std::mem::take(costs));
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let round = metered.recv_timeout(Duration::from_secs(120)).expect("frames come");
    costs.frames.extend(round.frames);
    costs.rounds.extend(round.rounds);
    let stats = pipeline.by_name("s").unwrap().property::<Option<gst::Structure>>("stats").unwrap();
    assert_eq!(stats.get::<u64>("copied").unwrap(), 0);
    pipeline.set_state(gst::State::Null).unwrap();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "a few rounds")]
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Runs this program again with cameras of its own, where that can be had. Whether it did.
fn ran_with_own_cameras() -> bool {
    if std::env::var_os(OWN_CAMERAS).is_some() || !std::path::Path::new(CAMERAS_AT).exists() {
        return false;
    }
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return false };
    if file.write_all(CAMERAS.as_bytes()).is_err() {
        return false;
    }
    let script = format!("mount --bind \"$1\" {CAMERAS_AT} 2>/dev/null || exit 99; shift; exec \"$@\"");
    // In the root that `./x` keeps, `/` is no mount point, and its mounts are nobody else's already.
    let in_root = std::path::Path::new("/etc/swsync-root").exists();
    let propagation = if in_root { "unchanged" } else { "private" };
    let again = Command::new("unshare")
        .args(["--mount", "--propagation", propagation, "sh", "-c", &script, "sh"])
        .arg(file.path())
        .arg(std::env::current_exe().unwrap())
        .env(OWN_CAMERAS, "1")
        // What libcamera draws from is in other pages in each round, lest one side has better ones in all of them: the time
        // to draw differs from run to run, probably by that.
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .stderr(std::process::Stdio::null())
        .status();
    again.is_ok_and(|status| status.success())
}

fn main() {
    // `cargo test --benches` only wants to know that it builds and starts.
    if std::env::args().any(|argument| argument == "--test") || ran_with_own_cameras() {
        return;
    }
    gst::init().unwrap();
    gstswsync::plugin_register_static().unwrap();
    if !gstswsync::camera::libcamera::list().unwrap_or_default().iter().any(|camera| camera.id == CAMERA) {
        println!("libcamera has no {CAMERA}: nothing to measure");
        return;
    }
    println!("{ROUNDS} rounds of {FRAMES} frames at {RATE}/s each; per frame\n");
    println!(
        "| size | libcamera alone | swsyncsrc ! fakesink | more | allowed | beside drawing | allocations |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (width, height) in SIZES {
        let size = Size { width, height };
        let (mut alone, mut with) = (Costs::default(), Costs::default());
        for _ in 0..ROUNDS {
            if bare(size, &mut alone).is_none() {
                break;
            }
            element(size, &mut with);
        }
        if alone.rounds.is_empty() {
            println!("| {width}x{height} | not offered | | | | | |");
            continue;
        }
        let [cpu_alone, cpu_with] = [&alone, &with].map(|costs| median(costs.frames.clone()));
        let beside = [&alone, &with].map(|costs| mean(costs.rounds.iter().map(|(beside, _)| *beside)));
        let allocations =
            [&alone, &with].map(|costs| median(costs.rounds.iter().map(|(_, count)| *count).collect()));
        println!(
            "| {width}x{height} | {cpu_alone:.0} us | {cpu_with:.0} us | {:+.0} us | {:.0} us | {:.0} / {:.0} us | {:.0} / {:.0} |",
            cpu_with - cpu_alone,
            cpu_alone * ALLOWED_PART + ALLOWED_US,
            beside[0],
            beside[1],
            allocations[0],
            allocations[1]
        );
    }
}

/// CPU time, and malloc and its kin with a count: what an executable defines takes precedence in all its libraries.
mod counting {
    #![allow(unsafe_code, reason = "the allocator's C interface")]

    use std::ffi::{c_int, c_long, c_void};
    use std::sync::atomic::{AtomicU64, Ordering};

    static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

    unsafe extern "C" {
        fn clock() -> c_long;
        fn __libc_malloc(size: usize) -> *mut c_void;
        fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
        fn __libc_realloc(old: *mut c_void, size: usize) -> *mut c_void;
        fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
    }

    pub fn allocations() -> u64 {
        ALLOCATIONS.load(Ordering::Relaxed)
    }

    /// CPU time of all threads, in us: POSIX has a million clocks a second.
    #[expect(clippy::cast_precision_loss, reason = "a run takes minutes")]
    pub fn cpu_us() -> f64 {
        // SAFETY: it takes nothing and only returns a number.
        unsafe { clock() as f64 }
    }

    fn count() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
        count();
        // SAFETY: as the caller promises.
        unsafe { __libc_malloc(size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn calloc(number: usize, size: usize) -> *mut c_void {
        count();
        // SAFETY: as the caller promises.
        unsafe { __libc_calloc(number, size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn realloc(old: *mut c_void, size: usize) -> *mut c_void {
        count();
        // SAFETY: as the caller promises.
        unsafe { __libc_realloc(old, size) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
        const NO_MEMORY: c_int = 12;
        count();
        // SAFETY: as the caller promises.
        unsafe {
            *out = __libc_memalign(alignment, size);
            if (*out).is_null() { NO_MEMORY } else { 0 }
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
        count();
        // SAFETY: as the caller promises.
        unsafe { __libc_memalign(alignment, size) }
    }
}
