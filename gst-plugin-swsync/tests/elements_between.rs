//! Elements between camera and sink that make buffers of their own.

#![cfg(feature = "simulation")]

mod common;

use common::sink::{answer, manifest, place, rig, rig_now, session};
use common::{LEADER, PATIENCE, Pipeline};
use swsync_core::grid::FrameGrid;
use swsync_core::name::Name;
use swsync_core::order::Order;
use swsync_core::status::Readiness;
use swsync_core::time::Span;

#[test]
fn behind_a_compositor_details_are_unknown_and_there_is_one_warning() {
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
        let now = rig_now();
        let id = Name::new(format!("o{}", now.as_nanos())).unwrap();
        let first = grid.instant(grid.nearest(now + Span::from_millis(500)));
        let answer = answer(place(&rig, Order::burst(id.clone(), first, 5).unwrap()));
        saved = (answer.saved() > 0).then(|| folder.path().join(id.as_str()).join("pi"));
        saved.is_some()
    });
    let records = manifest(&saved.unwrap());
    assert!(records.iter().all(|record| record.info.lock.is_none() && record.info.exposure_ns.is_none()));
    let statuses = session(&rig).statuses(PATIENCE.into());
    let problems = Readiness::judge(&statuses[0].status, None).problems;
    assert!(problems.iter().any(|why| why.contains("not known")), "{problems:?}");
    let mut warnings = pipeline.warnings();
    warnings.retain(|(_, text)| text.contains("numbered by their PTS"));
    assert!(warnings.len() == 1 && warnings[0].1.contains("compositor"), "{warnings:?}");
}
