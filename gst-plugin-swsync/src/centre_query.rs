//! The query by which a sink asks the `swsyncsrc` upstream what the centre of a picture looks like.

use swsync_core::centre::CentreColour;
use swsync_core::grid::FrameNumber;

const NAME: &str = "swsync-centre";

/// A frame that was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredCentre {
    pub frame: FrameNumber,
    /// `None`: its pixels cannot be read.
    pub colour: Option<CentreColour>,
    /// The format of the frame.
    pub format: String,
}

/// A query for the first frame from number `from` on.
pub fn ask(from: FrameNumber) -> gst::query::Custom<gst::Query> {
    gst::query::Custom::new(gst::Structure::builder(NAME).field("from", from).build())
}

/// What a query is for, if it is one of these.
pub fn asked(query: &gst::QueryRef) -> Option<FrameNumber> {
    query.structure().filter(|structure| structure.name() == NAME)?.get("from").ok()
}

/// Writes the answer into a query.
pub fn answer(query: &mut gst::query::Custom<gst::QueryRef>, measured: &MeasuredCentre) {
    let structure = query.structure_mut();
    structure.set("frame", measured.frame);
    structure.set("format", measured.format.as_str());
    if let Some(CentreColour { brightness, red, green, blue }) = measured.colour {
        for (name, value) in [("brightness", brightness), ("red", red), ("green", green), ("blue", blue)] {
            structure.set(name, u32::from(value));
        }
    }
}

/// The answer in a query, if there is one.
pub fn answered(query: &gst::QueryRef) -> Option<MeasuredCentre> {
    let structure = query.structure()?;
    let value = |name| u8::try_from(structure.get::<u32>(name).ok()?).ok();
    let colour = || {
        let (brightness, red) = (value("brightness")?, value("red")?);
        Some(CentreColour { brightness, red, green: value("green")?, blue: value("blue")? })
    };
    Some(MeasuredCentre {
        frame: structure.get("frame").ok()?,
        format: structure.get("format").ok()?,
        colour: colour(),
    })
}
