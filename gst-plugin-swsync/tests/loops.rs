//! `swsyncsink` with `max-files`: of each order the newest files stay, and removed frames are reported.

mod common;

use common::sink::{BESIDE, CAPS, NOW, Sink, answer, content, files, grid, manifest, rig, take};
use gst::prelude::*;
use swsync_core::grid::FrameNumber;
use swsync_core::name::Name;
use swsync_core::order::{Answer, Fill, FrameOutcome, Order, OrderKind};
use swsync_core::time::Span;

const CODED: &str = "video/x-h264,stream-format=byte-stream,alignment=au,width=160,height=120,framerate=30/1";

const WHY: &str = "removed: max-files=3";

/// A sink that keeps three files, of pictures or of bare video.
fn sink(caps: &str) -> Sink {
    let folder = tempfile::tempdir().unwrap();
    Sink::reopen(folder, &rig(), caps, |element, folder| {
        element.set_property("max-files", 3_u32);
        element.set_property("ring-time", 20_000_000_000_u64);
        if caps == CODED {
            let pattern = format!("{}/{{take}}/{{device}}/{{segment}}.h264", folder.display());
            element.set_property("location", pattern);
        }
    })
}

fn order(id: &str, first: FrameNumber, stop: Option<FrameNumber>, kind: OrderKind) -> Order {
    let stop = stop.map(|stop| grid().instant(stop));
    Order::new(Name::new(id).unwrap(), grid().instant(first), stop, kind).unwrap()
}

/// The runs of an answer: first, last, and why they are not saved.
fn runs(answer: &Answer) -> Vec<(FrameNumber, FrameNumber, Option<&str>)> {
    answer.frames.iter().map(|run| (run.first, run.last, run.why())).collect()
}

/// The holes in `take.json`: first, count, and why.
fn holes(sink: &Sink, id: &str) -> Vec<(FrameNumber, u64, String)> {
    let take = take(&sink.order(id));
    assert!(
        take.complete && take.count == take.missing() + manifest(&sink.order(id)).len() as u64,
        "{take:?}"
    );
    take.holes.into_iter().map(|hole| (hole.first, hole.count, hole.why)).collect()
}

fn numbers(sink: &Sink, id: &str) -> Vec<FrameNumber> {
    manifest(&sink.order(id)).iter().map(|record| record.info.number).collect()
}

#[test]
fn the_newest_pictures_of_each_order_stay() {
    let mut sink = sink(CAPS);
    for number in (NOW - 60..=NOW).filter(|number| *number != NOW - 17) {
        sink.push(number);
    }
    for id in ["one", "two"] {
        let answer = answer(sink.place(order(id, NOW - 20, None, OrderKind::Burst { count: 8 })));
        assert_eq!((answer.named(), answer.saved()), (8, 3), "{answer:?}");
        let kept = [NOW - 15, NOW - 14, NOW - 13];
        let dropped = swsync_core::gap::UNKNOWN;
        assert_eq!(
            runs(&answer)[..3],
            [
                (NOW - 20, NOW - 18, Some(WHY)),
                (NOW - 17, NOW - 17, Some(dropped)),
                (NOW - 16, NOW - 16, Some(WHY))
            ]
        );
        assert_eq!(numbers(&sink, id), kept);
        assert_eq!(
            holes(&sink, id),
            [(NOW - 20, 3, WHY.into()), (NOW - 17, 1, dropped.into()), (NOW - 16, 1, WHY.into())]
        );
        let pictures = kept.map(|number| format!("{number}.jpg"));
        assert_eq!(files(&sink.order(id)), [&pictures[..], &BESIDE.map(String::from)].concat());
        let table = std::fs::read_to_string(sink.order(id).join("frames.csv")).unwrap();
        assert_eq!(table.lines().count(), 4);
    }
    assert_eq!(files(sink.folder.path()).len(), 2 * 7, "files of other orders stay");
}

