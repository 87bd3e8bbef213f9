//! The libcamera backend against libcamera's virtual cameras.
//!
//! They need libcamera >= 0.4 with the virtual pipeline handler and a `virtual.yaml` with cameras
//! Virtual0 (bars) and Virtual1 (lines), 640x480 and 1280x720. Without them each test says so and
//! passes.

#![cfg(feature = "libcamera")]

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gstswsync::camera::libcamera::{LibcameraCamera, list};
use gstswsync::camera::{Camera, CameraError, Controls, Frame, Pacing, StampedAt, StreamRole, StreamSetup};

const CAPS: &str = "video/x-raw,format=NV12,width=640,height=480,framerate=30/1";

/// Cameras have one user at a time, and so have these tests. `None` if there are no cameras.
fn virtual_cameras() -> Option<MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    gst::init().unwrap();
    let cameras = list().unwrap();
    let there = |id| cameras.iter().any(|camera| camera.id == id);
    if there("Virtual0") && there("Virtual1") {
        Some(guard)
    } else {
        eprintln!("skipped: libcamera has no Virtual0 and Virtual1, but {cameras:?}");
        None
    }
}

fn caps(caps: &str) -> gst::Caps {
    caps.parse().unwrap()
}

fn stream(text: &str) -> StreamSetup {
    StreamSetup::new(caps(text))
}

fn started(name: &str) -> LibcameraCamera {
    let mut camera = LibcameraCamera::open(Some(name)).unwrap();
    camera.configure(&[stream(CAPS)]).unwrap();
    camera.start().unwrap();
    camera
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn capabilities_of_a_virtual_camera() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = LibcameraCamera::open(None).unwrap();
    assert_eq!(camera.id(), "Virtual0");
    let offered = camera.caps(StreamRole::default());
    assert!(caps(CAPS).is_subset(&offered), "{offered}");
    assert!(caps(&CAPS.replace("30/1", "60/1")).is_subset(&offered), "{offered}");
    for not_offered in ["61/1,height=480", "30/1,width=800,height=600"] {
        let one = caps(&format!("video/x-raw,format=NV12,framerate={not_offered}"));
        assert!(!one.can_intersect(&offered), "{one} with {offered}");
    }
    let can = camera.configure(&[stream(CAPS)]).unwrap();
    assert_eq!(can.pacing, Pacing::OnRequest);
    assert_eq!(can.stamped_at, StampedAt::ExposureStart);
    assert!(can.model.contains("Virtual"), "{can:?}");
}

#[test]
fn an_unusable_profile_is_an_error_and_the_camera_is_free_afterwards() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let nowhere = std::path::Path::new("/nonexistent/profile.json");
    let error = LibcameraCamera::open_with(Some("Virtual0"), Some(nowhere)).err().unwrap();
    assert!(matches!(error, CameraError::Profile(_)), "{error}");
    assert!(error.to_string().contains("/nonexistent/profile.json"), "{error}");
    LibcameraCamera::open(Some("Virtual0")).unwrap();
}

#[test]
fn formats_that_libcamera_would_adjust_are_refused() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = LibcameraCamera::open(None).unwrap();
    for (wrong, reason) in [
        (CAPS.replace("640", "800"), "nearest"),
        (CAPS.replace("NV12", "YUY2"), "nearest"),
        (CAPS.replace("30/1", "90/1"), "16666"),
    ] {
        match camera.configure(&[stream(&wrong)]).unwrap_err() {
            CameraError::Format { reason: said, .. } => assert!(said.contains(reason), "{said}"),
            other => panic!("{wrong}: {other}"),
        }
    }
    camera.configure(&[stream(CAPS)]).unwrap();
}

#[test]
fn frames_come_on_request_with_rising_times() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = started("Virtual0");
    let mut last = None;
    for number in 0..60 {
        camera.request(Controls::default()).unwrap();
        let frame = camera.next_frame().unwrap();
        assert_eq!(frame.sequence, number);
        assert_eq!(frame.pictures[0].size(), 640 * 480 * 3 / 2);
        assert!(last.is_none_or(|last| frame.sensor_time > last));
        last = Some(frame.sensor_time);
        let map = frame.pictures[0].map_readable().unwrap();
        assert!(map[..640].iter().any(|luma| *luma != map[0]), "bars differ");
        if let (59, Ok(path)) = (number, std::env::var("SWSYNC_TEST_PGM")) {
            let mut pgm = b"P5 640 720 255\n".to_vec();
            pgm.extend_from_slice(&map);
            std::fs::write(path, pgm).unwrap();
        }
    }
}

