//! All properties in one program, which is built in half a minute: for `./x test`. The first byte says which one.

#![no_main]

use swsync_fuzz_properties::PROPERTIES;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((first, bytes)) = bytes.split_first() {
        let (_, property) = PROPERTIES[usize::from(*first) % PROPERTIES.len()];
        property(bytes);
    }
});
