//! `swsyncsink` with encoded video: a file per segment of a take.

mod common;

use common::sink::{NOW, Sink, answer, content, grid, manifest, rig, take};
use gst::prelude::*;
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{DeviceFrames, missing_frames};
use swsync_core::name::Name;
use swsync_core::order::{Fill, Order, OrderKind};
use swsync_core::time::{Span, Timestamp};

/// A stream without a container, so that tests can check a file's bytes.
const CODED: &str = "video/x-h264,stream-format=byte-stream,alignment=au,width=160,height=120,framerate=30/1";

/// A sink of bare video.
fn sink() -> Sink {
    let folder = tempfile::tempdir().unwrap();
    Sink::reopen(folder, &rig(), CODED, |element, folder| {
        let pattern = format!("{}/{{take}}/{{device}}/{{segment}}.{{ext}}", folder.display());
        element.set_property("location", pattern.replace("{ext}", "h264"));
    })
}

/// A take of the frames `first..end`, in files of a second.
fn order(id: &str, first: FrameNumber, end: FrameNumber) -> Order {
    let kind = OrderKind::Take { segment: Some(Span::from_secs(1)), fill: Fill::None };
    Order::new(Name::new(id).unwrap(), grid().instant(first), Some(grid().instant(end)), kind).unwrap()
}

/// The frame numbers for which the sink requested key frames.
fn requested_keys(sink: &mut Sink) -> Vec<FrameNumber> {
    let mut numbers = Vec::new();
    while let Some(event) = sink.harness.try_pull_upstream_event() {
        if let Ok(request) = gst_video::UpstreamForceKeyUnitEvent::parse(&event) {
            let running = request.running_time.expect("of a certain frame");
            let base = sink.element.base_time().unwrap();
            let at = Timestamp::from_nanos(i64::try_from((base + running).nseconds()).unwrap());
            // The first frame that is not earlier.
            numbers.push(grid().nearest(at + grid().period() / 2));
        }
    }
    numbers
}

/// Waits until the sink has taken an order.
fn wait_for_order(sink: &Sink, id: &str) {
    let journal = sink.folder.path().join(".swsync/pi.journal");
    common::eventually("the order is with the sink", || {
        std::fs::read_to_string(&journal).is_ok_and(|text| text.contains(&format!("\"{id}\"")))
    });
}

fn bare(numbers: impl Iterator<Item = FrameNumber>) -> String {
    numbers.map(content).collect()
}

#[test]
fn a_future_take_begins_and_is_cut_at_requested_key_frames() {
    let mut sink = sink();
    for number in NOW - 40..=NOW {
        sink.push_coded(number, (NOW - number).is_multiple_of(20));
    }
    let (first, end) = (NOW + 40, NOW + 115);
    let placed = sink.place(order("t", first, end));
    wait_for_order(&sink, "t");
    let mut wanted = Vec::new();
    for number in NOW + 1..NOW + 140 {
        wanted.extend(requested_keys(&mut sink));
        sink.push_coded(number, wanted.contains(&number));
    }
    let answer = answer(placed);
    assert!(answer.is_complete() && answer.named() == 75, "{answer:?}");
    wanted.dedup();
    assert_eq!(wanted[..3], [first, first + 30, first + 60]);
    let folder = sink.order("t");
    for (segment, range) in [(0, first..first + 30), (1, first + 30..first + 60), (2, first + 60..end)] {
        let name = format!("{segment:04}");
        assert_eq!(
            std::fs::read_to_string(folder.join(&name).with_extension("h264")).unwrap(),
            bare(range.clone())
        );
        let times = std::fs::read_to_string(folder.join(&name).with_extension("pts")).unwrap();
        assert_eq!(times.lines().count() as u64, 1 + range.end - range.start);
        for (record, offset) in manifest(&folder).iter().filter(|r| range.contains(&r.info.number)).zip(0..) {
            assert_eq!((record.file.as_str(), record.offset), (format!("{name}.h264").as_str(), offset));
        }
    }
    let take = take(&folder);
    let covers: Vec<_> = take.segments.iter().map(|segment| (segment.first, segment.count)).collect();
    assert_eq!(covers, [(first, 30), (first + 30, 30), (first + 60, 15)]);
    assert!(
        take.complete && take.holes.is_empty() && (take.first, take.count, take.lead_in) == (first, 75, 0)
    );
}

