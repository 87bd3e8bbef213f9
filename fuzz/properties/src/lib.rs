//! What must hold for any input of swsync's parsers.
//!
//! A property is a function of bytes that panics if it does not hold. cargo-fuzz calls it from `fuzz/fuzz_targets`, and the
//! test of this crate with the seeds and with mutations of them, so that no fuzzer is needed to notice most faults.
//!
//! A property checks more than that nothing panics: what is parsed, written and parsed again is the same; limits hold; and
//! parsing takes no more memory than a multiple of its input ([`memory`]).

mod files;
pub mod memory;
mod messages;
mod orders;
mod time;
mod video;

/// A parser's property. It panics if `bytes` violate it.
pub type Property = fn(&[u8]);

/// The properties, by the names of their fuzz targets and of their folders of seeds.
pub const PROPERTIES: [(&str, Property); 12] = [
    ("ntp", time::packet),
    ("mac", time::mac),
    ("keys", time::keys),
    ("message", messages::message),
    ("share", messages::share),
    ("orders", orders::queue),
    ("journal", orders::journal),
    ("take", files::take),
    ("frames", files::frames),
    ("profile", files::profile),
    ("location", files::location),
    ("video", video::salvage),
];

/// The property of this name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn property(name: &str) -> Property {
    let found = PROPERTIES.into_iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("there is no property {name}")).1
}
