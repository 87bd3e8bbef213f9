#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| swsync_fuzz_properties::property("take")(bytes));
