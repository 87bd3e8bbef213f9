//! `swsyncclock` beside another element that provides a clock, as sound cards do.

#![cfg(feature = "simulation")]

mod common;

use common::{LEADER, Pipeline, init};
use gst::glib;
use gst::prelude::*;

mod card {
    use gst::glib;
    use gst::prelude::*;
    use gst::subclass::prelude::*;

    /// An element with a clock of its own, as a sound card's.
    #[derive(Default)]
    pub struct Card(std::sync::OnceLock<gst::Clock>);

    #[glib::object_subclass]
    impl ObjectSubclass for Card {
        const NAME: &'static str = "SwsyncTestCard";
        type Type = super::Card;
        type ParentType = gst::Element;
    }

    impl ObjectImpl for Card {
        fn constructed(&self) {
            self.parent_constructed();
            let clock = glib::Object::builder::<gst::SystemClock>().property("name", "CardClock").build();
            let _ = self.0.set(clock.upcast()); // it is new
            self.obj().set_element_flags(gst::ElementFlags::PROVIDE_CLOCK);
        }
    }

    impl GstObjectImpl for Card {}

    impl ElementImpl for Card {
        fn provide_clock(&self) -> Option<gst::Clock> {
            self.0.get().cloned()
        }
    }
}

glib::wrapper! {
    pub struct Card(ObjectSubclass<card::Card>) @extends gst::Element, gst::Object;
}

const CAMERA: &str = "swsyncsrc name=s backend=simulated ! fakesink name=k sync=false";

/// Clock and camera in a bin: then the clock of another provider may win.
fn in_a_bin() -> String {
    format!("bin.( {LEADER} swsyncsrc name=s backend=simulated ! identity ) ! fakesink name=k sync=false")
}

/// The warnings by the time of the first frame: who posted them, and their text.
fn warnings(pipeline: &Pipeline) -> Vec<(String, String)> {
    let sink = pipeline.element("k");
    common::eventually("a frame", || sink.property::<Option<gst::Sample>>("last-sample").is_some());
    pipeline.warnings()
}

/// The pipeline with a card in it, whose clock wins.
fn beside_a_card(description: &str) -> Pipeline {
    init();
    let pipeline = Pipeline::launch(description);
    let card: Card = glib::Object::builder().property("name", "card").build();
    pipeline.0.add(&card).unwrap();
    pipeline
}

#[test]
fn clock_and_source_warn_that_another_clock_has_won() {
    let pipeline = beside_a_card(&in_a_bin());
    pipeline.reach(gst::State::Playing);
    assert_eq!(pipeline.0.clock().unwrap().name(), "CardClock", "this test needs the card's clock");
    let said = warnings(&pipeline);
    for who in ["c", "s"] {
        let text =
            &said.iter().find(|(source, _)| source == who).unwrap_or_else(|| panic!("{who}: {said:?}")).1;
        for part in
            ["CardClock (GstSystemClock) of card", "not on rig time", "gst_pipeline_use_clock", "element c"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn the_remedy_in_the_warning_helps() {
    let pipeline = beside_a_card(&in_a_bin());
    pipeline.reach(gst::State::Ready);
    let rig = pipeline.element("c").provide_clock().unwrap();
    pipeline.0.use_clock(Some(&rig));
    pipeline.reach(gst::State::Playing);
    assert_eq!(pipeline.0.clock().as_ref(), Some(&rig));
    assert_eq!(warnings(&pipeline), []);
}

#[test]
fn there_is_no_warning_without_a_swsyncclock() {
    let pipeline = beside_a_card(CAMERA);
    pipeline.reach(gst::State::Playing);
    assert_eq!(warnings(&pipeline), []);
}
