//! Metadata of the elements for tools and applications.

#![cfg(feature = "simulation")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use gst::glib;
use gst::prelude::*;

const ELEMENTS: [&str; 4] = ["swsyncclock", "swsyncsrc", "swsyncsink", "swsyncgate"];

/// Numbers without a unit: counts and fractions.
const COUNTS: [&str; 15] = [
    "priority",
    "max-clients",
    "num-buffers",
    "max-files",
    "max-slew",
    "port",
    "net-time-provider",
    "burst",
    "ptp-domain",
    "key-id",
    "lock-count",
    "settle-frames",
    "stall-periods",
    "simulated-seed",
    "simulated-view",
];

/// Ways in which a blurb names a unit, or says that there is none.
const UNITS: [&str; 10] = [
    "nanoseconds",
    "microseconds",
    "parts per million",
    "bytes",
    "dioptres",
    "kelvin",
    "as a factor",
    "-1 to 1",
    "powers of two",
    "sRGB's",
];

fn element(name: &str) -> gst::Element {
    common::init();
    gst::ElementFactory::make(name).build().unwrap()
}

/// The element's own properties, not its base classes'.
fn properties(element: &gst::Element) -> Vec<glib::ParamSpec> {
    let own = |pspec: &glib::ParamSpec| pspec.owner_type() == element.type_();
    element.list_properties().iter().filter(|pspec| own(pspec)).cloned().collect()
}

/// (least, default, greatest, one beyond each end where the type has room), as values.
fn range(pspec: &glib::ParamSpec) -> Option<([glib::Value; 3], Vec<glib::Value>)> {
    macro_rules! of {
        ($type:ty) => {
            if let Some(p) = pspec.downcast_ref::<$type>() {
                let (least, default, most) = (p.minimum(), p.default_value(), p.maximum());
                assert!(least <= default && default <= most, "{}", pspec.name());
                let beyond = [least.checked_sub(1), most.checked_add(1)];
                let beyond = beyond.into_iter().flatten().map(|value| value.to_value()).collect();
                return Some(([least, default, most].map(|value| value.to_value()), beyond));
            }
        };
    }
    of!(glib::ParamSpecUInt);
    of!(glib::ParamSpecInt);
    of!(glib::ParamSpecUInt64);
    of!(glib::ParamSpecInt64);
    if let Some(p) = pspec.downcast_ref::<glib::ParamSpecFloat>() {
        let (least, default, most) = (p.minimum(), p.default_value(), p.maximum());
        assert!(least <= default && default <= most, "{}", pspec.name());
        let beyond = vec![(least * 2.0).to_value(), (most * 2.0).to_value()];
        return Some(([least, default, most].map(|v| v.to_value()), beyond));
    }
    let p = pspec.downcast_ref::<glib::ParamSpecDouble>()?;
    let (least, default, most) = (p.minimum(), p.default_value(), p.maximum());
    assert!(least <= default && default <= most, "{}", pspec.name());
    Some((
        [least, default, most].map(|v| v.to_value()),
        vec![(least - 1.0).to_value(), (most + 1.0).to_value()],
    ))
}

/// The property that can be set and not be read.
const SECRET: &str = "key";

fn same(a: &glib::Value, b: &glib::Value) -> bool {
    a.compare(b) == Some(std::cmp::Ordering::Equal)
}

#[test]
fn every_property_is_described() {
    for name in ELEMENTS {
        let element = element(name);
        let properties = properties(&element);
        assert!(properties.len() > 5, "{name}");
        for pspec in properties {
            let property = pspec.name();
            let (nick, blurb) = (pspec.nick(), pspec.blurb().unwrap_or_default());
            assert!(nick != property && nick.starts_with(char::is_uppercase), "{name} {property}: {nick}");
            assert!(blurb.len() > 20 && blurb.starts_with(char::is_uppercase), "{name} {property}: {blurb}");
            assert!(!blurb.ends_with('.'), "{name} {property}: {blurb}");
            if range(&pspec).is_some() && !COUNTS.contains(&property) {
                assert!(UNITS.iter().any(|unit| blurb.contains(unit)), "{name} {property}: {blurb}");
            }
        }
    }
}

#[test]
fn every_property_accepts_its_range_and_nothing_else() {
    for name in ELEMENTS {
        let element = element(name);
        for pspec in properties(&element) {
            let property = pspec.name();
            let is_readable = pspec.flags().contains(glib::ParamFlags::READABLE);
            assert_eq!(is_readable, property != SECRET, "{name} {property}");
            if !is_readable {
                continue;
            }
            let now = element.property_value(property);
            assert!(same(&now, pspec.default_value()), "{name} {property} begins as its default: {now:?}");
            if !pspec.flags().contains(glib::ParamFlags::WRITABLE) {
                continue;
            }
            let Some((within, beyond)) = range(&pspec) else {
                element.set_property_from_value(property, &now);
                continue;
            };
            for value in &within {
                element.set_property_from_value(property, value);
                assert!(same(&element.property_value(property), value), "{name} {property} {value:?}");
            }
            for value in &beyond {
                // glib-rs makes a panic of what GObject refuses.
                let set = AssertUnwindSafe(|| element.set_property_from_value(property, value));
                assert!(catch_unwind(set).is_err(), "{name} {property} takes {value:?}");
                assert!(same(&element.property_value(property), &within[2]), "{name} {property}");
            }
        }
    }
}

#[test]
fn strings_can_be_unset() {
    for name in ELEMENTS {
        let element = element(name);
        for pspec in properties(&element) {
            if pspec.value_type() == String::static_type()
                && pspec.flags().contains(glib::ParamFlags::READWRITE)
            {
                element.set_property(pspec.name(), "something");
                element.set_property(pspec.name(), None::<String>);
                let now = element.property_value(pspec.name());
                assert!(same(&now, pspec.default_value()), "{name} {}: {now:?}", pspec.name());
            }
        }
    }
}

#[test]
fn every_element_is_described() {
    for name in ELEMENTS {
        let factory = element(name).factory().unwrap();
        for key in ["long-name", "klass", "description", "author"] {
            let said = factory.metadata(key).unwrap_or_default();
            assert!(said.len() > 5, "{name} {key}: {said:?}");
        }
        assert_eq!(factory.rank(), gst::Rank::NONE, "{name} is never plugged by itself");
        assert_eq!(factory.plugin().unwrap().plugin_name(), "swsync");
    }
}

#[test]
fn gst_inspect_lists_the_plugin() {
    let Some(output) = common::tool("gst-inspect-1.0", &["swsync"], &[]) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for part in ELEMENTS.iter().chain(&["MPL", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_REPOSITORY")]) {
        assert!(said.contains(part), "{part}: {said}");
    }
    for element in ELEMENTS {
        let Some(output) = common::tool("gst-inspect-1.0", &[element], &[]) else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("Element Properties"), "{said}");
        // A type of the plugin's whose values have no nick shows as this.
        assert!(!said.contains("(null)"), "{said}");
    }
}
