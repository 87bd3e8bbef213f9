//! Cost of a frame with swsyncsrc, compared with a bare libcamera loop: CPU time and allocations.
//!
//! Both take frames of a virtual camera of libcamera at the same rate, many times in turn in the same process. A further thread
//! measures, and does not count. CPU time is that of all other threads for one frame; the median frame counts. Nearly all of it
//! is libcamera's drawing, which is the same work for both but varies more than everything else takes. So the CPU time of all
//! threads except the one that draws is given too, as the mean of a round; the median round counts. Differences have their
//! standard errors. Allocations are all calls of malloc and its variants, also from C and C++.
//!
//! `cargo bench -p gst-plugin-swsync --bench camera`. As root it uses virtual cameras of its own, in a mount
//! namespace; otherwise it uses the sizes that the installed ones have.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
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
const WARM_UP: u64 = 15;
const FRAMES: u32 = 40;
const ROUNDS: usize = 60;
/// Parts of the rounds, for standard errors. Every tenth round is in the same part, so that slow changes of the machine do not count
/// as noise.
const PARTS: usize = 10;

/// What a frame may cost beyond the bare loop: a part of it, plus a constant.
const ALLOWED_PART: f64 = 0.05;
const ALLOWED_US: f64 = 30.0;

/// The virtual cameras, and the file in which libcamera looks for them.
const CAMERAS: &str = r#""Virtual0":
  supported_formats:
  - { width: 640, height: 480, frame_rates: [30, 60] }
  - { width: 1920, height: 1080, frame_rates: [30, 60] }
  test_pattern: "lines"
  location: "CameraLocationFront"
  model: "Virtual camera 0"
"#;
const CAMERAS_AT: &str = "/usr/share/libcamera/pipeline/virtual/virtual.yaml";

/// Set in the process that has its own virtual cameras.
const OWN_CAMERAS: &str = "SWSYNC_BENCH_CAMERAS";

/// Costs of one round.
#[derive(Debug)]
struct Costs {
    /// CPU time of each frame, in us.
    frames: Vec<f64>,
    /// Per frame: CPU time of the threads that do not draw, in us.
    beside: f64,
    /// Per frame.
    allocations: f64,
}

/// Measures the frames that come from now on; `count` is the number of frames so far.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn measure(count: impl Fn() -> u64) -> Costs {
    let (start, period) = (Instant::now(), Duration::from_secs(1) / RATE);
    while count() < WARM_UP {
        assert!(start.elapsed() < Duration::from_secs(60), "no frames come");
        std::thread::sleep(Duration::from_millis(1));
    }
    // A frame has just come: a quarter of a period later no frame is being handled.
    let begun = Instant::now() + period / 4;
    let sleep_until = |at: Instant| std::thread::sleep(at.saturating_duration_since(Instant::now()));
    sleep_until(begun);
    let mut frames = Vec::with_capacity(FRAMES as usize);
    let (before, threads, allocations) = (count(), thread_times(), process::allocations());
    for frame in 1..=FRAMES {
        let cpu_us = process::cpu_us_of_others();
        sleep_until(begun + period * frame);
        frames.push(process::cpu_us_of_others() - cpu_us);
    }
    let allocations = process::allocations() - allocations;
    let ended = thread_times();
    let came = (count() - before) as f64;
    let spent = |(thread, ns): (OsString, u64)| ns - threads.get(&thread).copied().unwrap_or(0);
    let spent: Vec<u64> = ended.into_iter().map(spent).collect();
    let (all, drawing) = (spent.iter().sum::<u64>(), spent.iter().max().copied().unwrap_or(0));
    let per_frame = |total: u64| total as f64 / came;
    Costs { frames, beside: per_frame(all - drawing) / 1e3, allocations: per_frame(allocations) }
}