#[test]
fn a_take_of_the_past_begins_with_the_last_key_frame() {
    let mut sink = sink();
    for number in NOW - 100..=NOW {
        sink.push_coded(number, number.is_multiple_of(25));
    }
    let (first, end) = (NOW - 60, NOW - 20); // key frames are NOW - 75, NOW - 50 and NOW - 25
    let answer = answer(sink.place(order("t", first, end)));
    assert!(answer.is_complete() && answer.named() == 40, "{answer:?}");
    let folder = sink.order("t");
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(text("0000.h264"), bare(NOW - 75..NOW - 30));
    assert_eq!(text("0001.h264"), bare(NOW - 50..NOW - 20));
    let records = manifest(&folder);
    let numbers: Vec<_> = records.iter().map(|record| record.info.number).collect();
    assert_eq!(numbers, (first..end).collect::<Vec<_>>(), "lead-in frames have no records");
    assert_eq!((records[0].offset, records[29].offset, records[30].offset), (15, 44, 20));
    assert_eq!(take(&folder).lead_in, 15);
    let lead_ins: Vec<_> = take(&folder).segments.iter().map(|segment| segment.lead_in).collect();
    assert_eq!(lead_ins, [Some(15), Some(20)], "each segment's own");
    assert_eq!(text("0000.pts").lines().count(), 46);
}

#[test]
fn holes_are_written_down_and_files_cover_the_same_numbers() {
    let mut sink = sink();
    for number in (NOW - 100..=NOW).filter(|number| !(NOW - 55..NOW - 50).contains(number)) {
        sink.push_coded(number, number.is_multiple_of(20));
    }
    let (first, end) = (NOW - 60, NOW);
    let answer = answer(sink.place(order("t", first, end)));
    assert_eq!((answer.named(), answer.saved()), (60, 55), "{answer:?}");
    let take = take(&sink.order("t"));
    assert_eq!(take.holes.iter().map(|hole| (hole.first, hole.count)).collect::<Vec<_>>(), [(NOW - 55, 5)]);
    let covers: Vec<_> = take.segments.iter().map(|segment| (segment.first, segment.count)).collect();
    assert_eq!(covers, [(first, 30), (first + 30, 30)]);
    assert_eq!((take.first, take.count), (first, 60));
}

#[test]
fn stills_of_a_video_are_files_of_their_own() {
    for is_there in [true, false] {
        let mut sink = sink();
        for number in (NOW - 100..=NOW).filter(|number| is_there || *number != NOW - 40) {
            sink.push_coded(number, number.is_multiple_of(25));
        }
        let kind = OrderKind::Still { every: Some(Span::from_secs(1)), count: Some(3) };
        let order = Order::new(Name::new("s").unwrap(), grid().instant(NOW - 70), None, kind).unwrap();
        let answer = answer(sink.place(order));
        assert_eq!((answer.named(), answer.is_complete()), (3, is_there), "{answer:?}");
        let folder = sink.order("s");
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(text("0000.h264"), bare(NOW - 75..NOW - 69));
        assert_eq!(text("0002.h264"), bare(NOW - 25..NOW - 9));
        let stills: Vec<_> = (NOW - 70..NOW).step_by(30).filter(|n| is_there || *n != NOW - 40).collect();
        let saved: Vec<_> = manifest(&folder).iter().map(|record| record.info.number).collect();
        assert_eq!(saved, stills);
        let take = take(&folder);
        let covers: Vec<_> = take.segments.iter().map(|segment| (segment.first, segment.count)).collect();
        assert_eq!(covers, stills.iter().map(|number| (*number, 1)).collect::<Vec<_>>());
        assert_eq!((take.complete, take.first, take.count, take.lead_in), (true, NOW - 70, 3, 5));
        let (device, saved) = (take.device.clone(), take.order_index().set_of(saved));
        let gaps = missing_frames(&[DeviceFrames { device, take: Some(take), saved }]);
        let gaps: Vec<_> = gaps.iter().map(|gap| (gap.first, gap.count)).collect();
        assert_eq!(gaps, if is_there { vec![] } else { vec![(NOW - 40, 1)] });
    }
}

