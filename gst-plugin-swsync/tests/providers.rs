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

    /// An element with a clock of its own: what a pipeline sees of a sound card.
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

/// A bin with clock and camera, as applications that have a bin for each thing make it.
fn in_a_bin() -> String {
    format!("bin.( {LEADER} swsyncsrc name=s backend=simulated ! identity ) ! fakesink name=k sync=false")
}

/// Who warned of the clock before a frame came, and what they said.
fn warnings(pipeline: &Pipeline) -> Vec<(String, String)> {
    let sink = pipeline.element("k");
    common::eventually("a frame", || sink.property::<Option<gst::Sample>>("last-sample").is_some());
    let mut said = Vec::new();
    while let Some(message) = pipeline.bus().pop_filtered(&[gst::MessageType::Warning]) {
        if let gst::MessageView::Warning(warning) = message.view() {
            let who = message.src().unwrap().name().to_string();
            said.push((who, format!("{} {}", warning.error(), warning.debug().unwrap_or_default())));
        }
    }
    said
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
fn a_clock_that_loses_is_said_by_clock_and_source() {
    let pipeline = beside_a_card(&in_a_bin());
    pipeline.reach(gst::State::Playing);
    assert_eq!(pipeline.0.clock().unwrap().name(), "CardClock", "it is the card's that this test is about");
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
fn the_remedy_helps_and_then_nothing_is_said() {
    let pipeline = beside_a_card(&in_a_bin());
    pipeline.reach(gst::State::Ready);
    let rig = pipeline.element("c").provide_clock().unwrap();
    pipeline.0.use_clock(Some(&rig));
    pipeline.reach(gst::State::Playing);
    assert_eq!(pipeline.0.clock().as_ref(), Some(&rig));
    assert_eq!(warnings(&pipeline), []);
}

#[test]
fn nothing_is_said_where_no_rig_time_is_wanted() {
    let pipeline = beside_a_card(CAMERA);
    pipeline.reach(gst::State::Playing);
    assert_eq!(warnings(&pipeline), []);
}