/// CPU time of each thread of this process but this one, in ns.
fn thread_times() -> HashMap<OsString, u64> {
    let time = |task: &Path| {
        let stat = std::fs::read_to_string(task.join("schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok()
    };
    let this = std::fs::read_link("/proc/thread-self").expect("Linux");
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let tasks = tasks.filter(|task| Some(task.file_name().as_os_str()) != this.file_name());
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

/// Takes frames with libcamera alone until `measured`; `None` if the camera does not have this size.
fn bare(size: Size, taken: &AtomicU64, measured: &AtomicBool) -> Option<()> {
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
    for frame in 0.. {
        std::thread::sleep((begun + period * frame).saturating_duration_since(Instant::now()));
        camera.queue_request(idle.pop_front().unwrap()).map_err(|(_, error)| error).unwrap();
        let mut request = completions.recv().unwrap();
        let stamp = request.metadata().get::<libcamera::controls::SensorTimestamp>().unwrap();
        assert!(stamp.0 > 0);
        request.reuse(ReuseFlag::REUSE_BUFFERS);
        idle.push_back(request);
        taken.fetch_add(1, Ordering::Relaxed);
        if measured.load(Ordering::Relaxed) {
            break;
        }
    }
    camera.stop().unwrap();
    Some(())
}

/// Costs with libcamera alone; `None` if the camera does not have this size.
fn alone(size: Size) -> Option<Costs> {
    let (taken, measured) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let frames = scope.spawn(|| bare(size, &taken, &measured));
        while taken.load(Ordering::Relaxed) == 0 && !frames.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let costs = (!frames.is_finished()).then(|| measure(|| taken.load(Ordering::Relaxed)));
        measured.store(true, Ordering::Relaxed);
        frames.join().unwrap().and(costs)
    })
}

/// Costs of `swsyncsrc ! fakesink`.
fn element(size: Size) -> Costs {
    let pipeline = gst::parse::launch(&format!(
        "swsyncsrc name=s camera-name={CAMERA} ! \
         video/x-raw,format=NV12,width={},height={},framerate={RATE}/1 ! fakesink name=k sync=false",
        size.width, size.height
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let stat = |element: &str, stat: &str| {
        let stats = pipeline.by_name(element).unwrap().property::<Option<gst::Structure>>("stats");
        stats.and_then(|stats| stats.get::<u64>(stat).ok())
    };
    pipeline.set_state(gst::State::Playing).unwrap();
    let costs = measure(|| stat("k", "rendered").unwrap());
    assert_eq!(stat("s", "copied"), Some(0));
    pipeline.set_state(gst::State::Null).unwrap();
    costs
}

/// Runs this program again with cameras of its own, if possible; whether it did.
fn ran_with_own_cameras() -> bool {
    if std::env::var_os(OWN_CAMERAS).is_some() || !std::path::Path::new(CAMERAS_AT).exists() {
        return false;
    }
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return false };
    if file.write_all(CAMERAS.as_bytes()).is_err() {
        return false;
    }
    let script = format!("mount --bind \"$1\" {CAMERAS_AT} 2>/dev/null || exit 99; shift; exec \"$@\"");
    // In the root of `./x`, `/` is no mount point, and mounts are private already.
    let in_root = std::path::Path::new("/etc/swsync-root").exists();
    let propagation = if in_root { "unchanged" } else { "private" };
    let again = Command::new("unshare")
        .args(["--mount", "--propagation", propagation, "sh", "-c", &script, "sh"])
        .arg(file.path())
        .arg(std::env::current_exe().unwrap())
        .env(OWN_CAMERAS, "1")
        // Each round gets other pages for libcamera's pattern, so that neither side has better ones in all rounds.
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
        "| size | libcamera alone | swsyncsrc ! fakesink | more | allowed | beside drawing: alone | with | more | allocations |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (width, height) in SIZES {
        let size = Size { width, height };
        let rounds: Option<Vec<_>> = (0..ROUNDS).map(|_| Some((alone(size)?, element(size)))).collect();
        let Some(rounds) = rounds else {
            println!("| {width}x{height} | not offered | | | | | | | |");
            continue;
        };
        let all = More::of(&rounds, |rounds| median(rounds.iter().flat_map(|costs| costs.frames.clone())));
        let beside = More::of(&rounds, |rounds| median(rounds.iter().map(|costs| costs.beside)));
        let allocations = More::of(&rounds, |rounds| median(rounds.iter().map(|costs| costs.allocations)));
        println!(
            "| {width}x{height} | {:.0} us | {:.0} us | {all} | {:.0} us | {:.0} us | {:.0} us | {beside} | {:.0} / {:.0} |",
            all.alone,
            all.with,
            all.alone * ALLOWED_PART + ALLOWED_US,
            beside.alone,
            beside.with,
            allocations.alone,
            allocations.with,
        );
    }
}

/// What swsyncsrc takes more than libcamera alone, with the standard error from the parts of the rounds.
struct More {
    alone: f64,
    with: f64,
    error: f64,
}

impl More {
    /// By `figure` of all rounds, and of each part.
    #[expect(clippy::cast_precision_loss, reason = "the counts are small")]
    fn of(rounds: &[(Costs, Costs)], figure: impl Fn(&[&Costs]) -> f64) -> Self {
        let of = |rounds: &[&(Costs, Costs)]| {
            let (alone, with): (Vec<_>, Vec<_>) = rounds.iter().map(|(alone, with)| (alone, with)).unzip();
            (figure(&alone), figure(&with))
        };
        let part = |part| rounds.iter().skip(part).step_by(PARTS).collect::<Vec<_>>();
        let parts = (0..PARTS).map(|number| of(&part(number))).map(|(alone, with)| with - alone);
        let parts: Vec<f64> = parts.collect();
        let mean = parts.iter().sum::<f64>() / PARTS as f64;
        let variance = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / (PARTS - 1) as f64;
        let (alone, with) = of(&rounds.iter().collect::<Vec<_>>());
        Self { alone, with, error: (variance / PARTS as f64).sqrt() }
    }
}

impl std::fmt::Display for More {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:+.0} ± {:.0} us", self.with - self.alone, self.error)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// CPU time, and counting variants of malloc: an executable's definitions take precedence in all its libraries.
mod process {
    #![allow(unsafe_code, reason = "the allocator's C interface")]

    use std::ffi::{c_int, c_long, c_void};
    use std::sync::atomic::{AtomicU64, Ordering};

    static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

    const CLOCK_PROCESS_CPUTIME_ID: c_int = 2;
    const CLOCK_THREAD_CPUTIME_ID: c_int = 3;

    unsafe extern "C" {
        fn clock_gettime(clock: c_int, timespec: *mut [c_long; 2]) -> c_int;
        fn __libc_malloc(size: usize) -> *mut c_void;
        fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
        fn __libc_realloc(old: *mut c_void, size: usize) -> *mut c_void;
        fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
    }

    pub fn allocations() -> u64 {
        ALLOCATIONS.load(Ordering::Relaxed)
    }

    /// CPU time of all threads but this one, in us.
    #[expect(clippy::cast_precision_loss, reason = "a run takes minutes")]
    pub fn cpu_us_of_others() -> f64 {
        let us = |clock| {
            let mut timespec = [0; 2];
            // SAFETY: on Linux a timespec is two longs where `clock_gettime` is not one of the 64-bit kind on 32 bits.
            assert_eq!(unsafe { clock_gettime(clock, &raw mut timespec) }, 0);
            timespec[0] as f64 * 1e6 + timespec[1] as f64 / 1e3
        };
        us(CLOCK_PROCESS_CPUTIME_ID) - us(CLOCK_THREAD_CPUTIME_ID)
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