/// Caps change in the middle of a file, at its end, and after reordered frames.
#[test]
fn another_file_goes_on_when_caps_change() {
    let mut sink = sink();
    sink.push_coded(NOW, true);
    let (first, end) = (NOW + 1, NOW + 121);
    let placed = sink.place(order("t", first, end));
    wait_for_order(&sink, "t");
    let form = |size: &str| CODED.replace("width=160,height=120", size);
    let (wide, narrow) = (form("width=320,height=240"), form("width=80,height=60"));
    for number in first..first + 20 {
        sink.push_coded(number, number == first);
    }
    // 5 frames are missing.
    sink.harness.set_src_caps_str(&wide);
    for number in [25, 28, 26, 27, 29].map(|at| first + at) {
        sink.push_coded(number, number == first + 25);
    }
    sink.harness.set_src_caps_str(&narrow);
    for number in (first + 30..first + 50).chain(first + 60..end + 40) {
        if number == first + 60 {
            sink.harness.set_src_caps_str(CODED);
        }
        sink.push_coded(number, (number - first).is_multiple_of(30));
    }
    let answer = answer(placed);
    assert_eq!((answer.named(), answer.saved()), (120, 105), "{answer:?}");
    let take = take(&sink.order("t"));
    let covers: Vec<_> = take.segments.iter().map(|s| (s.file.as_str(), s.first - first, s.count)).collect();
    assert_eq!(
        covers,
        [
            ("0000.h264", 0, 20),
            ("0000-2.h264", 20, 10),
            ("0001.h264", 30, 30),
            ("0002.h264", 60, 30),
            ("0003.h264", 90, 30)
        ]
    );
    let holes: Vec<_> = take.holes.iter().map(|hole| (hole.first - first, hole.count)).collect();
    assert_eq!(holes, [(20, 5), (50, 10)]);
}

#[test]
fn there_are_messages_when_files_are_opened_and_closed() {
    let mut sink = sink();
    for number in NOW - 70..=NOW {
        sink.push_coded(number, number.is_multiple_of(10));
    }
    let placed = sink.place(order("t", NOW - 60, NOW));
    for index in 0..2_u32 {
        let opened = sink.wait_for("swsync-fragment-opened");
        let closed = sink.wait_for("swsync-fragment-closed");
        for message in [&opened, &closed] {
            assert_eq!(message.get::<u32>("fragment-id").unwrap(), index);
            assert!(message.get::<String>("location").unwrap().ends_with(&format!("/t/pi/{index:04}.h264")));
        }
        assert_eq!(closed.get::<u64>("frames").unwrap(), 30);
        assert_eq!(closed.get::<u64>("first-frame").unwrap(), NOW - 60 + 30 * u64::from(index));
    }
    assert!(answer(placed).is_complete());
}

#[test]
fn the_end_of_the_stream_closes_the_file() {
    let mut sink = sink();
    sink.push_coded(NOW - 1, true);
    let placed = sink.place(order("t", NOW, NOW + 300));
    wait_for_order(&sink, "t");
    for number in NOW..NOW + 20 {
        sink.push_coded(number, number == NOW);
    }
    assert!(sink.harness.push_event(gst::event::Eos::new()));
    let text = std::fs::read_to_string(sink.order("t").join("0000.h264")).unwrap();
    assert_eq!(text, bare(NOW..NOW + 20));
    let answer = answer(placed);
    assert!(answer.saved() == 20 && answer.unfinished.is_some(), "{answer:?}");
    let take = take(&sink.order("t"));
    assert!(!take.complete, "it goes on when frames come again");
    assert_eq!((take.segments[0].first, take.segments[0].count), (NOW, 20), "{take:?}");
}