#[test]
fn the_newest_segments_of_a_take_stay() {
    let mut sink = sink(CODED);
    // Key frames are placed so that the first segment, and the first one that stays, have a lead-in.
    for number in NOW - 300..=NOW {
        sink.push_coded(number, number % 25 == (NOW - 290) % 25);
    }
    let kind = OrderKind::Take { segment: Some(Span::from_secs(1)), fill: Fill::None };
    let first = NOW - 280;
    let answer = answer(sink.place(order("t", first, Some(first + 200), kind)));
    assert_eq!((answer.named(), answer.saved()), (200, 80), "{answer:?}");
    // Each file is a run of its own.
    let expected: Vec<_> = [(first, first + 119, Some(WHY))]
        .into_iter()
        .chain([120, 150, 180].map(|from| (first + from, first + (from + 29).min(199), None)))
        .collect();
    assert_eq!(runs(&answer), expected);
    for (run, name) in answer.frames[1..].iter().zip(["0004.h264", "0005.h264", "0006.h264"]) {
        let FrameOutcome::Recorded(recorded) = &run.outcome else { panic!("{run:?}") };
        assert!(recorded.file.ends_with(name) && recorded.last_file.is_none(), "{recorded:?}");
        let bytes: usize = (run.first..=run.last).map(|number| content(number).len()).sum();
        assert_eq!(recorded.bytes, bytes as u64);
    }
    let names = ["0004.h264", "0004.pts", "0005.h264", "0005.pts", "0006.h264", "0006.pts"];
    let beside = ["frames.csv", "frames.jsonl", "take.json"];
    assert_eq!(files(&sink.order("t")), [&names[..], &beside[..]].concat());
    assert_eq!(numbers(&sink, "t"), (first + 120..first + 200).collect::<Vec<_>>());
    assert_eq!(holes(&sink, "t"), [(first, 120, WHY.into())]);
    let take = take(&sink.order("t"));
    let covers: Vec<_> = take.segments.iter().map(|segment| (segment.first, segment.count)).collect();
    assert_eq!(covers, [(first + 120, 30), (first + 150, 30), (first + 180, 20)]);
    assert_eq!((take.first, take.lead_in), (first, manifest(&sink.order("t"))[0].offset));
    assert!(take.lead_in > 0, "the lead-in of the first file that stays");
}

#[test]
fn the_newest_stills_of_a_video_stay() {
    let mut sink = sink(CODED);
    for number in NOW - 300..=NOW {
        sink.push_coded(number, number.is_multiple_of(20));
    }
    let kind = OrderKind::Still { every: Some(Span::from_secs(1)), count: Some(5) };
    let answer = answer(sink.place(order("s", NOW - 200, None, kind)));
    assert_eq!((answer.named(), answer.saved()), (5, 3), "{answer:?}");
    let [removed, ..] = &answer.frames[..] else { panic!() };
    assert_eq!((removed.first, removed.last, removed.count), (NOW - 200, NOW - 170, 2));
    assert_eq!(numbers(&sink, "s"), [NOW - 140, NOW - 110, NOW - 80]);
    assert_eq!(holes(&sink, "s"), [(NOW - 200, 2, WHY.to_owned())]);
    assert_eq!(take(&sink.order("s")).holes[0].last(), NOW - 170);
    assert_eq!(take(&sink.order("s")).segments.len(), 3);
}

#[test]
fn disk_and_status_are_up_to_date_while_the_order_runs() {
    let mut sink = sink(CAPS);
    sink.push(NOW);
    let kind = OrderKind::Take { segment: None, fill: Fill::None };
    let placed = sink.place(order("t", NOW + 1, Some(NOW + 60), kind));
    common::eventually("the order is with the sink", || sink.status().open.len() == 1);
    for number in NOW + 1..NOW + 41 {
        sink.push(number);
    }
    common::eventually("the first files are removed", || sink.status().open[0].lost == 37);
    let status = sink.status();
    assert_eq!((status.open[0].saved, status.open[0].why.as_deref()), (3, Some(WHY)));
    let described = take(&sink.order("t"));
    assert_eq!((described.complete, described.removed.unwrap().before), (false, NOW + 38));
    for number in NOW + 41..NOW + 61 {
        sink.push(number);
    }
    assert_eq!(answer(placed).saved(), 3);
}
