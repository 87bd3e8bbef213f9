//! What is read from files: takes, manifests, camera profiles; and the pattern of their names.

use swsync_core::manifest::{FrameRecord, PipelineSettings, Take, check_path};
use swsync_core::name::Name;
use swsync_core::profile::{CameraProfile, shipped, shipped_models};
use swsync_files::{FileId, Location};

use crate::memory::within;

/// Most bytes that parsing may take for each byte of JSON: a value of two characters takes 32, and lists grow by doubling.
const FACTOR: usize = 96;

/// A `take.json` reads back as it was written, and names no file outside of its folder.
pub fn take(bytes: &[u8]) {
    let Ok(take) = within(bytes, FACTOR, Take::from_json) else { return };
    let written = take.to_json();
    let again = Take::from_json(written.as_bytes()).expect("what was written can be read");
    let thrice = Take::from_json(again.to_json().as_bytes()).expect("it could be read before");
    // These two are kept as they came, and serde_json may round a fraction anew each time.
    let checked = |take| Take { ordered: serde_json::Value::Null, settings: PipelineSettings::new(), ..take };
    assert_eq!(checked(thrice), checked(again));
    assert!(take.segments.iter().all(|segment| check_path(&segment.file).is_ok()));
    assert!(take.missing() <= take.count);
    let last = take.first.saturating_add(take.count);
    for number in [0, take.first, last, u64::MAX] {
        let _ = (take.why_missing(number), take.is_removed(number), take.named_before(number));
    }
    let index = take.order_index();
    let _ = (index.index_of(last), index.number_at(take.count));
}

/// A line of the manifest reads back as it was written.
pub fn frames(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for line in text.lines() {
        let Ok(record) = within(line.as_bytes(), FACTOR, |_| FrameRecord::from_line(line)) else { continue };
        let written = record.to_line();
        assert_eq!(written.matches('\n').count(), 1);
        let again = FrameRecord::from_line(&written)
            .unwrap_or_else(|error| panic!("what was written cannot be read: {error}: {written}"));
        let thrice = FrameRecord::from_line(&again.to_line()).expect("it could be read before");
        assert_eq!(thrice.to_line(), again.to_line());
    }
}

/// A camera profile reads back as it was written, alone and as a change to a shipped one.
pub fn profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(profile) = within(bytes, FACTOR, |_| CameraProfile::from_json(text)) {
        check_profile(&profile);
    }
    for model in shipped_models().take(2) {
        let base = shipped(model).expect("it is on the list");
        if let Ok(profile) = base.overridden_by(text) {
            assert_eq!(profile.model, base.model);
            check_profile(&profile);
        }
    }
}

fn check_profile(profile: &CameraProfile) {
    let written = profile.to_json();
    let again = CameraProfile::from_json(&written)
        .unwrap_or_else(|error| panic!("what was written cannot be read: {error}: {written}"));
    assert_eq!(CameraProfile::from_json(&again.to_json()).expect("it could be read before"), again);
    for mode in &profile.modes {
        let _ = profile.readout(mode);
    }
}

/// A pattern gives each frame of each order a name that it recognises.
pub fn location(bytes: &[u8]) {
    let Ok(pattern) = std::str::from_utf8(bytes) else { return };
    let Ok(location) = within(bytes, 16, |_| Location::parse(pattern)) else { return };
    let [order, device] = ["o-1", "pi.3"].map(|name| Name::new(name).expect("a name"));
    let picture = |number| location.path(&order, &device, FileId::Picture(number), "jpg");
    let segment = |index| location.path(&order, &device, FileId::Segment { index, first: 7 }, "mp4");
    for path in [picture(0), picture(u64::MAX), segment(0), segment(u32::MAX)] {
        assert!(location.may_name(&order, &device, &path), "{}", path.display());
        let text = path.to_str().expect("made of texts");
        assert!(!text.contains(char::is_control) && !text.contains(['{', '}', '\\']), "{text:?}");
    }
    if location.check_pictures().is_ok() {
        assert_ne!(picture(1), picture(2));
    }
    if location.check_orders().is_ok() {
        let other = Name::new("o-2").expect("a name");
        assert_ne!(picture(1), location.path(&other, &device, FileId::Picture(1), "jpg"));
    }
    let (folder, _) = location.side(&order, &device);
    assert!(picture(1).starts_with(&folder) || folder.as_os_str() == ".", "{}", folder.display());
    let _ = (location.root(), location.extension());
}