#[test]
fn frames_that_were_not_requested_do_not_come() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = started("Virtual0");
    assert!(matches!(camera.next_frame(), Err(CameraError::Failed { .. })));
    let requests = (0..100).take_while(|_| camera.request(Controls::default()).is_ok()).count();
    assert!((1..10).contains(&requests), "bounded: {requests}");
    for _ in 0..requests {
        camera.next_frame().unwrap();
    }
    assert!(matches!(camera.next_frame(), Err(CameraError::Failed { .. })));
}

#[test]
fn two_cameras_stream_at_once() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut cameras = [started("0"), started("Virtual1")];
    assert_eq!(cameras[0].id(), "Virtual0");
    for _ in 0..30 {
        for camera in &mut cameras {
            camera.request(Controls::default()).unwrap();
        }
        let [a, b] = cameras.each_mut().map(|camera| camera.next_frame().unwrap());
        let (a, b) = (a.pictures[0].map_readable().unwrap(), b.pictures[0].map_readable().unwrap());
        assert_ne!(a.as_slice(), b.as_slice(), "bars and lines");
    }
    // Closing one does not disturb the other.
    let [gone, mut stays] = cameras;
    drop(gone);
    stays.request(Controls::default()).unwrap();
    stays.next_frame().unwrap();
}

#[test]
fn a_camera_in_use_is_busy_and_an_unknown_one_not_found() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let held = LibcameraCamera::open(Some("Virtual0")).unwrap();
    let second = LibcameraCamera::open(Some("Virtual0")).err().unwrap();
    assert!(matches!(&second, CameraError::Busy { camera, .. } if camera == "Virtual0"), "{second}");
    let said = second.to_string();
    assert!(said.contains("in use by this process itself") && said.contains("there are: Virtual1"), "{said}");
    drop(held);
    LibcameraCamera::open(Some("Virtual0")).unwrap();

    for name in ["imx219", "99", ""] {
        let unknown = LibcameraCamera::open(Some(name)).err().unwrap();
        assert!(matches!(unknown, CameraError::NotFound { .. }));
        assert!(unknown.to_string().contains("Virtual0, Virtual1"), "{unknown}");
    }
}

#[test]
fn a_camera_starts_stops_and_reopens_fifty_times() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let before = open_descriptors();
    let mut camera = started("Virtual0");
    for round in 0..50 {
        camera.request(Controls::default()).unwrap();
        if round % 2 == 0 {
            assert_eq!(camera.next_frame().unwrap().sequence, 0);
        }
        camera.stop();
        if round % 5 == 0 {
            camera.configure(&[stream(&CAPS.replace("640", "1280").replace("480", "720"))]).unwrap();
        }
        camera.start().unwrap();
    }
    drop(camera);
    for _ in 0..50 {
        let mut camera = started("Virtual1");
        camera.request(Controls::default()).unwrap();
        camera.next_frame().unwrap();
    }
    assert!(open_descriptors() < before + 20, "descriptors leak");
}

#[test]
fn flushing_ends_a_wait_immediately() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = started("Virtual0");
    let wakeup = camera.wakeup();
    let (streaming, is_streaming) = std::sync::mpsc::channel();
    let flusher = std::thread::spawn(move || {
        is_streaming.recv().unwrap();
        wakeup.set_flushing(true);
        Instant::now()
    });
    let ended = loop {
        camera.request(Controls::default()).unwrap();
        match camera.next_frame() {
            Ok(_) => drop(streaming.send(())),
            Err(CameraError::Flushing) => break Instant::now(),
            Err(error) => panic!("{error}"),
        }
    };
    let flushed = flusher.join().unwrap();
    assert!(ended.saturating_duration_since(flushed) < Duration::from_millis(500));
    camera.wakeup().set_flushing(false);
    // The frame still comes afterwards.
    camera.next_frame().unwrap();
}

