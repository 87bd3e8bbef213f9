//! Elements between camera and sink that make buffers of their own.

#![cfg(feature = "simulation")]

mod common;

use common::sink::{answer, manifest, place, rig, session};
use common::{LEADER, PATIENCE, Pipeline};
use swsync_core::grid::FrameGrid;
use swsync_core::name::Name;
use swsync_core::order::{Order, Readiness};
use swsync_core::time::{Span, Timestamp};

#[test]
fn what_a_compositor_drops_is_unknown_and_said_once() {
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc backend=simulated ! video/x-raw,width=160,height=120,framerate=30/1 ! compositor ! \
         video/x-raw,framerate=30/1 ! jpegenc ! swsyncsink listen=tcp/127.0.0.1:0 rig={rig} device-id=pi location={}",
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    let grid = FrameGrid::new(30, 1).unwrap();
    let mut saved = None;
    common::eventually("frames are saved", || {
        let now = Timestamp::from_nanos(swsync_rig::clock::wall_clock().as_nanos());
        let id = Name::new(format!("o{}", now.as_nanos())).unwrap();
        let first = grid.instant(grid.nearest(now + Span::from_millis(500)));
        let answer = answer(place(&rig, Order::burst(id.clone(), first, 5).unwrap()));
        saved = (answer.saved() > 0).then(|| folder.path().join(id.as_str()).join("pi"));
        saved.is_some()
    });
    let records = manifest(&saved.unwrap());
    assert!(records.iter().all(|record| record.info.lock.is_none() && record.info.exposure_ns.is_none()));
    let statuses = session(&rig).statuses(PATIENCE.into());
    let problems = Readiness::now(&statuses[0].status).problems;
    assert!(problems.iter().any(|why| why.contains("not known")), "{problems:?}");
    let warnings: Vec<_> = pipeline
        .bus()
        .iter_filtered(&[gst::MessageType::Warning])
        .filter_map(|message| match message.view() {
            gst::MessageView::Warning(said) => Some(format!("{} {:?}", said.error(), said.debug())),
            _ => None,
        })
        .filter(|said| said.contains("numbered by their PTS"))
        .collect();
    assert!(warnings.len() == 1 && warnings[0].contains("compositor"), "{warnings:?}");
}