#[test]
fn cameras_open_and_close_side_by_side() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    // The last one to close ends libcamera's manager, while the other may be about to need it.
    let threads = ["Virtual0", "Virtual1"].map(|name| {
        std::thread::spawn(move || {
            for _ in 0..25 {
                let mut camera = started(name);
                camera.request(Controls::default()).unwrap();
                camera.next_frame().unwrap();
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn calls_out_of_order_are_errors() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = LibcameraCamera::open(None).unwrap();
    assert!(camera.start().is_err());
    assert!(camera.request(Controls::default()).is_err());
    assert!(camera.next_frame().is_err());
    camera.stop();
    camera.configure(&[stream(CAPS)]).unwrap();
    camera.start().unwrap();
    assert!(camera.start().is_err());
    camera.stop();
    camera.stop();
    camera.start().unwrap();
}

/// The address of the first memory of `buffer`, which is that of its frame buffer.
fn place(buffer: &gst::BufferRef) -> usize {
    buffer.peek_memory(0).as_ptr() as usize
}

fn next(camera: &mut LibcameraCamera) -> Frame {
    camera.request(Controls::default()).unwrap();
    camera.next_frame().unwrap()
}

#[test]
fn pictures_are_the_frame_buffers_themselves() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = started("Virtual0");
    let mut places = HashSet::new();
    for _ in 0..60 {
        let frame = next(&mut camera);
        assert!(!frame.copied);
        places.insert(place(&frame.pictures[0]));
        let memory = frame.pictures[0].peek_memory(0);
        assert!(memory.is_memory_type::<gst_allocators::FdMemory>(), "in a file descriptor, not on the heap");
        let meta = frame.pictures[0].meta::<gst_video::VideoMeta>().expect("strides are told");
        assert_eq!((meta.offset(), meta.stride()), (&[0, 640 * 480][..], &[640, 640][..]));
    }
    assert!(places.len() <= 8, "the same few come back: {}", places.len());
}

#[test]
fn a_user_that_keeps_frames_gets_copies_and_the_camera_goes_on() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = started("Virtual0");
    let mut hoard: Vec<Frame> = (0..100).map(|_| next(&mut camera)).collect();
    let copied = hoard.iter().take_while(|frame| !frame.copied).count();
    assert!((1..=8).contains(&copied), "the first ones are no copies: {copied}");
    assert!(hoard[copied..].iter().all(|frame| frame.copied));
    let places: HashSet<_> = hoard.iter().map(|frame| place(&frame.pictures[0])).collect();
    assert_eq!(places.len(), 100, "none is given away twice");
    let picture = |frame: &Frame| frame.pictures[0].map_readable().unwrap().to_vec();
    assert!(picture(&hoard[0]).len() == picture(&hoard[99]).len() && !picture(&hoard[99]).is_empty());

    // One that is dropped, on any thread, is used again.
    let one = hoard.remove(0);
    std::thread::spawn(move || drop(one)).join().unwrap();
    assert!(!next(&mut camera).copied);

    // Frames that are kept stay readable when the camera stops.
    camera.stop();
    drop(camera);
    assert_eq!(picture(&hoard[0]).len(), 640 * 480 * 3 / 2);
}

#[test]
fn two_streams_have_the_same_instant() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = LibcameraCamera::open(Some("Virtual0")).unwrap();
    let large = CAPS.replace("640", "1280").replace("480", "720");
    let finder = StreamSetup { role: StreamRole::ViewFinder, caps: caps(CAPS) };
    camera.configure(&[stream(&large), finder]).unwrap();
    camera.start().unwrap();
    for _ in 0..30 {
        let frame = next(&mut camera);
        let sizes: Vec<_> = frame.pictures[1..].iter().map(|other| other.size()).collect();
        assert_eq!((frame.pictures[0].size(), sizes), (1280 * 720 * 3 / 2, vec![640 * 480 * 3 / 2]));
        assert!(!frame.copied);
    }
    // A request is idle once both of its pictures are back.
    let others: Vec<_> = (0..20).flat_map(|_| next(&mut camera).pictures.split_off(1)).collect();
    assert!(next(&mut camera).copied);
    drop(others);
    assert!(!next(&mut camera).copied);

    let many = vec![stream(CAPS); 9];
    let error = camera.configure(&many).unwrap_err();
    assert!(error.to_string().contains("VideoRecording + VideoRecording"), "{error}");
}

#[test]
fn a_format_is_chosen_as_libcamera_prefers() {
    let Some(_guard) = virtual_cameras() else {
        return;
    };
    let mut camera = LibcameraCamera::open(Some("Virtual0")).unwrap();
    let role = StreamRole::default();
    let mut fixed = |filter: &str| {
        let offered = camera.caps(role).intersect(&caps(filter));
        let fixed = camera.fixate(role, offered);
        assert!(fixed.is_fixed(), "{fixed}");
        camera.configure(&[StreamSetup::new(fixed.clone())]).unwrap();
        fixed.to_string()
    };
    let free = fixed("video/x-raw");
    assert!(free.contains("NV12") && free.contains("30/1"), "{free}");
    assert!(fixed("video/x-raw,width=640").contains("height=(int)480"));
    assert!(fixed("video/x-raw,framerate=[40/1,50/1]").contains("40/1"));
    assert!(fixed("video/x-raw,height=[1,600]").contains("width=(int)640"));
}
